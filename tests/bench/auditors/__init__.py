"""`hostguard audit` beside Lynis, OpenSCAP and testinfra, on one hardened host."""

from __future__ import annotations

import json

from tests.bench.audit import SETTINGS
from tests.bench.auditors import image, table
from tests.bench.auditors.rivals import HOSTGUARD, RIVALS, Auditor, furnish
from tests.bench.figure import Curve, Figure, Unmeasured
from tests.lab import Host, Lab, LabError
from tests.witness import policy

RUNS = 5
HOSTS = 2
SLOW = 3600  # seconds; what is waited for is many runs of programs that take half a minute each


def measure() -> list[Figure | Curve]:
    """On a lab host of Debian 12 with the example policy in force, each by its whole command, in turn with hostguard's.
    `testinfra`: the policy's controls as tests of pytest on the host itself, one each, with the numbers written out
    and copies of the rules, sets and files that somebody once looked at; it has no third answer for what could not be
    read, finds the files that win by asking systemd or a session, and knows this one policy. `OpenSCAP`: with Debian
    12's guide, as Debian 13's ssg-debian has it. `Lynis`: as it comes, but that it asks no mirror of Debian's and does
    not wait over a missing kernel package. The two were made for other things, a host's hardening at large: they know
    nothing of the policy, and check far more than it says. The table: a host is broken in one way, all four look, it
    is mended. Noticed is what names something failing that was not named on the unbroken host: a control of
    hostguard's, a test of pytest's, a rule of the guide (any of it, whatever the profile), and with Lynis any warning,
    suggestion, detail of one, or another hardening index (its tests of packages, certificates, shells and of servers
    that are not there left out). All four are first seen to notice SYN cookies off, and at the end to say of the
    mended host what they said before."""
    try:
        with Lab() as lab:
            first = hardened(lab, "auditors1")
            figures: list[Figure | Curve] = [compare(first, rival) for rival in RIVALS]
            hosts = [first, *(hardened(lab, f"auditors{number}") for number in range(2, HOSTS + 1))]
            return [*figures, *table.of(hosts)]
    except LabError as error:
        raise Unmeasured(str(error)) from None


def hardened(lab: Lab, name: str) -> Host:
    host = lab.host(name, made_of=image.ensure())
    policy.install(host)
    done = host.hostguard("apply", "--yes", "--restart", "--confirm-within", "0")
    if done.returncode:
        raise Unmeasured(f"hostguard apply ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    furnish(host)
    return host


def compare(host: Host, rival: Auditor) -> Figure:
    """Timed inside of the host, the rival without what hostguard's Python is told."""
    table.say(f"{RUNS} runs of hostguard and {rival.name} in turn")
    plain = ["env", *(f"--unset={name}" for name in SETTINGS if name.startswith("PYTHON"))]
    request = {
        "ours": [[list(HOSTGUARD.argv), ""]],
        "base": [[[*plain, *rival.argv], ""]],
        "runs": RUNS,
        "env": SETTINGS,
    }
    watch = ["python3", "-m", "tests.bench.stopwatch"]
    ours, base = json.loads(host.run(watch, input=json.dumps(request), env=SETTINGS, timeout=SLOW).stdout)
    return Figure(f"beside {rival.name}", HOSTGUARD.is_, rival.is_, ours, base)
