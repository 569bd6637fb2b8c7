"""The roles, run by ansible over SSH on a host of the lab."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tests.lab import Host, Lab, diff
from tests.lab.fleet import Fleet
from tests.witness.playbook import play, wanted

pytestmark = pytest.mark.needs("lab")

AREA_ROLES = ("egress_firewall", "kernel_tuning", "resource_limits", "service_slices", "secret_mount")


@pytest.fixture(scope="module")
def fleet(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    fleet = Fleet(lab, tmp_path_factory.mktemp("roles"), ["roles"])
    play(fleet, ["hostguard"], {"hostguard_policy": wanted()}, "--check")  # ansible's own folder in the host
    return fleet


@pytest.fixture
def host(fleet: Fleet) -> Iterator[Host]:
    """As it was before hostguard, and so again after the test."""
    host = fleet.hosts["roles"]
    yield host
    if "applied" in host.hostguard("history").stdout:
        done = host.hostguard("rollback", "--to", "0", "--yes", "--restart")
        assert done.returncode == 0, done.stderr


def changes(before: dict[str, str], host: Host) -> list[str]:
    return diff(before, host.dump(), ignore=["legacy tables"])


def test_check_mode_changes_nothing_and_tells_the_truth(fleet: Fleet, host: Host) -> None:
    variables = {"hostguard_policy": wanted()}
    before = host.dump()
    foretold = play(fleet, ["hostguard"], variables, "--check")
    assert foretold.code == 0, foretold.text
    assert (foretold.last["outcome"], foretold.last["changed"]) == ("would change", True)
    assert changes(before, host) == []
    shown = play(fleet, ["hostguard"], variables, "--check", "--diff", env={"ANSIBLE_NOCOLOR": "1"}).text
    for resource in foretold.changed:
        assert f"--- before: {resource} " in shown

    done = play(fleet, ["hostguard"], variables)
    assert done.code == 0, done.text
    assert (done.last["outcome"], done.last["changed"]) == ("applied", True)
    assert done.last["changes"] == foretold.last["changes"]

    between = host.dump()
    again = play(fleet, ["hostguard"], variables)
    assert (again.last["outcome"], again.last["changed"], again.last["changes"]) == ("unchanged", False, [])
    assert changes(between, host) == []


def test_a_tag_makes_the_transaction_one_of_its_area(fleet: Fleet, host: Host) -> None:
    done = play(fleet, ["hostguard"], {"hostguard_policy": wanted()})
    assert done.code == 0, done.text
    other = {"hostguard_policy": wanted(("10240 65535", "20480 65535"), ("memory_max: 512M", "memory_max: 256M"))}
    del other["hostguard_policy"]["secrets"]
    before = host.dump()
    tagged = play(fleet, ["hostguard"], other, "--tags", "kernel")
    assert (tagged.code, tagged.changed) == (0, ["sysctl:net.ipv4.ip_local_port_range"]), tagged.text
    assert [line for line in changes(before, host) if line.partition(":")[0] not in ("files", "sysctl")] == []
    rest = play(fleet, ["hostguard"], other)
    assert any(name.startswith("slice:") for name in rest.changed), "the rest was left for an apply of all areas"
    assert any(name.startswith("mount:") for name in rest.changed)


def test_the_role_of_an_area_leaves_the_others(fleet: Fleet, host: Host) -> None:
    assert play(fleet, ["hostguard"], {"hostguard_policy": wanted()}).code == 0
    before = host.dump()
    alone = {"capacity": {"peak_rps": 9000, "p99": "800ms"}, "kernel": {}}
    done = play(fleet, ["kernel_tuning"], {"hostguard_policy": alone})
    assert (done.code, done.last["outcome"]) == (0, "applied"), done.text
    assert done.changed
    assert all(name.startswith("sysctl:") for name in done.changed)
    assert [line for line in changes(before, host) if line.partition(":")[0] not in ("files", "sysctl")] == []
    assert play(fleet, ["kernel_tuning"], {"hostguard_policy": alone}).last["changed"] is False


def test_the_areas_one_after_another_come_to_the_same(fleet: Fleet, host: Host) -> None:
    variables = {"hostguard_policy": wanted(), "hostguard_restart": True}
    done = play(fleet, AREA_ROLES, variables)
    assert done.code == 0, done.text
    whole = play(fleet, ["hostguard"], variables)
    assert (whole.code, whole.last["changes"]) == (0, []), whole.text
    assert host.hostguard("history").stdout.count("applied") == len(AREA_ROLES), "one transaction each"


def test_platform_checks_fail_on_what_can_not_hold(fleet: Fleet, host: Host) -> None:
    before = host.dump()
    holds = play(fleet, ["platform_checks"], {"hostguard_policy": wanted()})
    assert (holds.code, holds.last["msg"]) == (0, "all well"), holds.text
    none = play(fleet, ["platform_checks"], {"hostguard_policy": {"kernel": {}}})
    assert (none.code, none.last["msg"].partition(":")[0]) == (0, "nothing to check")
    broken = {"hostguard_policy": wanted(('kernel_min: "4.18"', 'kernel_min: "99.0"'))}
    done = play(fleet, ["platform_checks", "hostguard"], broken)
    assert done.code == 2
    assert "platform.kernel fail" in done.last["msg"]
    # A date as an inventory has it, without quotes.
    waiver = {"control": "platform.kernel", "reason": "r", "by": "jane", "expires": date(9999, 12, 31)}
    waived = play(fleet, ["platform_checks"], {"hostguard_policy": {**broken["hostguard_policy"], "waivers": [waiver]}})
    assert (waived.code, waived.last["msg"], waived.last["summary"]["waived"]) == (0, "all well", 1), waived.text
    assert changes(before, host) == []


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ({}, "there is no policy"),
        ({"egress": {"mode": "maybe"}}, "must be one of"),
        ({"egress": {"providers": {"far": {"cidrs": ["0.0.0.0/0"]}}}}, "whole internet"),
    ],
    ids=["none", "a word that is not known", "a contradiction"],
)
def test_a_policy_that_is_wrong_touches_nothing(fleet: Fleet, host: Host, found: object, word: str) -> None:
    before = host.dump()
    done = play(fleet, ["hostguard"], {"hostguard_policy": found})
    assert done.code == 2
    assert word in done.last["msg"], done.text
    assert changes(before, host) == []


def test_a_file_of_the_controller_is_refined_by_the_variable(fleet: Fleet, host: Host, tmp_path: Path) -> None:
    file = tmp_path / "base.yml"
    file.write_text("version: 1\nkernel: {net.ipv4.tcp_fin_timeout: 20}\n")
    variables = {"hostguard_policy_file": str(file), "hostguard_policy": {"kernel": {"net.core.somaxconn": 5000}}}
    assert play(fleet, ["hostguard"], variables).code == 0
    assert host.out("sysctl -n net.ipv4.tcp_fin_timeout net.core.somaxconn").split() == ["20", "5000"]
