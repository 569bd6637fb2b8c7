"""Answers of hosts: a true one to the example policy, and what a broken or hostile host makes of it."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hostguard.bundle import Compiled, compile_policy
from hostguard.host.kinds import frames
from hostguard.host.resource import resolve
from hostguard.impact import DUMPS
from hostguard.policy.load import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "hostguard.yml"
FACTS = {"uid:envoy": "101", "uid:vault-agent": "102", "gid:envoy": "103", "noswap": ",noswap"}
HOSTILE_WORD = (
    "\x1b[2J\x1b]8;;http://evil\x07\r\u202e\u200b\x9b31m\n::error::owned\n  ::add-mask::x\n##[command]x\ud800"
)

Path_ = tuple["str | int", ...]


def asked() -> Compiled:
    return compile_policy(load(EXAMPLE))


def true_answer(compiled: Compiled) -> dict[str, Any]:
    """What a host says that is as the policy wants it."""
    resources = [resolve(resource, FACTS) for resource in compiled.resources]
    plain: dict[str, Any] = {
        "resources": resources,
        "observations": {r["id"]: ["value", _value(r), ""] for r in resources},
        "leftovers": [],
        "evidence": {f"{control}/{name}": {"said": _said(name, request)}
                     for control, of in compiled.evidence.items() for name, request in of.items()},
    }  # fmt: skip
    found: dict[str, Any] = json.loads(json.dumps(plain))
    return found


def _said(name: str, request: dict[str, Any]) -> Any:
    if name == "denied":
        return {"packets": {"ipv4": 3, "ipv6": 0}, "accounts": {"nobody": 2}}
    if name == "sockets" and request["collect"] == "sockets":
        return {
            "dumps": {key: [] for key in DUMPS},
            "holders": {},
            "accounts": {},
            "packet": [],
            "raw": [],
            "session": "",
        }
    if name == "routes":
        return {"uids": {"envoy": 101, "vault-agent": 102}, "found": [""] * len(request["to"])}
    return SAID.get(name)


def _value(r: dict[str, Any]) -> Any:
    kind = r["kind"]
    if kind in ("file", "lookup"):
        return {"type": "file", "content": r["content"], "mode": r["mode"], "owner": "root", "group": "root"}
    if kind == "pam_limit":
        limit = {"limit": str(r["limit"]), "at": r["file"] + ":1"}
        return {"soft": limit, "hard": limit, "others": [], "passed": []}
    if kind == "sysctl":
        at = "/etc/sysctl.d/zz-hostguard.conf:1"
        return {"live": r["value"], "boot": r["value"], "boot_from": at, "later": None, "trouble": "", "foreign": False}
    if kind == "mount":
        options = [*r["options"], *r["noswap"].strip(",").split()]
        return {"type": "tmpfs", "options": sorted(options), "below": [], "more": False,
                **{k: r[k] for k in ("size", "mode", "uid", "gid")}}  # fmt: skip
    if kind == "unit":
        return {"enabled": "enabled", "active": "active", "reload": "no", "properties": r.get("properties", {}),
                "masked": False, "drop_ins": [], "conflicts": [], "held": False, "waits": False, "forgotten": "",
                "mark": r.get("mark"),
                "assigned": {k: [v, r["file"]] for k, v in r.get("assigned", {}).items()}}  # fmt: skip
    if kind == "xds":
        texts = {which: json.loads(r[which]) for which in ("clusters", "listeners")}
        said = {which: {"version": of["version_info"], "active": [each["name"] for each in of["resources"]],
                        "warming": [], "errors": {}} for which, of in texts.items()}  # fmt: skip
        same = {"type": "file", "mode": "0644", "owner": "root", "group": "root"}
        return {"files": {which: ["value", {**same, "content": r[which]}, ""] for which in texts}, "running": said}
    if kind == "slice":
        return {k: r[k] for k in ("memory_max", "memory_high", "cpu_quota", "tasks_max") if r.get(k) is not None}
    if kind == "process":
        one = {"pid": 7, "command": "envoy", "nofile": 1 << 20,
               "cgroups": ["/hostguard.slice/hostguard-egress.slice/envoy.service"]}  # fmt: skip
        return {**one, "processes": 1, "since_start": one}
    if kind == "ipset":
        entries = [e.replace("/32,", ",").replace("/128,", ",") for e in r["entries"]]
        return {"type": r["type"], "header": "family inet", "entries": entries}
    if kind == "ruleset":
        return {"policy": r["policy"] or "ACCEPT", "rules": r["rules"], "canonical": None, "jumps": [1], "behind": 0,
                "before": "", "table": True, "dormant": False, "owner": False, "sending": [],
                "backend": "nft", "elsewhere": False}  # fmt: skip
    assert kind == "frames"
    leaving = {"eth0": "02:00:00:00:00:01"}
    return {"nft": True, "leaving": leaving, "leased": [], "bridged": [], "vrf": [], "canonical": None,
            "chains": frames.chains_of(r, leaving)}  # fmt: skip


PROC_NET = "head\n   0: 00000000:0016 00000000:0000 0A 0 0 0 0 0 1 1 0 100 0 0 10 0\n"
SAID: dict[str, Any] = {
    "cpuinfo": "flags\t\t: fpu aes sse\n",
    "uname": ["Linux", "h", "6.12.0", "", "x86_64"],
    "openssl": {"binary": "OpenSSL 3.0.17 1 Jul 2025", "library": "OpenSSL 3.0.17 1 Jul 2025"},
    "stale": [],
    "cpus": 4,
    "clock": {"code": 0, "status": 1, "maxerror": 1000, "esterror": 10},
    "swap": {"swaps": "Filename\tType\tSize\tUsed\tPriority\n", "kinds": {}},
    "mounts": "40 1 0:33 / /run/secrets rw - tmpfs tmpfs rw,noswap\n",
    "tree": [{"path": "/run/secrets", "link": False, "leads_out": "", "folder": True, "mode": 0o750, "more": False,
              "uid": 0, "gid": 0}],
    "environment": {"envoy.service": ["LANG"]},
    "listeners": {"tcp": PROC_NET, "tcp6": None, "udp": None, "udp6": None},
    "reserved": "",
    "other": {"ipv4": {"backend": "legacy", "rules": ""}, "ipv6": {"backend": "legacy", "rules": ""}},
    "sockets": {"packet": [], "xdp": [], "held": True},
    "processes": {"nscd": [["/usr/sbin/nscd"]]},
    "files": {"/etc/nsswitch.conf": "hosts: files dns\n", "/etc/nscd.conf": ""},
    "settings": {"/etc/nsswitch.conf": "hosts: files dns\n", "/etc/nscd.conf": ""},
    "brokers": {"/run/nscd/socket": ["nscd"]},
    "units": ["docker.service"],
    "chains": ["DOCKER"],
    "rules": {"iptables": {"ipv4": {"raw": {"policies": {"OUTPUT": "ACCEPT"}, "rules": {"OUTPUT": []}}}, "ipv6": {}},
              "nft": []},
    "firewalld": "",
}  # fmt: skip


def deep(levels: int) -> Any:
    node: Any = "end"
    for _ in range(levels):
        node = [node]
    return node


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 0.5, 10**24, "", "0", "\x00", "\x1b[2J", "::error::x", HOSTILE_WORD, "[/bold]", "²",
    "1" * 5000, "0-4294967295", "x" * 100_000, [], [[]], {}, {"": None}, [None], ["\x1b[2J"], deep(20), deep(200),
    "value", "not_applicable", "not_running", ["missing", None, ""], ["not_applicable", None, ""],
    ["not_running", None, "x"],
    ["absent", None, ""], ["fine", None, ""], ["unreadable", None, ""], {"said": None}, {"not_running": "x"},
)  # fmt: skip


def nodes(node: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Where everything in plain JSON is; of a list of many alike the first and the last."""
    yield at
    if isinstance(node, dict):
        for key, each in node.items():
            yield from nodes(each, (*at, key))
    elif isinstance(node, list):
        for number in sorted({*range(min(2, len(node))), len(node) - 1} & set(range(len(node)))):
            yield from nodes(node[number], (*at, number))


def get(node: Any, at: Path_) -> Any:
    for step in at:
        node = node[step]
    return node


def changed(node: Any, at: Path_, new: Any) -> Any:
    """A copy with another value there; only what leads there is copied."""
    if not at:
        return new
    beside = copy.copy(node)
    beside[at[0]] = changed(node[at[0]], at[1:], new)
    return beside


def without(node: Any, at: Path_) -> Any:
    beside = copy.copy(get(node, at[:-1]))
    del beside[at[-1]]
    return changed(node, at[:-1], beside)


def mutations(answer: dict[str, Any], each: int, seed: int = 11) -> Iterator[tuple[str, Any]]:
    """Every node gone, and with `each` odd values in its place; every mapping with a key too many."""
    some = random.Random(seed)
    for at in nodes(answer):
        where = "/".join(map(str, at))
        if at:
            yield f"{where} gone", without(answer, at)
        here = get(answer, at)
        for odd in some.sample(ODD, each):
            yield f"{where} = {str(odd)[:40]!r}", changed(answer, at, odd)
        if isinstance(here, dict):
            yield f"{where} and one more", changed(answer, at, {**here, "more": deep(3)})
        if isinstance(here, list):
            yield f"{where} twice", changed(answer, at, here + here)


def damaged(raw: bytes, number: int, seed: int = 12) -> Iterator[bytes]:
    """Bytes cut short, and with others among them."""
    some = random.Random(seed)
    for _ in range(number):
        at = some.randrange(len(raw))
        yield raw[:at]
        yield raw[:at] + bytes(some.choices(range(256), k=some.randrange(1, 9))) + raw[at + 1 :]
        yield raw[:at] + some.choice(PIECES) + raw[at:]


PIECES = (b"NaN", b"-Infinity", b"1e400", b"9" * 5000, b"[" * 100_000, b'"\\ud800"', b"\xff", b'{"a":1,"a":2}', b"\x00",
          b"\xef\xbb\xbf")  # fmt: skip
