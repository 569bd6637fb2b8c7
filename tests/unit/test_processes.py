"""Processes beside the policy: real sockets of this machine, judged by policies that sanction them or not."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from hostguard import impact
from hostguard.bundle import compile_policy
from hostguard.control import Context, Verdict
from hostguard.controls.egress import processes
from hostguard.host import evidence
from hostguard.host.sock_diag import INODE_AT
from hostguard.policy.load import parse

# Documentation addresses: nothing answers, and nothing is sent but from sockets that are made here, to loopback.
POLICY = """version: 1
egress:
  mode: %s
  via: direct
  providers: {p: {cidrs: [203.0.113.5/32]}}
  inbound: {ssh: {from: [10.77.0.0/24], ports: [22]}}
"""
NONE: dict[str, list[str]] = {key: [] for key in impact.DUMPS}
QUIET = {"packets": {"ipv4": 0, "ipv6": 0}, "accounts": {}}


def context(mode: str = "enforce") -> Context:
    return compile_policy(parse((POLICY % mode).encode(), "p")).context


def sockets() -> dict[str, Any]:
    """Those of this machine, as a host tells them."""
    (answer,) = evidence.collect({"sockets": {"collect": "sockets"}}).values()
    said: dict[str, Any] = json.loads(json.dumps(answer["said"]))
    ours = {inode for inode, (pid, _) in said["holders"].items() if pid == os.getpid()}
    # Whatever else runs on this machine is none of the test's.
    return {**said, "holders": {inode: holder for inode, holder in said["holders"].items() if inode in ours}}


def judged(said: dict[str, Any], mode: str = "enforce", denied: dict[str, Any] | None = None) -> Verdict:
    return processes.judges(context(mode), {"sockets": said, "denied": denied or QUIET})


def ours(verdict: Verdict) -> list[str]:
    return [part for part in verdict.actual.split("; ") if f"({os.getpid()})" in part]


@contextlib.contextmanager
def udp_to(address: str, port: int) -> Iterator[None]:
    """A UDP socket that is connected: no packet leaves by that."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.connect((address, port))
        yield


def alone(said: dict[str, Any]) -> dict[str, Any]:
    """The sockets of this process alone."""
    return {**said, "dumps": {key: [body for body in bodies if _inode(body) in said["holders"]]
                              for key, bodies in said["dumps"].items()}}  # fmt: skip


def _inode(body: str) -> str:

    return str(struct.unpack_from("=I", base64.b64decode(body), INODE_AT)[0])


def test_a_connection_that_the_policy_does_not_sanction() -> None:
    with udp_to("127.0.0.1", 9):
        assert judged(alone(sockets())).status == "pass"
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        found = judged(alone(sockets()))
        assert found.status == "pass", "nobody outside is answered by it"
        assert any(f"listens on tcp {port}" in part for part in ours(found))


ESTABLISHED, SYN_SENT, FIN_WAIT1 = 1, 2, 4


def a_socket(state: int, inode: int, to: str = "198.51.100.66", port: int = 443) -> dict[str, Any]:
    """One socket of IPv4, as struct inet_diag_msg has it (linux/inet_diag.h)."""

    ends = struct.pack(">HH", 40000, port) + socket.inet_aton("192.0.2.9").ljust(16, b"\0")
    ends += socket.inet_aton(to).ljust(16, b"\0") + struct.pack("=III", 0, 0, 0)
    body = struct.pack("=BBBB", socket.AF_INET, state, 0, 0) + ends + struct.pack("=IIIII", 0, 0, 0, 1000, inode)
    dumps: dict[str, list[str]] = {**NONE, f"{socket.AF_INET}/{socket.IPPROTO_TCP}": [base64.b64encode(body).decode()]}
    return {"dumps": dumps, "holders": {"7": [42, "caller"]}, "accounts": {"1000": "jane"}, "packet": [], "raw": []}


@pytest.mark.parametrize(("state", "words"), [(ESTABLISHED, "connected to"), (SYN_SENT, "tries to connect to")])
def test_what_is_open_and_what_is_tried_are_told_with_their_account(state: int, words: str) -> None:
    found = judged(a_socket(state, 7))
    assert (found.status, found.severity) == ("fail", None)
    assert f"caller (42), jane: {words} 198.51.100.66 tcp 443" in found.actual


def test_what_is_sanctioned_and_what_the_kernel_alone_still_says() -> None:
    assert judged(a_socket(ESTABLISHED, 7, "203.0.113.5")).status == "pass"
    assert judged(a_socket(FIN_WAIT1, 0)).status == "pass"
    assert judged(a_socket(ESTABLISHED, 0)).status == "fail"


def test_under_observe_it_is_told_and_the_policy_itself_waives_it() -> None:
    found = judged(a_socket(ESTABLISHED, 7), "observe")
    assert found.status == "pass"
    assert found.actual.startswith("enforcing would cut caller (42), jane")


def test_packet_sockets_are_another_controls() -> None:
    said = {"dumps": NONE, "holders": {}, "accounts": {}, "packet": [[7, "tcpdump", "0003"]], "raw": []}
    assert judged(said).status == "pass"


@pytest.mark.parametrize(
    ("packets", "accounts", "words"),
    [
        ({"ipv4": 3, "ipv6": 1}, {"jane": 2, "joe": 9}, "4 packets were denied since the rules were loaded (lines of "
         "the journal by account: joe 9, jane 2)"),
        ({"ipv4": 3, "ipv6": None}, {}, "3 packets were denied since the rules were loaded (the journal names no "
         "account)"),
        ({"ipv4": 0, "ipv6": 0}, {}, "nothing was denied since the rules were loaded"),
        ({"ipv4": None, "ipv6": None}, {}, "what was denied is not counted here"),
    ],
)  # fmt: skip
def test_what_was_denied(packets: dict[str, int | None], accounts: dict[str, int], words: str) -> None:
    said = {"dumps": NONE, "holders": {}, "accounts": {}, "packet": [], "raw": []}
    assert judged(said, denied={"packets": packets, "accounts": accounts}).actual == f"none; {words}"
