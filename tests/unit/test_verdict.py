"""Evidence × policy → status: never a pass that was not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostguard.bundle import Compiled, compile_policy
from hostguard.host.resource import MISSING, NOT_APPLICABLE, UNREADABLE, Observation, resolve, unreadable, value
from hostguard.host.snapshot import differ
from hostguard.policy.load import LoadedPolicy, load
from hostguard.policy.model import Policy
from hostguard.result import HostReport, Report, Result
from hostguard.status import Exit, Status
from hostguard.verdict import Seen, judge

EXAMPLE = Path(__file__).parents[2] / "examples" / "hostguard.yml"


def compiled(**platform: str) -> Compiled:
    loaded = load(EXAMPLE)
    assert loaded.policy.platform is not None
    changed = loaded.policy.platform.model_copy(update=platform)
    policy = loaded.policy.model_copy(update={"platform": changed})
    return compile_policy(LoadedPolicy(policy, "p", "s", ()))


def judged(control: str, evidence: dict[str, Any], what: Compiled | None = None) -> Result:
    """The verdict of one judging control on what a host said."""
    what = what or compiled()
    said = {f"{control}/{name}": {"said": answer} for name, answer in evidence.items()}
    seen = Seen((), {}, said)
    return next(result for result in judge(what, "host", seen).results if result.control.id == control)


FLAGS, NO_FLAGS = "flags\t\t: fpu aes sse\n", "flags\t\t: fpu sse\n"


@pytest.mark.parametrize(
    ("cpuinfo", "level", "status", "severity"),
    [
        (FLAGS * 2, "required", "pass", "medium"),
        (FLAGS + NO_FLAGS, "required", "fail", "medium"),
        (NO_FLAGS, "preferred", "fail", "low"),
        (NO_FLAGS, "off", "not_applicable", "medium"),
        ("Features\t: fp asimd aes pmull\n", "required", "pass", "medium"),
        ("flags\t\t: fpu vaes\n", "required", "fail", "medium"),
        ("model : none\n", "required", "unknown", "medium"),
    ],
)
def test_aes(cpuinfo: str, level: str, status: Status, severity: str) -> None:
    found = judged("platform.aes", {"cpuinfo": cpuinfo}, compiled(aes=level))
    assert (found.status, found.severity) == (status, severity)


@pytest.mark.parametrize(
    ("release", "status"),
    [
        ("4.18.0-553.el8_10.x86_64", "pass"),
        ("4.17.19", "fail"),
        ("6.1.0-42-amd64", "pass"),
        ("4.9.0", "fail"),
        ("10.0", "pass"),
    ],
)
def test_kernel(release: str, status: Status) -> None:
    assert judged("platform.kernel", {"uname": ["Linux", "h", release, "", ""]}).status == status


@pytest.mark.parametrize(
    ("binary", "library", "status"),
    [
        ("OpenSSL 3.0.17 1 Jul 2025", "OpenSSL 3.0.17 1 Jul 2025", "pass"),
        ("OpenSSL 1.1.1w  11 Sep 2023", "OpenSSL 1.1.1w  11 Sep 2023", "pass"),
        ("OpenSSL 3.0.17", "OpenSSL 1.1.0l", "fail"),
        ("OpenSSL 1.0.2k-fips", "OpenSSL 3.0.17", "fail"),
        (None, "OpenSSL 3.0.17", "pass"),
        ("LibreSSL 3.8.2", "OpenSSL 3.0.17", "unknown"),
        (None, None, "unknown"),
    ],
)
def test_openssl(binary: str | None, library: str | None, status: Status) -> None:
    assert judged("platform.openssl", {"openssl": {"binary": binary, "library": library}}).status == status


@pytest.mark.parametrize(
    ("code", "bits", "status"), [(0, 0x1, "pass"), (0, 0x41, "fail"), (5, 0x1, "fail"), (1, 0x2001, "pass")]
)
def test_clock(code: int, bits: int, status: Status) -> None:
    clock = {"code": code, "status": bits, "maxerror": 1000, "esterror": 10}
    assert judged("platform.clock-sync", {"clock": clock}).status == status


HEAD = "Filename\tType\tSize\tUsed\tPriority\n"
SWAP = HEAD + "/dev/sda2 partition 1 0 -2\n"
NOSWAP = "40 1 0:33 / /run/secrets rw - tmpfs tmpfs rw,noswap\n"
PLAIN = "40 1 0:33 / /run/secrets rw - tmpfs tmpfs rw\n"


@pytest.mark.parametrize(
    ("mounts", "swaps", "kinds", "status"),
    [
        (NOSWAP, SWAP, {}, "pass"),
        (PLAIN, SWAP, {}, "fail"),
        ("", SWAP, {}, "fail"),
        (PLAIN, HEAD, {}, "pass"),
        (PLAIN, SWAP, {"/dev/sda2": "encrypted"}, "pass"),
        (PLAIN, SWAP, {"/dev/sda2": ""}, "fail"),
        (PLAIN, HEAD + "/dev/zram0 partition 1 0 100\n", {"/dev/zram0": "memory"}, "pass"),
        (PLAIN, HEAD + "/dev/zram0 partition 1 0 100\n", {"/dev/zram0": ""}, "fail"),
        (NOSWAP + PLAIN, SWAP, {}, "fail"),
    ],
)
def test_secrets_never_reach_a_disk(mounts: str, swaps: str, kinds: dict[str, str], status: Status) -> None:
    said = {"mounts": mounts, "swap": {"swaps": swaps, "kinds": kinds}, "uname": ["Linux", "h", "6.1", "", ""]}
    assert judged("secrets.swap", said).status == status


def entry(path: str, mode: int, link: bool = False, leads_out: str = "") -> dict[str, Any]:
    described = {"path": path, "mode": mode, "link": link, "leads_out": leads_out, "more": False}
    return {**described, "folder": False, "uid": 0, "gid": 0}


def test_open_secrets() -> None:
    top = entry("/run/secrets", 0o750)
    assert judged("secrets.permissions", {"tree": [top, entry("/run/secrets/a", 0o640)]}).status == "pass"
    assert judged("secrets.permissions", {"tree": [top, entry("/run/secrets/a", 0o644)]}).status == "fail"
    assert judged("secrets.permissions", {"tree": [top, entry("/run/secrets/a", 0o777, link=True)]}).status == "pass"
    away = entry("/run/secrets/a", 0o777, link=True, leads_out="/var/lib/app/a")
    assert judged("secrets.permissions", {"tree": [top, away]}).status == "fail"
    assert judged("secrets.permissions", {"tree": []}).status == "fail"
    listed = {**entry("/run/secrets/a", 0o640), "more": True}
    assert judged("secrets.permissions", {"tree": [top, listed]}).status == "fail"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("STRIPE_API_KEY", "fail"),
        ("DB_PASSWORD", "fail"),
        ("TOKEN_FILE", "pass"),
        ("PATH", "pass"),
        ("LANG", "pass"),
        ("API_TOKEN (/etc/default/a)", "fail"),
        ("TOKEN_FILE (/etc/default/secret)", "pass"),
    ],
)
def test_secrets_in_environments(name: str, status: Status) -> None:
    assert judged("secrets.environment", {"environment": {"a.service": [name]}}).status == status


def test_rules_in_the_other_backend() -> None:
    def rules(ipv4: str) -> dict[str, Any]:
        return {"other": {"ipv4": {"backend": "legacy", "rules": ipv4}, "ipv6": {"backend": "legacy", "rules": ""}}}

    empty = "*filter\n:INPUT ACCEPT [0:0]\n:OTHERS - [0:0]\nCOMMIT\n"
    assert judged("egress.other-backend", rules(empty)).status == "pass"
    # The policy of one table must not hide behind that of the next.
    dropping = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n*mangle\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
    assert judged("egress.other-backend", rules(dropping)).status == "fail"
    assert judged("egress.other-backend", rules(empty + "*nat\n-A OUTPUT -j DNAT\nCOMMIT\n")).status == "fail"


def test_a_listener_within_the_ephemeral_range() -> None:
    row = "   0: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1 0 100 0 0 10 0\n"
    for port, reserved, status in ((8080, "", "pass"), (12345, "", "fail"), (12345, "12000-13000", "pass")):
        said = {"listeners": {"tcp": "head\n" + row.format(port=port), "tcp6": None}, "reserved": reserved}
        assert judged("kernel.listening-ports", said).status == status


def test_what_was_not_answered_is_unknown() -> None:
    assert judged("platform.aes", {}).status == "unknown"
    what = compiled()
    seen = Seen((), {}, {"platform.aes/cpuinfo": {"unreadable": "no right to"}})
    result = next(r for r in judge(what, "h", seen).results if r.control.id == "platform.aes")
    assert (result.status, result.actual) == ("unknown", "no right to")


def parameters(*states: Observation) -> Result:
    """kernel.keepalive, whose three parameters were seen like this."""
    what = compiled()
    resources = [r for r in what.resources if r["control"] == "kernel.keepalive"]
    observations = {r["id"]: state for r, state in zip(resources, states, strict=True)}
    seen = Seen(tuple(resources), observations, {})
    return next(r for r in judge(what, "h", seen).results if r.control.id == "kernel.keepalive")


def live(number: str) -> Observation:
    known = {"boot_from": "f:1", "later": None, "trouble": "", "foreign": False}
    return Observation("value", {"live": number, "boot": number, **known})


UNREAD, NOT_HERE = Observation(UNREADABLE, None, "no right to"), Observation(NOT_APPLICABLE, None, "does not run")
NOT_THERE = Observation(MISSING, None, "ngnix.service is not installed")


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ((live("60"), live("10"), live("6")), "pass"),
        ((live("60"), live("10"), NOT_HERE), "pass"),
        ((live("60"), UNREAD, live("6")), "unknown"),
        ((live("61"), UNREAD, live("6")), "fail"),
        ((UNREAD, NOT_HERE, NOT_HERE), "unknown"),
        ((NOT_HERE, NOT_HERE, NOT_HERE), "not_applicable"),
        ((live("60"), NOT_THERE, live("6")), "fail"),
        ((UNREAD, NOT_THERE, NOT_HERE), "fail"),
    ],
)
def test_the_worst_that_was_seen_decides(states: tuple[Observation, ...], status: Status) -> None:
    assert parameters(*states).status == status


def test_a_section_left_out_is_not_managed() -> None:
    policy = Policy.model_validate({"version": 1, "platform": {}})
    what = compile_policy(LoadedPolicy(policy, "p", "s", ()))
    assert what.resources == ()
    statuses = {r.control.area: r.status for r in judge(what, "h", Seen((), {}, {})).results}
    assert statuses["egress"] == statuses["secrets"] == statuses["kernel"] == "not_applicable"
    assert statuses["platform"] == "unknown"


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (("pass", "not_applicable"), Exit.WELL),
        (("pass", "waived"), Exit.WELL),
        (("pass", "unknown"), Exit.UNSEEN),
        (("unknown", "fail"), Exit.FAILED),
    ],
)
def test_exit_codes(statuses: tuple[Status, ...], code: Exit) -> None:
    result = parameters(live("60"), live("10"), live("6"))
    results = tuple(Result(result.control, status, result.severity, "", "", "") for status in statuses)
    assert Report("", "", "", (HostReport("h", results),)).exit() == code


def test_an_audit_of_one_area_says_nothing_of_the_others() -> None:
    what = compile_policy(load(EXAMPLE), areas=["platform"])
    results = judge(what, "host", Seen((), {}, {})).results
    said = {status: {r.control.area for r in results if r.status == status} for status in ("unknown", "not_applicable")}
    assert said["unknown"] == {"platform"}
    assert said["not_applicable"] == {"egress", "gateway", "kernel", "limits", "slices", "secrets"}


def running(nofile: int, unit: str = "envoy.service") -> Result:
    """limits.running, where a service runs with so many open files."""
    what = compile_policy(load(EXAMPLE))
    wanted = next(r for r in what.resources if r["id"] == f"process:{unit}:nofile")
    seen = value({"pid": 7, "nofile": nofile, "cgroups": [], "command": "envoy"})
    results = judge(what, "host", Seen((wanted,), {wanted["id"]: seen}, {})).results
    return next(result for result in results if result.control.id == "limits.running")


def test_a_restart_that_is_owed_is_told_by_what_differs() -> None:
    result = running(1024)
    assert (result.status, result.owed) == ("fail", True)
    (deviation,) = result.deviations
    assert (deviation.place, deviation.have, deviation.restart) == (
        "envoy.service",
        "1024 (process 7, envoy)",
        "envoy.service",
    )


def test_what_holds_owes_nothing_and_differs_in_nothing() -> None:
    result = running(1 << 30)
    assert (result.status, result.owed, result.deviations) == ("pass", False, ())


def test_what_the_host_lacks_is_no_account_where_it_is_a_program() -> None:
    lacking = resolve({"id": "x", "kind": "file", "path": "/x", "content": "${program:dnsmasq}"}, {})
    assert [difference.field for difference in differ(lacking, unreadable("x"))] == ["prerequisite"]
