"""Reports to render: one result of every status, a fleet, and text that wants to break out."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterable
from dataclasses import replace

from hostguard.control import Control
from hostguard.controls import CATALOGUE
from hostguard.policy.model import Waiver
from hostguard.report.text import visible
from hostguard.result import Change, HostReport, Report, Result
from hostguard.status import STATUSES, Severity, Status

GENERATED = "2026-11-23T18:00:00Z"
SHA256 = "0123456789abcdef" * 4
HOSTILE = (
    "<script>alert(1)</script><img src=//evil.example/x onerror=alert(1)>",
    "</code></td></table></details></style><h1>owned</h1>",
    "a | b \\| c \\\\| d | `e` ``f`` ```g```",
    "one\ntwo\r\nthree\u2028four\n\n# head\n\n- item\n<!-- ",
    "\x1b[2J\x1b]8;;http://evil.example\x07link\x1b]8;;\x07\x9b31m",
    "nul \x00 bell \x07 del \x7f ffff \uffff fffe \ufffe",
    "lone \ud800 and \udcff surrogates",
    "\u202egnp.exe \u2066bidi\u2069 \u200bzero",
    "![x](http://evil.example/x.png) [click](http://evil.example) www.evil.example http://evil.example @everyone #1",
    '" onmouseover="alert(1) \' ]]> &lt; &#60; {0} {{ 7*7 }} {% raw %} %s $(id) */ expression(',
    'x"} 1\nhostguard_forged{a="',
    "long " * 400,
)
EVIL_HOST = "h\n|`<b>&\"'\x1b[31m\ud800 $(id)"


def waiver(control: str = "kernel.tw-reuse", day: str = "2027-01-31", reason: str = "moves to new hosts") -> Waiver:
    # Not checked: the reason may be worse than any that a policy may give.
    return Waiver.model_construct(
        control=control, reason=reason, by="ops@example.com", expires=datetime.date.fromisoformat(day)
    )


def result(control: Control, status: Status, text: str = "") -> Result:
    said = {"pass": "65535", "fail": "128", "unknown": "no right to", "waived": "0", "not_applicable": "no section"}
    expected = "" if status in ("unknown", "not_applicable") else "≥ 65535"
    seen = text or said[status]
    held = waiver(control.id) if status == "waived" else None
    return Result(control, status, control.severity, text or expected, seen, text or "/proc/sys/net/x", held)


def host(name: str, statuses: Iterable[Status]) -> HostReport:
    """The catalogue's controls, with these statuses in turn; what is left of them passes."""
    given = [*statuses]
    given += ["pass"] * (len(CATALOGUE) - len(given))
    return HostReport(name, tuple(map(result, CATALOGUE, given)))


def report(*hosts: HostReport, warnings: tuple[str, ...] = ()) -> Report:
    lines = {("platform",): 52, ("platform", "aes"): 56, ("egress",): 9, ("kernel",): 28}
    return Report(GENERATED, "policies/hostguard.yml", SHA256, hosts, warnings, lines, "/srv/repository")


def every_status() -> Report:
    """Two hosts: one with a result of every status and a waiver that has ended, one that is well."""
    mixed = host("bar1", ["pass", "fail", "unknown", "waived", "not_applicable", "fail"])
    ended = replace(mixed.results[5], waiver=waiver(CATALOGUE[5].id, "2026-11-01"), severity=Severity.LOW)
    mixed = HostReport(mixed.host, (*mixed.results[:5], ended, *mixed.results[6:]))
    return report(mixed, host("bar2", []), warnings=("hostguard.yml:60: a waiver that nothing needs",))


def hostile() -> Report:
    """Every text at once in every place of every status."""
    results = []
    for at, text in enumerate(HOSTILE):
        # The catalogue's own text prints, and may hold any mark.
        prints = visible(text)
        control = replace(CATALOGUE[at], title=prints, remediation=prints, rationale=prints)
        for shift, status in enumerate(STATUSES):
            made = result(replace(control, id=f"{control.id}{shift or ''}"), status, text)
            made = replace(made, drift=(Change(text, text, text),) if status == "fail" else ())
            results.append(replace(made, waiver=waiver(control.id, reason=text)) if status == "waived" else made)
    evil = report(HostReport(EVIL_HOST, tuple(results)), host("bar2", []), warnings=HOSTILE)
    return replace(evil, policy_path="p\n\x1b[31m<b>`|\ud800\"'.yml", folder="")


def compared() -> Report:
    """Two hosts that were audited before: one failed in the same way, one failed where it was well or not seen."""
    statuses: list[Status] = ["fail", "fail", "unknown", "waived", "fail"]
    before: list[Status | None] = ["fail", "pass", "fail", "waived", "unknown"]
    old, new = host("bar1", statuses), host("bar2", ["pass", "pass", "unknown", "fail"])
    of_old = zip(old.results, before + [None] * (len(CATALOGUE) - len(before)), strict=True)
    hosts = (HostReport("bar1", tuple(replace(each, before=was) for each, was in of_old)), new)
    return replace(report(*hosts), compared=True)


CHANGE = Change("net.core.somaxconn: live is 128", "2026-11-23T17:00:00Z", "/etc/sysctl.d/zzz.conf:1 (jane's)")


def drifted() -> Report:
    """Hosts compared with what each was applied with, from policies of their own."""
    found = host("bar1", ["fail", "fail"])
    changed = (replace(found.results[0], drift=(CHANGE, replace(CHANGE, since="", by="not known"))), *found.results[1:])
    hosts = (HostReport("bar1", changed), host("bar2", []))
    return Report(GENERATED, "", "", hosts)


def fleet(hosts: int, seed: int = 7) -> Report:
    """As audits of many hosts look: most well, some with the same trouble, a few out of reach."""
    some = random.Random(seed)
    trouble = some.sample(range(len(CATALOGUE)), 9)
    made = []
    for number in range(hosts):
        statuses: list[Status] = ["pass"] * len(CATALOGUE)
        if number % 29 == 28:
            statuses = ["unknown"] * len(CATALOGUE)
        elif some.random() < 0.3:
            for at in some.sample(trouble, 2):
                statuses[at] = some.choice(("fail", "fail", "unknown", "waived"))
        statuses[5] = "not_applicable"
        made.append(host(f"gateway-{number + 1:04}.example.net", statuses))
    return report(*made)
