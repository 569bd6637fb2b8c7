"""What keeps an address beyond its TTL, told by a program's own words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hostguard.bundle import compile_policy
from hostguard.control import Verdict
from hostguard.controls.egress import caches
from hostguard.host.evidence.processes import processes
from hostguard.policy.load import of_variables

EGRESS: dict[str, Any] = {"via": "direct", "resolvers": ["10.0.0.2"], "providers": {"a": {"cidrs": ["10.1.0.1/32"]}}}
NAMED = {**EGRESS, "providers": {"a": {"hosts": ["api.provider.com"]}}}
SWITCH = {"/etc/nsswitch.conf": "passwd: files\nhosts: files resolve [!UNAVAIL=return] dns\n"}


def judged(processes: dict[str, list[list[str]]], files: dict[str, str], egress: dict[str, Any] = EGRESS) -> Verdict:
    context = compile_policy(of_variables({"egress": egress}, "test")).context
    return caches.judges(context, {"processes": processes, "files": files})


@pytest.mark.parametrize(
    ("program", "path", "line"),
    [
        ("nscd", "/etc/nscd.conf", "\tenable-cache\t\thosts\t\tyes"),
        ("unbound", "/etc/unbound/unbound.conf.d/a.conf", "    serve-expired: yes"),
        ("unbound", "/etc/unbound/unbound.conf", "cache-min-ttl: 900 # longer"),
        ("dnsmasq", "/etc/dnsmasq.d/a", "min-cache-ttl=3600"),
        ("dnsmasq", "/etc/dnsmasq.conf", "use-stale-cache"),
        ("named", "/etc/bind/named.conf.options", "options { stale-answer-enable yes; };"),
        ("named", "/etc/bind/named.conf.options", "\tmin-cache-ttl 60;"),
        ("pdns_recursor", "/etc/powerdns/recursor.conf", "minimum-ttl-override=60"),
        ("pdns_recursor", "/etc/powerdns/recursor.conf", "  serve_stale_extensions: 10"),
        ("systemd-resolve", "/etc/systemd/resolved.conf.d/a.conf", "StaleRetentionSec=1d"),
        ("java", "/usr/lib/jvm/java-17/conf/security/java.security", "networkaddress.cache.ttl=-1"),
    ],
)
def test_a_line_that_keeps_too_long(program: str, path: str, line: str) -> None:
    found = judged({program: [[program]]}, {path: f"# {line}\n{line}\n"})
    assert (found.status, line.strip() in found.actual, path in found.actual) == ("fail", True, True)
    assert judged({program: [[program]]}, {path: f"# {line}\n"}).status == "pass", "a comment says nothing"
    assert judged({}, {path: line}).status == "pass", "what does not run keeps nothing"


@pytest.mark.parametrize(
    ("program", "path", "line"),
    [
        ("nscd", "/etc/nscd.conf", "enable-cache hosts no"),
        ("nscd", "/etc/nscd.conf", "enable-cache passwd yes"),
        ("unbound", "/etc/unbound/unbound.conf", "serve-expired: no"),
        ("unbound", "/etc/unbound/unbound.conf", "cache-min-ttl: 0"),
        ("dnsmasq", "/etc/dnsmasq.conf", "max-cache-ttl=60"),
        ("pdns_recursor", "/etc/powerdns/recursor.conf", "minimum-ttl-override=1"),
        ("java", "/usr/lib/jvm/java-17/conf/security/java.security", "networkaddress.cache.ttl=30"),
        ("java", "/usr/lib/jvm/java-17/conf/security/java.security", "networkaddress.cache.negative.ttl=-1"),
        ("dnsmasq", "/etc/unbound/unbound.conf", "serve-expired: yes"),
    ],
)
def test_a_line_that_does_not(program: str, path: str, line: str) -> None:
    assert judged({program: [[program]]}, {path: line}).status == "pass"


def test_arguments_count_too() -> None:
    found = judged({"dnsmasq": [["dnsmasq", "--no-resolv"], ["dnsmasq", "--min-cache-ttl=99"]]}, {})
    assert (found.status, "--min-cache-ttl=99" in found.actual) == ("fail", True)


def test_resolved_is_in_the_way_of_names_only() -> None:
    running = {"systemd-resolve": [["/lib/systemd/systemd-resolved"]]}
    assert judged(running, SWITCH).status == "pass"
    assert judged(running, SWITCH, NAMED).status == "fail"
    assert judged({}, SWITCH, NAMED).status == "pass"
    assert judged(running, {"/etc/nsswitch.conf": "hosts: files dns # resolve\n"}, NAMED).status == "pass"


def test_a_jvm_is_named_by_its_argument_and_no_other_of_its_arguments_leaves_the_host(tmp_path: Path) -> None:
    program = tmp_path / "java"
    program.write_text(f"#!{sys.executable}\nimport time\nprint('ready', flush=True)\ntime.sleep(600)\n")
    program.chmod(0o755)
    context = compile_policy(of_variables({"egress": EGRESS}, "test")).context
    argv = [program, "-Dsun.net.inetaddr.ttl=-1", "-Dpassword=hush"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        said = processes(caches.asks(context)["processes"])
        running.kill()
    assert "-Dsun.net.inetaddr.ttl=-1" in judged(said, {}).actual
    assert "hush" not in str(said)
