"""Hosts that audit themselves: the role, its unit as systemd runs it, and what comes of it in metrics and journal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hostguard import __version__
from tests.lab import Host, Lab, debian, diff
from tests.lab.fleet import Fleet
from tests.lab.host import PODMAN
from tests.lab.process import call
from tests.programs import PROMTOOL
from tests.witness.playbook import Run, play, wanted
from tests.witness.policy import PLACE

pytestmark = pytest.mark.needs("lab")

SERVICE, TIMER = "hostguard-audit.service", "hostguard-audit.timer"
TEXTFILES = "/var/lib/prometheus/node-exporter"
METRICS = f"{TEXTFILES}/hostguard.prom"
WHEELS = "/opt/wheels"
STRICT = "/etc/hostguard/strict.yml"
MOST_EXPOSED = 37
"""What `systemd-analyze security` may find at most, in tenths: the audit reads as root, and that is most of it."""


class Timed:
    """A host that audits itself, and the controller that made it so."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.fleet = Fleet(lab, folder, ["timed"])
        self.host = self.fleet.hosts["timed"]
        self.wheel = self._wheels(folder / "wheels")
        self.host.run(["mkdir", "-p", TEXTFILES])  # as Debian's node exporter brings it

    def _wheels(self, folder: Path) -> Path:
        """hostguard's wheel; and what it needs, on the host, which reaches no index."""
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        call([*pip, "wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(debian.REPOSITORY)], timeout=600)
        call([*PODMAN, "cp", str(folder), f"{self.host.container}:{WHEELS}"])
        (wheel,) = folder.glob("hostguard-*.whl")
        return wheel

    def play(self, *options: str, **variables: object) -> Run:
        done = self.tried(*options, **variables)
        assert done.code == 0, done.text
        return done

    def tried(self, *options: str, **variables: object) -> Run:
        given = {
            "hostguard_policy": wanted(),
            "hostguard_audit_wheel": str(self.wheel),
            "hostguard_audit_pip_environment": {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS},
            "hostguard_audit_packages": [],
            "hostguard_audit_schedule": "*-*-01 00:00:00",  # audits are ours to start
            **variables,
        }
        return play(self.fleet, ["audit_timer"], given, *options)

    def audit(self) -> dict[str, str]:
        """What the timer does; what systemd says of it."""
        self.host.run(["systemctl", "start", SERVICE], check=False)
        asked = "Result,ActiveState,ExecMainStatus"
        shown = self.host.out(["systemctl", "show", SERVICE, "--property", asked])
        return dict(line.split("=", 1) for line in shown.splitlines())

    def journal(self) -> list[dict[str, Any]]:
        """What the last audit has told, as journald keeps it."""
        run = self.host.out(["systemctl", "show", "--value", "--property=InvocationID", SERVICE])
        said = self.host.out(f"journalctl --sync; journalctl --output=json _SYSTEMD_INVOCATION_ID={run}")
        return [json.loads(line) for line in said.splitlines()]

    def statuses(self) -> dict[str, str]:
        """Each control's, as Prometheus' own client reads the text file."""
        families = text_string_to_metric_families(self.host.out(["cat", METRICS]) + "\n")
        (controls,) = (family for family in families if family.name == "hostguard_control")
        return {sample.labels["control"]: sample.labels["status"] for sample in controls.samples}


def changed(run: Run) -> list[Any]:
    return [result for result in run.results if result.get("changed")]


@pytest.fixture(scope="module")
def untouched(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Timed:
    return Timed(lab, tmp_path_factory.mktemp("timed"))


@pytest.fixture(scope="module")
def before(untouched: Timed) -> dict[str, str]:
    """With ansible's own folder in the host. Nothing else comes of taking away what is not there."""
    assert changed(untouched.play(hostguard_audit_state="absent")) == []
    return untouched.host.dump()


@pytest.fixture(scope="module")
def timed(untouched: Timed, before: dict[str, str]) -> Iterator[Timed]:
    foretold = untouched.play("--check", "--diff")
    assert changed(foretold), "and says so"
    assert diff(before, untouched.host.dump()) == []
    assert untouched.host.out("ls /opt").split() == ["hostguard-lib", "hostguard-src", "wheels"]
    untouched.play()
    applied = untouched.host.hostguard("apply", "--yes", "--confirm-within", "0", "--restart")
    assert applied.returncode == 0, applied.stderr
    return untouched


def test_a_second_run_changes_nothing(timed: Timed) -> None:
    assert changed(timed.play()) == []
    assert changed(timed.play("--check")) == []
    own_index = {"PIP_INDEX_URL": "https://packages.internal.example/simple"}
    pinned = timed.play(hostguard_audit_wheel="", hostguard_audit_package=f"hostguard=={__version__}",
                        hostguard_audit_pip_environment=own_index)  # fmt: skip
    assert changed(pinned) == [], "however it was installed"


@pytest.mark.parametrize("package", ["", "hostguard", "hostguard>=0.1", "hostguard==0.1.0", "git+https://x.test@main"])
def test_a_source_that_is_not_pinned_is_refused(timed: Timed, package: str) -> None:
    done = timed.tried("--check", hostguard_audit_wheel="", hostguard_audit_package=package,
                       hostguard_audit_pip_environment={})  # fmt: skip
    assert done.code != 0
    assert "expected a wheel on the controller" in done.text


def test_the_timer_runs(timed: Timed) -> None:
    asked = "RandomizedDelayUSec,FixedRandomDelay,Persistent,ActiveState,UnitFileState"
    shown = timed.host.out(["systemctl", "show", TIMER, "--property", asked]).splitlines()
    wanted_ = ["RandomizedDelayUSec=10min", "FixedRandomDelay=yes", "Persistent=yes", "ActiveState=active"]
    assert {*wanted_, "UnitFileState=enabled"} == set(shown)


@pytest.mark.needs("prometheus")
def test_what_holds_is_one_line_and_metrics_that_prometheus_takes(timed: Timed) -> None:
    assert timed.audit() == {"Result": "success", "ActiveState": "inactive", "ExecMainStatus": "0"}
    (line,) = (entry for entry in timed.journal() if entry.get("SYSLOG_IDENTIFIER") == "hostguard-audit")
    assert (line["PRIORITY"], " fail=0 unknown=0 " in line["MESSAGE"]) == ("6", True)
    assert set(timed.statuses().values()) <= {"pass", "not_applicable"}
    assert timed.host.out(["stat", "-c", "%a", METRICS]) == "644", "the exporter is another account"
    assert PROMTOOL
    text = timed.host.out(["cat", METRICS]) + "\n"
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_broken_control_is_a_line_of_its_priority_and_no_failed_unit(timed: Timed) -> None:
    timed.host.run("sysctl -qw net.core.somaxconn=128")
    assert timed.audit() == {"Result": "success", "ActiveState": "inactive", "ExecMainStatus": "1"}
    (line,) = (entry for entry in timed.journal() if "control=kernel.somaxconn" in entry["MESSAGE"])
    assert line["PRIORITY"] == "3"
    assert 'host="timed" ' in line["MESSAGE"]
    assert "status=fail severity=high" in line["MESSAGE"]
    assert "128" in line["MESSAGE"]
    assert timed.statuses()["kernel.somaxconn"] == "fail"
    listed = timed.host.out(f"journalctl --unit={SERVICE} --priority=err --output=cat")
    assert "control=kernel.somaxconn" in listed, "found by its priority"
    timed.host.run("sysctl -qw net.core.somaxconn=65535")


def test_an_audit_that_can_not_work_is_a_failed_unit_until_the_next_one_can(timed: Timed) -> None:
    timed.audit()
    good, metrics = timed.host.out(["cat", PLACE]), timed.host.out(["cat", METRICS])
    timed.host.write(PLACE, "version: 1\nkernel: {no such: 1}\n")
    assert timed.audit() == {"Result": "exit-code", "ActiveState": "failed", "ExecMainStatus": "2"}
    assert any("policy.yml:2" in entry["MESSAGE"] for entry in timed.journal())
    assert timed.host.out(["cat", METRICS]) == metrics, "the old ones, which grow stale"
    timed.host.write(PLACE, good + "\n")
    assert timed.audit()["ActiveState"] == "inactive"


def test_a_program_that_breaks_is_no_finding(timed: Timed) -> None:
    assert not run_in_the_unit(timed.host, "python3 -c 1/0", settings="")


def test_a_policy_that_is_wrong_never_reaches_the_host(timed: Timed) -> None:
    good = timed.host.out(["cat", PLACE])
    done = play(timed.fleet, ["audit_timer"], {"hostguard_policy": {"egress": {"mode": "maybe"}}})
    assert done.code == 2
    assert "expected enforce or observe" in done.last["msg"], done.text
    assert timed.host.out(["cat", PLACE]) == good


def run_in_the_unit(host: Host, command: str, settings: str = "SuccessExitStatus=\nExecStartPost=\n") -> bool:
    """Another program in its place, within the same fence."""
    drop_in = f"/run/systemd/system/{SERVICE}.d/test.conf"
    host.write("/run/in-the-unit", command)
    host.write(drop_in, f"[Service]\nExecStart=\nExecStart=/bin/sh -e /run/in-the-unit\n{settings}")
    try:
        return host.run(f"systemctl daemon-reload && systemctl start {SERVICE}", check=False).returncode == 0
    finally:
        host.run(f"rm -r /run/in-the-unit {drop_in.rpartition('/')[0]} && systemctl daemon-reload")


@pytest.fixture(params=["nft", "legacy"])
def backed(timed: Timed, request: pytest.FixtureRequest) -> Iterator[Host]:
    timed.host.use_backend(request.param)
    timed.host.run("iptables-save -t filter; sysctl -qw net.core.somaxconn=128")
    timed.host.run(f"sed 's/clock_sync: .*/clock_sync: required/' {PLACE} > {STRICT}")  # the clock is asked too
    yield timed.host
    timed.host.run(["rm", STRICT])
    timed.host.run("sysctl -qw net.core.somaxconn=65535")
    timed.host.use_backend("nft")


def test_from_within_its_fence_it_sees_the_same_host(backed: Host) -> None:
    """Otherwise the fence would be what is audited."""
    argv = f"/opt/hostguard-audit/bin/hostguard audit --policy {STRICT} --format json"
    assert run_in_the_unit(backed, f"{argv}={TEXTFILES}/inside.json || test $? = 1")
    outside = json.loads(backed.run(argv, check=False).stdout)
    inside = json.loads(backed.out(f"cat {TEXTFILES}/inside.json && rm {TEXTFILES}/inside.json"))
    assert {**inside, "generated": ""} == {**outside, "generated": ""}
    assert outside["summary"]["fail"] >= 1
    assert outside["summary"]["unknown"] == 0
    # How iptables itself would write the rules is asked in a namespace, where they differ to the letter.
    asked = "ipset create x hash:net,port; echo '*filter\nCOMMIT' | iptables-restore --noflush; iptables-save"
    assert run_in_the_unit(backed, f'unshare --net -- sh -ec "{asked}"')


def test_it_writes_the_text_file_and_nothing_else(timed: Timed) -> None:
    writable = """awk '$6 ~ /^rw/ && $5 !~ "^/(dev|proc|sys)($|/)" {print $5}' /proc/self/mountinfo"""
    assert run_in_the_unit(timed.host, f"{writable} > {TEXTFILES}/mounts")
    assert timed.host.out(f"sort {TEXTFILES}/mounts && rm {TEXTFILES}/mounts").split() == [
        "/run/hostguard-audit",
        TEXTFILES,
    ]
    acts = ("touch /etc/x", "sysctl -w net.core.somaxconn=1", "mount -t tmpfs none /mnt", "date --set=@0")
    for act in (*acts, "unshare --mount true"):
        assert not run_in_the_unit(timed.host, act), act
    found = timed.host.run(
        ["systemd-analyze", "security", "--no-pager", f"--threshold={MOST_EXPOSED}", SERVICE], check=False
    )
    assert found.returncode == 0, found.stdout


def test_absent_takes_all_of_it_away(timed: Timed, before: dict[str, str]) -> None:
    assert timed.host.hostguard("rollback", "--to", "0", "--yes", "--restart").returncode == 0
    timed.host.write(PLACE, "broken")
    assert timed.audit()["ActiveState"] == "failed"
    assert changed(timed.play("--check", hostguard_audit_state="absent"))
    assert timed.host.out(["cat", PLACE]) == "broken"
    assert changed(timed.play(hostguard_audit_state="absent"))
    assert diff(before, timed.host.dump(), ignore=["legacy tables"]) == []
    assert timed.host.out("ls /opt; ls /var/lib/systemd/timers | grep hostguard || true").split() == [
        "hostguard-lib", "hostguard-src", "wheels",
    ]  # fmt: skip
    assert timed.host.out("systemctl list-units --all --no-legend 'hostguard-audit*'") == ""
    assert changed(timed.play(hostguard_audit_state="absent")) == []
