"""Hardened hosts, broken one way at a time: the audit must turn exactly the control that the break is about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest

import pytest

from hostguard.controls import CATALOGUE
from tests.breaks import (
    BREAKS,
    BY_NAME,
    EVERY,
    MISSING,
    OF_A_WIDER_POLICY,
    OF_NAMES,
    OF_SEVERAL,
    ON_LEGACY,
    WIDER,
    Break,
    score,
)
from tests.lab import Backend, Host, Lab
from tests.lab.any_host import AnyHost
from tests.lab.debian import PYCACHE
from tests.witness import policy

pytestmark = pytest.mark.needs("lab")

# On Debian 13 what another iptables, nft and systemd may do in other ways.
OF_THE_SYSTEM = tuple(each for each in BREAKS if each.control.startswith(("egress.", "limits.units", "slices.")))
PLATFORMS: dict[str, tuple[str, Backend, policy.Change, tuple[Break, ...]]] = {
    "debian 12, nft": ("bookworm", "nft", WIDER, (*BREAKS, *OF_A_WIDER_POLICY)),
    "debian 12, legacy": ("bookworm", "legacy", WIDER, ON_LEGACY),
    "debian 13, nft": ("trixie", "nft", WIDER, OF_THE_SYSTEM),
    "debian 12, names": ("bookworm", "nft", BY_NAME, OF_NAMES),
}


def together(platform: str) -> pytest.MarkDecorator:
    """What happens on one host stays on one worker."""
    return pytest.mark.xdist_group(f"breaks on {platform}")


def in_turn(breaks: Sequence[Break]) -> list[Break]:
    """The first break of each control, then the second of each: what was not mended shows in the next test, which is
    about another control."""
    of_control: dict[str, list[Break]] = {}
    for each in breaks:
        of_control.setdefault(each.control, []).append(each)
    return [each for turn in zip_longest(*of_control.values()) for each in turn if each]


def failing(host: AnyHost) -> dict[str, str]:
    """What does not pass: what is unknown is no pass either."""
    report = json.loads(host.hostguard("audit", "--format", "json").stdout)["hosts"][0]["results"]
    return {r["id"]: r["actual"] for r in report if r["status"] not in ("pass", "not_applicable")}


def hardened(lab: Lab, platform: str) -> Host:
    """The platform's host, of which there is one; it has been clean once."""
    name = platform.translate({ord(" "): "-", ord(","): None})
    if name in lab.hosts:
        return lab.hosts[name]
    suite, backend, change, _ = PLATFORMS[platform]
    host = lab.host(name, backend=backend, suite=suite)
    policy.install(host, change)
    done = host.hostguard("apply", "--yes", "--restart", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr
    return host


EACH_PLATFORM = [pytest.param(name, marks=together(name)) for name in PLATFORMS]


@pytest.mark.parametrize("platform", EACH_PLATFORM)
def test_a_hardened_host_is_clean(lab: Lab, platform: str) -> None:
    assert failing(hardened(lab, platform)) == {}


@pytest.mark.parametrize(
    ("platform", "done"),
    [
        pytest.param(platform, done, id=f"{platform}: {done.control}, {done.name}", marks=together(platform))
        for platform, (*_, breaks) in PLATFORMS.items()
        for done in in_turn(breaks)
    ],
)
def test_the_audit_notices(lab: Lab, platform: str, done: Break) -> None:
    host = hardened(lab, platform)
    host.run(done.broken)
    try:
        score.count(f"{platform}: {done.name}", set(failing(host)), {done.control})
    finally:
        host.run(done.mended)


@together("debian 12, nft")
@pytest.mark.parametrize(("broken", "mended", "controls"), [pytest.param(*row[1:], id=row[0]) for row in OF_SEVERAL])
def test_what_undoes_several_controls_fails_for_each(lab: Lab, broken: str, mended: str, controls: set[str]) -> None:
    host = hardened(lab, "debian 12, nft")
    host.run(broken)
    try:
        assert set(failing(host)) == controls
    finally:
        host.run(mended)


@pytest.mark.parametrize("platform", EACH_PLATFORM)
def test_what_was_mended_is_seen_to_be(lab: Lab, platform: str) -> None:
    assert failing(hardened(lab, platform)) == {}


@pytest.mark.alone
def test_every_control_is_broken_in_two_ways() -> None:
    natures = {control.id: {each.nature for each in EVERY if each.control == control.id} for control in CATALOGUE}
    few = {control for control, found in natures.items() if len(found) < 2}
    assert few | set(score.fewer_than_two()) == set(MISSING)
    assert {each.control for each in EVERY} <= set(natures)


@together("debian 12, nft")
def test_without_root_nothing_passes_that_was_not_seen(lab: Lab) -> None:
    host = hardened(lab, "debian 12, nft")
    host.run("chmod 755 /opt/hostguard-lib /opt/hostguard-src", check=False)
    done = host.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "python3", "-m", "hostguard", "audit",
         "--format", "json"],
        check=False, env={"PYTHONPATH": "/opt/hostguard-lib:/opt/hostguard-src", "PYTHONPYCACHEPREFIX": PYCACHE},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    found = {r["id"]: r["status"] for r in json.loads(done.stdout)["hosts"][0]["results"]}
    assert "fail" not in found.values()
    unseen = ("egress.output", "egress.destinations", "egress.boot", "secrets.permissions", "secrets.environment",
              "platform.openssl-running")  # fmt: skip
    for control in unseen:
        assert found[control] == "unknown", control
