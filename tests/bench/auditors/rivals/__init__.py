"""Who audits a host beside hostguard: what each is called by, and how it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figure import Unmeasured
from tests.lab import Host

Findings = frozenset[str]
"""What an auditor says that is not well, each by its own name for it."""

CHECKS = Path(__file__).with_name("host_checks.py")
CHECKS_INSIDE = "/root/checks/test_host.py"
GUIDE = "/usr/share/xml/scap/ssg/content/ssg-debian12-ds.xml"
RULE = "xccdf_org.ssgproject.content_rule_"
PROFILE = "anssi_bp28_high"
RULES_INSIDE = "/root/checks/rules"
LYNIS_REPORT = "/var/log/lynis-report.dat"
# What looks at a host's kernel, network, services, mounts, files and accounts. Left out for the table, half of its
# time: certificates, packages, shells, and the software that a lab host does not have, from mail to databases.
LYNIS_GROUPS = (
    "accounting authentication boot_services containers file_integrity file_permissions filesystems firewalls "
    "hardening insecure_services kernel kernel_hardening logging memory_processes nameservices networking scheduling "
    "ssh storage system_integrity time virtualization"
)

OSCAP = ("oscap", "xccdf", "eval", "--progress")
LYNIS = ("lynis", "audit", "system", "--quick", "--no-colors")
FOUND_SOMETHING = 2  # oscap's exit code where a rule fails


@dataclass(frozen=True)
class Auditor:
    name: str
    is_: str
    argv: Sequence[str]
    """As one calls it, and it is timed; ends with 0 where it did its work."""
    findings: Callable[[Host], Findings]


def furnish(host: Host) -> None:
    """Give a hardened host what the rivals read there. The image brings the rivals."""
    host.write(CHECKS_INSIDE, CHECKS.read_text(encoding="utf-8"))
    host.run(["python3", CHECKS_INSIDE])
    can_turn = f"sed -n '/:fail$/!s/^{RULE}\\(.*\\):.*/--rule {RULE}\\1/p' > {RULES_INSIDE}"
    host.run(f"{' '.join(OSCAP)} --profile '(all)' {GUIDE} | {can_turn}")


def hostguard(host: Host) -> Findings:
    done = host.hostguard("audit", "--format", "json")
    if done.returncode not in (0, 1, 3):
        raise Unmeasured(f"hostguard audit ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    results = json.loads(done.stdout)["hosts"][0]["results"]
    return frozenset(r["id"] for r in results if r["status"] in ("fail", "unknown"))


def testinfra(host: Host) -> Findings:
    said = host.run(["pytest", "-q", "--tb=no", "-rfE", CHECKS_INSIDE], check=False).stdout
    if not re.search(r"\d (passed|failed).* in ", said):
        raise Unmeasured(f"pytest says something else than how many tests pass or fail: {said.strip()[-300:]}")
    return frozenset(re.findall(r"^(?:FAILED|ERROR) \S+::test_(\w+)", said, re.MULTILINE))


def openscap(host: Host) -> Findings:
    """Of all rules of the guide, whatever profile they belong to, that an unbroken host does not fail: no other one
    can turn. That the guide is valid was seen when it was timed."""
    said = host.run(f"{' '.join(OSCAP)} --skip-validation $(cat {RULES_INSIDE}) {GUIDE}", check=False).stdout
    results = re.findall(rf"^{RULE}(\w+):(\w+)$", said, re.MULTILINE)
    if "pass" not in dict(results).values():
        raise Unmeasured(f"oscap names no rule that passes: {said.strip()[-300:]}")
    return frozenset(rule for rule, result in results if result in ("fail", "error", "unknown"))


def lynis(host: Host) -> Findings:
    """Its warnings and suggestions with their details, and the index that it sums up in, as its report has them."""
    host.run([*LYNIS, "--no-log", "--no-plugins", "--tests-from-group", LYNIS_GROUPS], check=False)
    report = host.out(["cat", LYNIS_REPORT])
    if "hardening_index=" not in report:
        raise Unmeasured(f"{LYNIS_REPORT} has no hardening index: the run did not come to its end")
    kinds = ("warning[]=", "suggestion[]=", "details[]=", "manual_event[]=", "exception_event[]=", "hardening_index=")
    return frozenset(line for line in report.splitlines() if line.startswith(kinds))


HOSTGUARD = Auditor("hostguard", "hostguard audit", ("python3", "-m", "hostguard", "audit"), hostguard)
TESTINFRA = Auditor("testinfra", "the same controls as testinfra tests", ("pytest", "-q", CHECKS_INSIDE), testinfra)
OPENSCAP = Auditor(
    "OpenSCAP",
    f"oscap xccdf eval --profile {PROFILE}",
    ("sh", "-c", f"{' '.join(OSCAP)} --profile {PROFILE} {GUIDE}; test $? -eq {FOUND_SOMETHING}"),
    openscap,
)
RIVALS = (TESTINFRA, OPENSCAP, Auditor("Lynis", "lynis audit system --quick", LYNIS, lynis))
AUDITORS = (HOSTGUARD, *RIVALS)
QUICK = (HOSTGUARD, TESTINFRA)
"""Who knows the policy: of a hardened host they say nothing at all."""


def short(finding: str) -> str:
    """A finding as it fits into a table: of Lynis the test, and the kernel parameter that it is about."""
    if "[]=" not in finding:
        return finding
    field = re.search(r"field:([^;]+)", finding)
    test = finding.partition("=")[2].partition("|")[0]
    return f"{test} {field[1]}" if field else test
