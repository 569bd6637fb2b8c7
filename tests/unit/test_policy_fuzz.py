"""Whatever stands in a policy file: it is refused in words, or nothing of it gets beyond its place on a host."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hostguard.bundle import compile_policy
from hostguard.policy.load import LoadedPolicy, PolicyError, load

EXAMPLE = (Path(__file__).parents[2] / "examples" / "hostguard.yml").read_text(encoding="utf-8")
PLAIN: dict[str, Any] = yaml.safe_load(EXAMPLE)
PLAIN["egress"]["providers"]["payments"]["hosts"] = ["api.provider.com", "*.files.provider.com"]
PLAIN["waivers"] = [
    {"control": "kernel.somaxconn", "hosts": ["web1", "db*"], "reason": "x", "by": "y", "expires": "2026-12-31"}
]
PLAIN["gateway"] = {
    "program": "/usr/bin/envoy", "sha256": "0" * 64, "version_min": "1.40", "address": "127.0.0.84", "workers": 2,
    "ca": "/etc/ssl/certs/ca-certificates.crt", "connections_max": 6400, "heap_max": "400M", "log": "all",
    "tls": {"min": "1.2", "ciphers": ["ECDHE-RSA-AES256-GCM-SHA384"]},
    "metrics": {"listen": 90, "users": ["prometheus"]},
    "providers": {"payments": {
        "host": "api.provider.com", "port": 443, "fallback": ["a.files.provider.com"], "users": ["shop"], "listen": 84,
        "group": "shop", "protocol": "auto", "load": {"peak_rps": 2000, "p99": "800ms"}, "timeouts": {"try": "2s"},
        "breaker": {"requests": 3200}, "retry": {"safe": ["GET"], "idempotency_header": "Idempotency-Key"},
        "payload": {"schema": {"properties": {"id": {"enum": ["a"]}}, "required": ["id"]}, "types": ["text/plain"]},
        "objective": {"errors": "1%"},
    }},
}  # fmt: skip

# What a value would have to say to become more than a value: in a rule, a unit, a path, a template, a shell.
TRICKS = [
    "x\n-A OUTPUT -j ACCEPT", "x\nExecStart=/bin/sh", "x -j ACCEPT", "x; reboot", "$(reboot)", "`reboot`", "x'y", 'x"y',
    "{{ 7*7 }}", "{% raw %}", "${uid:root}", "${noswap}", "%n", "../../etc/shadow", "/etc/../shadow", "x/../y", "x\0y",
    "x\\ny", "-w", "--help", "!x", "x,udp:53", "x y", "x\ty", "é", "١٢٣", "０", "x\u2028y", "x\x7fy", "x#y", "x=y", "*",
    "10.0.0.1;", "10.0.0.1%eth0", "fe80::1%x\ny/128", "10.0.0.1/32 -j ACCEPT", "0x7f000001", "010.0.0.1", "443 ",
    "", " ", "x" * 5000, "null", "[]", "envoy.service\n", "envoy.service ", "0750\n", "512M\n", "1.1.1\n", "tcp\n",
]  # fmt: skip


def read(text: str | bytes) -> LoadedPolicy | None:
    """The policy, or None where it was refused in words that are fit to be shown."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        try:
            return load(path)
        except PolicyError as error:
            refused = error
    assert refused.problems
    for problem in refused.problems:
        said = str(problem)
        assert said.isprintable(), ascii(said)
        assert len(said) < 1000
    return None


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every scalar, and of every key of a mapping as (*path, KEY, key)."""
    if isinstance(node, dict):
        for key, item in node.items():
            yield (*path, KEY, key)
            yield from places(item, (*path, key))
    elif isinstance(node, list):
        for at, item in enumerate(node):
            yield from places(item, (*path, at))
    else:
        yield path


KEY = object()
PLACES = list(places(PLAIN))


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(PLAIN)
    node: Any = tree
    if KEY in path:
        for part in path[: path.index(KEY)]:
            node = node[part]
        node[value] = node.pop(path[-1])
        return tree
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return tree


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    read(raw)


@settings(max_examples=300)
@given(st.text(alphabet=st.sampled_from(list("version: 1\n-[]{}&*!|>'\"%@`#,?~\t\0éx")), max_size=200))
@example("!%1b")
def test_any_yaml_like_text(text: str) -> None:
    read(text)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400)
@given(st.sampled_from(PLACES), json_like)
def test_anything_in_any_place(path: tuple[Any, ...], value: Any) -> None:
    if KEY in path and not isinstance(value, str):
        value = str(value)
    contained(read(json.dumps(changed(path, value))))


def test_every_trick_in_every_place() -> None:
    accepted = 0
    for path in PLACES:
        for trick in TRICKS:
            # Also where a good value comes before it: `envoy` + newline.
            for value in (trick, f"{path[-1] if KEY in path else leaf(path)}{trick}"):
                policy = read(json.dumps(changed(path, value)))
                accepted += policy is not None
                contained(policy)
    # The trick that is no trick: a value with nothing behind it.
    assert accepted > 0


def leaf(path: tuple[Any, ...]) -> Any:
    node: Any = PLAIN
    for part in path:
        node = node[part]
    return node


WORD = r"[A-Za-z0-9_.:,/${}@-]+"
RULE = re.compile(rf'(! )?(-{{1,2}}[a-zA-Z-]+|{WORD}|"hostguard (deny|observe): (answer)?")')
ENTRY = re.compile(r"[0-9a-f.:]+/[0-9]{1,3},(tcp|udp):[0-9]{1,5}")
TARGETS = {"ACCEPT", "DROP", "REJECT", "RETURN", "LOG", "NFLOG"}
UNIT_KEYS = {
    "Description", "DefaultDependencies", "RequiresMountsFor", "After", "Before", "Wants", "Conflicts", "Type",
    "RemainAfterExit", "PartOf", "ReloadPropagatedFrom", "ExecStart", "ExecReload", "ExecStartPre", "WantedBy",
    "ConditionPathExists", "What", "Where", "Options",
    "StartLimitIntervalSec", "PIDFile", "RuntimeDirectory", "User", "Environment", "EnvironmentFile",
    "Restart", "RestartSec",
    "OOMScoreAdjust", "AmbientCapabilities", "CapabilityBoundingSet", "NoNewPrivileges", "ProtectSystem", "ProtectHome",
    "PrivateTmp", "PrivateDevices", "ProtectKernelTunables", "ProtectKernelModules", "ProtectControlGroups",
    "RestrictNamespaces", "RestrictSUIDSGID", "RestrictRealtime", "LockPersonality", "MemoryDenyWriteExecute",
    "SystemCallArchitectures", "RestrictAddressFamilies",
    "MemoryMax", "MemoryHigh", "CPUQuota", "TasksMax", "LimitNOFILE", "DefaultLimitNOFILE", "Slice",
    "DevicePolicy", "IPAddressDeny", "LimitCORE", "LogsDirectory", "LogsDirectoryMode", "MemorySwapMax", "PrivateIPC",
    "ProcSubset", "ProtectClock", "ProtectHostname", "ProtectKernelLogs", "ProtectProc", "RemoveIPC",
    "RuntimeDirectoryPreserve", "SocketBindAllow", "SocketBindDeny", "SystemCallFilter", "TimeoutStartSec", "UMask",
}  # fmt: skip
FOLDERS = ("/etc/hostguard/egress/", "/etc/hostguard/names.mark", "/etc/systemd/system/", "/etc/systemd/system.conf.d/",
           "/etc/security/limits.d/", "/etc/udev/rules.d/", "/etc/modules-load.d/", "/etc/hostguard/gateway/",
           "/etc/tmpfiles.d/", "/etc/logrotate.d/")  # fmt: skip
UNITS = re.compile(r"(# .*|\[[A-Z][a-z]+\]|([A-Za-z]+)=(.*))?")


# What dnsmasq reads: `name` with an optional value, which has no blanks.
NAMES_LINE = re.compile(r"(# [A-Za-z', .:]+|[a-z-]+(=[A-Za-z0-9.:/*,_#-]+)?)?")
TMPFILES_LINE = re.compile(r"(# .*|[df] /[A-Za-z0-9/._-]+ [0-7]{4} [a-z0-9${}:_-]+ [a-z0-9${}:_-]+ -( \{\})?)?")
LOOKUP = re.compile(r"(# .*|nameserver [0-9.]+|options [a-z0-9: ]+)?")


def contained(loaded: LoadedPolicy | None) -> None:
    """Everything that a policy becomes stays within the words of its place, by grammars of this test's own."""
    if loaded is None:
        return
    for resource in compile_policy(loaded).resources:
        kind = resource["kind"]
        if kind == "ruleset":
            for rule in resource["rules"]:
                assert set(re.findall(r"-j (\S+)", rule)) <= TARGETS
                assert RULE.sub("", rule).strip() == "", rule
        elif kind == "ipset":
            assert re.fullmatch(r"hostguard-[46]-[A-Za-z0-9._-]{1,31}", resource["name"])
            assert all(ENTRY.fullmatch(entry) for entry in resource["entries"])
        elif kind == "file":
            assert resource["path"].startswith(FOLDERS)
            assert ".." not in resource["path"].split("/")
            assert "\0" not in resource["content"]
            if resource["path"].startswith("/etc/systemd/"):
                for line in resource["content"].split("\n"):
                    match = UNITS.fullmatch(line)
                    assert match, line
                    assert match[2] is None or match[2] in UNIT_KEYS, line
            if resource["path"].startswith("/etc/tmpfiles.d/"):
                assert all(TMPFILES_LINE.fullmatch(line) for line in resource["content"].split("\n"))
            if resource["path"].endswith("/names.conf"):
                assert all(NAMES_LINE.fullmatch(line) for line in resource["content"].split("\n"))
        elif kind == "lookup":
            assert resource["path"] == "/etc/resolv.conf"
            assert all(LOOKUP.fullmatch(line) for line in resource["content"].split("\n"))
        elif kind == "sysctl":
            assert re.fullmatch(r"[a-z0-9]+(\.[A-Za-z0-9_-]+)+", resource["key"])
            assert re.fullmatch(r"[A-Za-z0-9 ,./:_+-]+", resource["value"])
        elif kind == "mount":
            assert resource["path"].startswith("/")
            assert ".." not in resource["path"].split("/")
