"""Whatever a host says, in whatever bytes: what can't be made out is unreadable, in words, and hides nothing else."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostguard.host import evidence, mountinfo, parameters, program, snapshot, systemctl
from hostguard.host.kinds import pam_limit, sysctl
from hostguard.host.program import run
from hostguard.host.resource import UNREADABLE, VALUE, HostError

SET = "create s hash:net,port family inet hashsize 1024 maxelem 65536\nadd s 192.0.2.1,tcp:443\n"
SET += "create t hash:ip family inet hashsize 1024 timeout 5\nadd t 192.0.2.1 timeout 1\n"
TABLE = "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT DROP [0:0]\n:HG - [0:0]\n-A OUTPUT -j HG\n-A HG -j DROP\nCOMMIT\n"
NFT = "table netdev hostguard {\n\tchain refuse {\n\t\tdrop\n\t}\n}\n"
LINKS = json.dumps([{"ifname": "eth0", "link_type": "ether", "address": "02:00:00:00:00:0a", "addr_info": []}])
UNIT = "Id=u.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nMainPID=1\nControlGroup=/x\n"
MOUNTS = "22 1 0:20 / /run rw,nosuid - tmpfs tmpfs rw,size=16384k\n"
TRUE: dict[str, str] = {
    "ipset": SET,
    "iptables-save": TABLE,
    "ip6tables-save": TABLE,
    "iptables": "iptables v1.8.9 (legacy)\n",
    "ip6tables": "ip6tables v1.8.9 (legacy)\n",
    "nft": NFT,
    "ip": LINKS,
    "systemctl": UNIT,
    "unshare": NFT + '\tchain egress-1 {\n\t\ttype filter hook egress device "lo" priority filter;\n\t}\n}\n',
    "openssl": "OpenSSL 3.0.17 1 Jul 2025\n",
}
RESOURCES: list[dict[str, Any]] = [
    {"id": "file", "kind": "file", "path": "/nowhere/at/all", "content": "x", "mode": "0644"},
    {"id": "sysctl", "kind": "sysctl", "key": "net.core.somaxconn", "value": "1", "compare": "min"},
    {"id": "mount", "kind": "mount", "path": "/run", "options": ["nosuid"], "size": "1", "mode": "0755", "uid": "0",
     "gid": "0"},
    {"id": "unit", "kind": "unit", "unit": "u.service", "enabled": True, "active": True, "properties": {"X": "y"}},
    {"id": "process", "kind": "process", "unit": "u.service", "nofile": 1},
    {"id": "pam", "kind": "pam_limit", "domain": "*", "item": "nofile", "limit": 1, "file": "/x"},
    {"id": "set", "kind": "ipset", "name": "s", "type": "hash:net,port", "family": "ipv4", "entries": []},
    {"id": "timed", "kind": "ipset", "name": "t", "type": "hash:ip", "family": "ipv4", "entries": [],
     "timeout": 5},
    {"id": "rules", "kind": "ruleset", "family": "ipv4", "hook": "OUTPUT", "chain": "HG", "policy": "DROP",
     "rules": ["-j DROP"], "first": True},
    {"id": "frames", "kind": "frames", "chains": {"refuse": ["drop"]}, "device_rules": [], "holds": True,
     "dhcp": False},
]  # fmt: skip
NO_ARGUMENTS = ("openssl", "swap", "other-backend", "chains", "unit-environment", "listeners", "packet-sockets")
REQUESTS = {
    **{name: {"collect": name} for name in NO_ARGUMENTS},
    "units": {"collect": "units", "units": ["u.service"]},
    "misspelt": {"collect": "no such collector"},
    "nothing": {},
}
ODD: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "half of it": lambda true: true[: len(true) // 2],
    "all but a letter": lambda true: true.rstrip()[:-1],
    "NULs": lambda true: true.replace(b" ", b"\0"),
    "Latin-1": lambda true: true.replace(b"e", b"\xe4"),
    "Latin-1 before all": lambda true: b"\xe4\xff\n" + true,
    "DOS lines": lambda true: true.replace(b"\n", b"\r\n"),
    "no columns": lambda true: true.replace(b" ", b""),
    "too many columns": lambda true: true.replace(b" ", b" x "),
    "a line without end": lambda true: true.rstrip() + b"x" * (1 << 20),
    "other separators": lambda true: true.replace(b" ", b"\x0b\x0c\x1c\xe2\x80\xa8"),
    "other JSON": lambda _: b'{"a": [1]}',
    "JSON of nothing": lambda _: b"[{}, null]",
    "no numbers": lambda true: true.replace(b"0", b"o").replace(b"1", b"l"),
    "other digits": lambda true: true.replace(b"1", "²".encode()),
    "equals signs": lambda true: true.replace(b"=", b""),
}


def fake(folder: Path, name: str, says: bytes, code: int = 0) -> None:
    (folder / f"{name}.said").write_bytes(says)
    (folder / name).write_text(f"#!/bin/sh\ncat {folder}/{name}.said\nexit {code}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose every program is a fake that says what is true; iptables' backend is the legacy one."""
    monkeypatch.setattr(program, "PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, said in TRUE.items():
        fake(tmp_path, name, said.encode())
    (tmp_path / "names").write_text("filter\n")
    monkeypatch.setattr("hostguard.host.iptables.LEGACY_TABLES", dict.fromkeys(("ipv4", "ipv6"), f"{tmp_path}/names"))
    monkeypatch.setattr(systemctl, "systemd_runs", lambda: True)
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(mountinfo, "MOUNTS", str(tmp_path / "mountinfo"))
    return tmp_path


@pytest.mark.parametrize("how", ODD)
@pytest.mark.parametrize("name", [*TRUE, "mountinfo"])
def test_odd_text_is_unreadable_and_no_traceback(programs: Path, name: str, how: str) -> None:
    if name == "mountinfo":
        (programs / name).write_bytes(ODD[how](MOUNTS.encode()))
    else:
        fake(programs, name, ODD[how](TRUE[name].encode()))
    seen = snapshot.look(RESOURCES)
    assert seen.keys() == {r["id"] for r in RESOURCES}
    for resource in RESOURCES:
        for difference in snapshot.differ(resource, seen[resource["id"]]):
            "".join(difference).encode()
    answers = evidence.collect(REQUESTS)
    assert answers.keys() == REQUESTS.keys()
    json.dumps([[list(each) for each in seen.values()], answers]).encode()
    assert "KeyError" in answers["misspelt"]["unreadable"]


@pytest.mark.parametrize(
    ("name", "says", "code", "unreadable"),
    [
        ("ipset", b"add s 192.0.2.1,tcp:443\n", 0, {"set", "timed"}),
        ("ipset", b"create s hash:net,port\nfoo\n", 0, {"set", "timed"}),
        ("iptables-save", b"# Table `filter' is incompatible, use 'nft' tool.\n", 0, {"rules"}),
        ("iptables-save", b"", 0, {"rules"}),
        ("iptables-save", TABLE[:60].encode(), 0, {"rules"}),
        ("nft", b"", 1, {"rules", "frames"}),
        ("systemctl", b"", 0, {"unit", "process"}),
        ("systemctl", UNIT.encode() + b"\n" + UNIT.encode(), 0, {"unit", "process"}),
        ("ip", b"[{]", 0, {"frames"}),
        ("mountinfo", b"\xff", 0, {"mount", "file", "sysctl"}),  # whether a file can be replaced is told there, too
    ],
)
def test_what_can_not_be_shown_is_not_nothing(
    programs: Path, name: str, says: bytes, code: int, unreadable: set[str]
) -> None:
    before = {identity for identity, seen in snapshot.look(RESOURCES).items() if seen.state == UNREADABLE}
    assert before == set()
    if name == "mountinfo":
        (programs / name).write_bytes(says)
    else:
        fake(programs, name, says, code)
    after = snapshot.look(RESOURCES)
    assert {identity for identity, seen in after.items() if seen.state == UNREADABLE} == unreadable
    assert all(after[identity].reason for identity in unreadable)


def test_warnings_of_iptables_are_no_trouble(programs: Path) -> None:
    fake(programs, "iptables-save", b"# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n"
         + TABLE.encode() + b"# Completed\n")  # fmt: skip
    seen = snapshot.look([r for r in RESOURCES if r["id"] == "rules"])["rules"]
    assert (seen.state, seen.value["rules"]) == (VALUE, ["-j DROP"])


def test_the_other_backend_s_table_that_can_not_be_shown_is_no_empty_one(programs: Path) -> None:
    fake(programs, "iptables-nft-save", b"# Table `filter' is incompatible, use 'nft' tool.\n")
    (answer,) = evidence.collect({"other": {"collect": "other-backend"}}).values()
    assert "can't show the table filter" in answer["unreadable"]


def test_one_odd_parameter_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "path_of", lambda key: str(tmp_path / key))
    (tmp_path / "a").write_bytes(b"h\xe4\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "c").write_text("7\n")
    wanted = [{"id": key, "kind": "sysctl", "key": key, "value": "7", "compare": "equal"} for key in "abc"]
    seen = snapshot.look(wanted)
    assert [seen[key].state for key in "abc"] == [VALUE, UNREADABLE, VALUE]
    assert seen["b"].reason == f"{tmp_path}/b: Is a directory"
    assert [d.have for d in snapshot.differ(wanted[0], seen["a"]) if d.field == "live"] == ["h\\xe4"]
    saved = sysctl.capture(wanted[:1])
    (tmp_path / "a").write_text("other\n")
    sysctl.restore(wanted[:1], json.loads(json.dumps(saved)))
    assert (tmp_path / "a").read_bytes() == b"h\xe4\n"


def test_what_looks_like_a_digit_is_no_number() -> None:
    resource = {"compare": "min", "value": "1"}
    assert not sysctl.holds(resource, "²")
    assert parameters.ports("²-³") == set()
    assert not pam_limit.enough("²", 1)


def test_a_program_s_bytes_survive_both_ways(programs: Path) -> None:
    every = bytes(range(1, 256)) + b"\r\n\xc3\xa4"
    fake(programs, "says", every)
    said = run(["says"]).stdout
    assert run(["cat"], text=said).stdout == said
    assert said.encode("utf-8", "surrogateescape") == every


@pytest.mark.parametrize("script", ["yes", "yes >&2", "cat /dev/zero"])
def test_a_program_that_says_too_much_is_ended(programs: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(program, "MOST", 1 << 20)
    (programs / "talks").write_text(f"#!/bin/sh\nexec {script}\n")
    (programs / "talks").chmod(stat.S_IRWXU)
    with pytest.raises(HostError, match="`talks` says more than 1 MiB, and was ended"):
        run(["talks"])


def test_a_program_that_reads_nothing_or_never_ends_is_no_trouble() -> None:
    assert run(["true"], text="x" * (1 << 20)).returncode == 0
    for script in ("sleep 60", "exec >&- 2>&-; exec sleep 60"):
        with pytest.raises(HostError, match="did not end within"):
            run(["sh", "-c", script], timeout=0.2)


def test_a_file_that_can_not_be_read_is_unreadable(tmp_path: Path) -> None:
    wanted = {"kind": "file", "content": "x", "mode": "0644"}
    (tmp_path / "there").write_bytes(b"\xff\0\r\n")
    long = str(tmp_path / ("x" * 300))
    seen = snapshot.look([{**wanted, "id": "a", "path": str(tmp_path / "there")}, {**wanted, "id": "b", "path": long}])
    assert [seen["a"].state, seen["b"].state] == [VALUE, UNREADABLE]
    assert long in seen["b"].reason
