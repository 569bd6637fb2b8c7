"""What enforcing would cut, from sock_diag answers written by hand after linux/inet_diag.h."""

from __future__ import annotations

import base64
import ipaddress
import struct
from pathlib import Path
from typing import Any

import pytest

from hostguard.impact import DUMPS, Cut, cuts, session_cut
from hostguard.policy.load import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "hostguard.yml"
ESTABLISHED, LISTEN, CLOSE, TIME_WAIT = 1, 10, 7, 6
ACCOUNTS = {"0": "root", "101": "envoy", "33": "www-data"}


def body(state: int, source: tuple[str, int], destination: tuple[str, int], uid: int, inode: int) -> bytes:
    ends = [ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])]
    family = 2 if ends[0].version == 4 else 10
    packed = b"".join(end.packed.ljust(16, b"\0") for end in ends)
    ports = struct.pack("!HH", source[1], destination[1])
    identity = ports + packed + struct.pack("=I", 0) + b"\0" * 8
    return struct.pack("=BBBB", family, state, 0, 0) + identity + struct.pack("=IIIII", 0, 0, 0, uid, inode)


def said(protocol: int, *bodies: bytes) -> dict[str, Any]:
    family = "2" if bodies[0][0] == 2 else "10"
    dumps = {f"{family}/{protocol}": [base64.b64encode(each).decode() for each in bodies]}
    return {
        "dumps": {**{key: [] for key in DUMPS}, **dumps},
        "holders": {"7": [4711, "nc"]},
        "accounts": ACCOUNTS,
        "packet": [],
        "raw": [],
    }


def of_example(answer: dict[str, Any]) -> list[Cut]:
    egress = load(EXAMPLE).policy.egress
    assert egress is not None
    return cuts(egress, answer)


HERE, ANY, ANY6 = "10.77.0.11", "0.0.0.0", "::"


@pytest.mark.parametrize(
    ("state", "source", "destination", "uid", "what"),
    [
        (ESTABLISHED, (HERE, 40000), ("203.0.113.5", 443), 101, None),
        (ESTABLISHED, (HERE, 40000), ("203.0.113.5", 443), 33, "connected to 203.0.113.5 tcp 443"),
        (ESTABLISHED, (HERE, 40000), ("203.0.113.5", 80), 101, "connected to 203.0.113.5 tcp 80"),
        (TIME_WAIT, (HERE, 40000), ("203.0.113.5", 80), 0, None),
        (ESTABLISHED, ("127.0.0.1", 40000), ("127.0.0.1", 80), 0, None),
        (LISTEN, (ANY, 22), (ANY, 0), 0, None),
        (LISTEN, (ANY, 4444), (ANY, 0), 0, "listens on tcp 4444"),
        (LISTEN, (ANY6, 8080), (ANY6, 0), 33, "listens on tcp 8080"),
        (LISTEN, ("127.0.0.1", 4444), (ANY, 0), 0, None),
    ],
)
def test_tcp(state: int, source: tuple[str, int], destination: tuple[str, int], uid: int, what: str | None) -> None:
    found = of_example(said(6, body(state, source, destination, uid, 7)))
    assert [cut.what for cut in found] == ([what] if what else [])
    if what:
        assert (found[0].process, found[0].account) == ("nc (4711)", ACCOUNTS[str(uid)])


def test_who_is_answered_depends_on_where_they_come_from() -> None:
    listener = body(LISTEN, (ANY, 22), (ANY, 0), 0, 7)
    manager = body(ESTABLISHED, (HERE, 22), ("10.77.0.9", 50000), 0, 7)
    stranger = body(ESTABLISHED, (HERE, 22), ("198.51.100.66", 50000), 0, 7)
    assert [cut.what for cut in of_example(said(6, listener, manager, stranger))] == ["answers 198.51.100.66 on tcp 22"]


def test_addresses_of_a_dual_stack_socket_are_the_ones_on_the_wire() -> None:
    listener = body(LISTEN, (ANY6, 22), (ANY6, 0), 0, 7)
    manager = body(ESTABLISHED, ("::ffff:10.77.0.11", 22), ("::ffff:10.77.0.9", 50000), 0, 7)
    assert of_example(said(6, listener, manager)) == []


def test_udp() -> None:
    (dhcp,) = of_example(said(17, body(CLOSE, (ANY, 68), (ANY, 0), 0, 0)))
    assert (dhcp.process, "lease" in dhcp.what, "port 67" in dhcp.advice) == ("", True, True)
    assert of_example(said(17, body(CLOSE, (ANY, 45000), (ANY, 0), 33, 7))) == []
    (asking,) = of_example(said(17, body(ESTABLISHED, (HERE, 45000), ("9.9.9.9", 53), 33, 7)))
    assert asking.what == "connected to 9.9.9.9 udp 53"
    assert of_example(said(17, body(ESTABLISHED, (HERE, 45000), ("10.0.0.2", 53), 101, 7))) == []


def test_who_sends_frames_is_named_once() -> None:
    answer = {
        **said(6, body(LISTEN, (ANY, 22), (ANY, 0), 0, 7)),
        "packet": [[8, "dhclient", "0800"], [9, "lldpd", "88cc"], [8, "dhclient", "0003"], [0, "?", "0003"]],
        "raw": [],
    }
    assert [(cut.process, cut.advice) for cut in of_example(answer)] == [
        ("dhclient (8)", "egress.frames: allow, if it must send"),
        ("?", "egress.frames: allow, if it must send"),
    ]


def test_what_a_name_may_lead_to_is_left_open(tmp_path: Path) -> None:
    named = EXAMPLE.read_text(encoding="utf-8").replace('cidrs: [203.0.113.5/32, "2001:db8::5/128"]', "hosts: [a.com]")
    (tmp_path / "policy.yml").write_text(named)
    egress = load(tmp_path / "policy.yml").policy.egress
    assert egress is not None
    open_ = body(ESTABLISHED, (HERE, 40000), ("203.0.113.5", 443), 101, 7)
    (by_proxy,) = cuts(egress, said(6, open_))
    assert by_proxy.advice.startswith("nothing, if the resolvers say that a.com leads there; else egress.providers")
    (by_other,) = cuts(egress, said(6, body(ESTABLISHED, (HERE, 40000), ("203.0.113.5", 443), 33, 7)))
    assert "a.com" not in by_other.advice


@pytest.mark.parametrize(
    ("protocol", "what"),
    [("0070", "protocol 112 (VRRP)"), ("00FF", "protocol 255 (any)"), ("00FD", "protocol 253 (another)"), ("0001", "")],
)
def test_other_protocols_by_raw_sockets(protocol: str, what: str) -> None:
    answer = {"dumps": {key: [] for key in DUMPS}, "holders": {}, "accounts": {}, "packet": [],
              "raw": [[7, "keepalived", protocol]]}  # fmt: skip
    found = [(cut.process, cut.what) for cut in of_example(answer)]
    assert found == ([("keepalived (7)", f"sends {what} by a raw socket")] if what else [])


@pytest.mark.parametrize(
    ("session", "cut"),
    [
        ("10.77.0.9 50022 10.77.0.1 22", ""),
        ("198.51.100.7 50022 10.77.0.1 22", "198.51.100.7 for port 22"),
        ("10.77.0.9 50022 10.77.0.1 2222", "10.77.0.9 for port 2222"),
        ("::ffff:10.77.0.9 50022 ::ffff:10.77.0.1 22", ""),
        ("fe80::1%eth0 50022 fe80::2%eth0 22", "fe80::1 for port 22"),
        ("", ""),
        ("nobody knows", ""),
        ("x y z ssh", ""),
    ],
)
def test_the_session_that_asks(session: str, cut: str) -> None:
    egress = load(EXAMPLE).policy.egress
    assert egress is not None
    said = session_cut(egress, session)
    assert (cut in said) if cut else not said
    assert session_cut(egress.model_copy(update={"mode": "observe"}), session) == ""
