"""A fleet as its operator has it: OpenSSH from the management address, hosts that fail, and a controller that dies.

Each test goes on where the one before it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab
from tests.lab.fleet import Fleet
from tests.lab.network import inside
from tests.patience import answer, whole
from tests.witness import policy
from tests.witness.test_way_back import GENERATIONS, last_status, rules, watcher_is_gone

pytestmark = pytest.mark.needs("lab")

SLOW = "/usr/local/sbin/ip6tables-restore"
# Only where it writes: to look, a host has its rules spelt out in a namespace of their own, without -w.
WAITS = """#!/bin/sh
[ "$1" = -w ] || exec /usr/sbin/ip6tables-restore "$@"
touch /run/writing
until [ -e /run/go-on ]; do sleep 0.05; done
exec /usr/sbin/ip6tables-restore "$@"
"""
NOWHERE = "10.77.0.250"


@pytest.fixture(scope="module")
def fleet(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    made = Fleet(lab, tmp_path_factory.mktemp("fleet"), ["a", "b", "c"])
    write_policy(made)
    return made


def write_policy(fleet: Fleet, *changes: tuple[str, str]) -> None:
    (fleet.folder / "hostguard.yml").write_text(policy.example(*changes), encoding="utf-8")


def command(fleet: Fleet, *arguments: str) -> list[str]:
    verb, *rest = arguments
    more = ["-p", str(fleet.folder / "hostguard.yml")] if verb in ("apply", "audit", "plan") else []
    return [sys.executable, "-m", "hostguard", verb, "-i", str(fleet.inventory), *more, *rest]


def run(fleet: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    return fleet.run(command(fleet, *arguments), env={"XDG_STATE_HOME": str(fleet.folder)})


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The hosts of an apply's table, and what became of them."""
    rows = [line for line in done.stdout.partition("\n\n")[0].splitlines()[1:] if not line.startswith(" ")]
    return {row.split()[0]: row[row.index("  ") :].strip().split("  ")[0] for row in rows}


def accepted(host: Host) -> int:
    return int(host.out("journalctl -u ssh --no-pager | grep -c 'Accepted publickey' || true"))


def test_one_connection_applies_and_a_new_one_confirms(fleet: Fleet) -> None:
    plan = run(fleet, "plan", "--detailed-exitcode")
    assert plan.returncode == 2, plan.stderr
    before = {name: accepted(host) for name, host in fleet.hosts.items()}
    done = run(fleet, "apply", "--yes", "--restart")
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(done) == dict.fromkeys("abc", "applied")
    for name, host in fleet.hosts.items():
        assert last_status(host) == "applied"
        assert accepted(host) - before[name] <= 2
        assert ":OUTPUT DROP" in rules(host)
    again = run(fleet, "apply", "--yes")
    assert (again.returncode, states(again)) == (0, dict.fromkeys("abc", "unchanged"))
    assert run(fleet, "plan", "--detailed-exitcode").returncode == 0
    logs = list((fleet.folder / "hostguard/runs").glob("*/a.json"))
    assert json.loads(max(logs).read_text())["outcome"] == "unchanged"


def test_the_audit_of_a_fleet_is_one_report(fleet: Fleet) -> None:
    done = run(fleet, "audit", "--format", "json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [host["host"] for host in report["hosts"]] == ["a", "b", "c"]
    assert report["summary"]["fail"] == report["summary"]["unknown"] == 0
    fleet.hosts["b"].run("sysctl -qw net.ipv4.tcp_fin_timeout=61")
    done = run(fleet, "audit", "--format", "json")
    failed = [(host["host"], r["id"]) for host in json.loads(done.stdout)["hosts"] for r in host["results"]
              if r["status"] == "fail"]  # fmt: skip
    assert (done.returncode, failed) == (1, [("b", "kernel.fin-timeout")])
    done = run(fleet, "apply", "--yes")
    assert states(done) == {"b": "applied", "a": "unchanged", "c": "unchanged"}


WAIVER = """\
hostguard_policy:
  waivers:
    - {control: kernel.*, hosts: [b], reason: tried out, by: jane, expires: 9999-12-31}
"""


def not_well(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str, str]]:
    hosts = json.loads(done.stdout)["hosts"]
    results = [(host["host"], result["id"], result["status"]) for host in hosts for result in host["results"]]
    return [result for result in results if result[2] not in ("pass", "not_applicable")]


def test_a_waiver_of_the_inventory_and_the_drift_of_a_fleet(fleet: Fleet) -> None:
    addresses = {name: host.address.ipv4 for name, host in fleet.hosts.items()}
    fleet.write_inventory(addresses, {"b": WAIVER})
    drift = [sys.executable, "-m", "hostguard", "audit", "--drift", "--format", "json", "-i", str(fleet.inventory)]
    unused = run(fleet, "audit", "--format", "json")
    assert "the waiver of jane for kernel.*: it fails on no host" in unused.stderr
    said = run(fleet, "audit", "--limit", "a").stderr.splitlines()
    assert (fleet.run(drift).returncode, [line.partition(" (sha256")[0] for line in said]) == (
        0, [f"hostguard: policy {fleet.folder / 'hostguard.yml'}"],
    )  # fmt: skip
    fleet.hosts["b"].run("sysctl -qw net.ipv4.tcp_fin_timeout=61")
    try:
        done = run(fleet, "audit", "--format", "json")
        assert (done.returncode, not_well(done)) == (0, [("b", "kernel.fin-timeout", "waived")]), done.stderr
        assert json.loads(done.stdout)["warnings"] == []
        done = fleet.run(drift)
        assert (done.returncode, not_well(done)) == (1, [("b", "kernel.fin-timeout", "fail")]), done.stderr
        fleet.write_inventory({"gone": NOWHERE, **addresses})
        done = fleet.run([*drift, "--limit", "gone,a"])
        assert done.returncode == 3
        assert {(host, status) for host, _, status in not_well(done)} == {("gone", "unknown")}
    finally:
        fleet.hosts["b"].run("sysctl -qw net.ipv4.tcp_fin_timeout=30")
        fleet.write_inventory(addresses)


def test_a_host_that_does_not_answer_holds_up_nobody_and_passes_nothing(fleet: Fleet) -> None:
    addresses = {name: host.address.ipv4 for name, host in fleet.hosts.items()}
    fleet.write_inventory({"gone": NOWHERE, **addresses})
    try:
        done = run(fleet, "apply", "--yes")
        assert done.returncode == 3
        assert states(done) == {"gone": "unreachable", **dict.fromkeys("abc", "unchanged")}
        done = run(fleet, "audit", "--format", "json")
        gone = json.loads(done.stdout)["hosts"][0]
        assert (done.returncode, gone["host"], gone["summary"]["pass"]) == (3, "gone", 0)
        assert gone["summary"]["unknown"] > 30
        assert run(fleet, "history").returncode == 3
    finally:
        fleet.write_inventory(addresses)


def test_a_policy_that_cuts_the_management_off_is_rolled_back_and_said_to_be(fleet: Fleet) -> None:
    before = rules(fleet.hosts["a"])
    write_policy(fleet, ("from: [10.77.0.0/24]", "from: [192.0.2.0/28]"))
    try:
        done = run(fleet, "apply", "--yes", "--limit", "a", "--confirm-within", whole(8) + "s")
    finally:
        write_policy(fleet)
    assert (done.returncode, states(done)) == (1, {"a": "rolled back"}), done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert "no new connection to the host came through" in said
    assert "egress.inbound names no network that holds 10.77.0.1 for port 22" in said
    assert "nothing waits to be confirmed" not in said
    assert rules(fleet.hosts["a"]) == before
    assert run(fleet, "apply", "--yes", "--limit", "a").returncode == 0


@pytest.fixture
def slow(fleet: Fleet) -> Iterator[Host]:
    """A host that is about to be applied to, and waits in the midst of it until it is told to go on."""
    host = fleet.hosts["c"]
    host.run("rm -f /run/writing /run/go-on")
    host.write(SLOW, WAITS, mode="755")
    write_policy(
        fleet, ("time_servers: [10.0.0.3]", "time_servers: [10.0.0.4]"), ("containers: deny", "containers: same")
    )
    yield host
    host.run(["rm", "-f", SLOW])
    write_policy(fleet)


def start(fleet: Fleet, host: Host, window: str) -> subprocess.Popen[str]:
    apply = command(fleet, "apply", "--yes", "--limit", "c", "--confirm-within", window)
    running = subprocess.Popen(
        [*inside(fleet.lab.world.name), *apply],
        env={**os.environ, "ANSIBLE_HOME": str(fleet.folder / "ansible"), "XDG_STATE_HOME": str(fleet.folder)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    if host.run(f"timeout {whole(60)} sh -c 'until [ -e /run/writing ]; do sleep 0.05; done'", check=False).returncode:
        running.kill()
        pytest.fail(f"it never came to the writing: {running.communicate()}")
    return running


def generation(host: Host) -> int:
    return int(host.out(f"ls {GENERATIONS}/*.json | wc -l"))


def test_a_controller_that_dies_leaves_the_host_as_it_was(fleet: Fleet, slow: Host) -> None:
    before = rules(slow)
    running = start(fleet, slow, "3s")
    # All of it, as a power cut has it: ansible's workers are in sessions of their own and would go on.
    for pid in fleet.lab.world.run(["ip", "netns", "pids", fleet.lab.world.name]).stdout.split():
        with contextlib.suppress(ProcessLookupError):  # the death of one ends another
            os.kill(int(pid), signal.SIGKILL)
    running.communicate()
    slow.run("touch /run/go-on")
    watcher_is_gone(slow, generation(slow))
    assert last_status(slow) == "rolled back"
    assert rules(slow) == before


def test_a_network_that_is_gone_for_the_window_brings_the_host_back(fleet: Fleet, slow: Host) -> None:
    before = rules(slow)
    running = start(fleet, slow, "4s")
    link = ["ip", "link", "set", slow.address.world_end]
    fleet.lab.world.run([*link, "down"])
    slow.run("touch /run/go-on")
    watcher_is_gone(slow, generation(slow))
    fleet.lab.world.run([*link, "up"])
    said, errors = answer(running, seconds=120)
    assert running.returncode == 1, said + errors
    assert "rolled back" in said
    assert rules(slow) == before


def test_an_sshd_that_restarts_within_the_window_is_no_trouble(fleet: Fleet, slow: Host) -> None:
    running = start(fleet, slow, "60s")
    slow.run("systemctl restart ssh; touch /run/go-on")
    said, errors = answer(running, seconds=120)
    assert running.returncode == 0, said + errors
    assert last_status(slow) == "applied"


SNIFFER = "import signal, socket; kept = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); signal.pause()"


def test_nobody_follows_a_canary_that_is_worse_than_before(fleet: Fleet) -> None:
    # Its packet socket is held until the policy leaves frames alone.
    fleet.hosts["a"].run(["systemd-run", "--quiet", "--unit=sniffer", "python3", "-c", SNIFFER])
    write_policy(fleet, ("containers: deny", "frames: allow"))
    try:
        done = run(fleet, "apply", "--yes", "--canary", "1")
    finally:
        write_policy(fleet)
        fleet.hosts["a"].run("systemctl stop sniffer")
    assert done.returncode == 1
    assert states(done) == {"a": "applied", "b": "not begun", "c": "not begun"}
    assert "egress.packet-sockets fail" in done.stdout


def test_what_a_canary_failed_before_keeps_nobody_from_following(fleet: Fleet) -> None:
    # Nobody's clock is kept here.
    write_policy(fleet, ("clock_sync: off", "clock_sync: required"), ("10.0.0.3", "10.0.0.5"))
    try:
        done = run(fleet, "apply", "--yes", "--canary", "1", "--serial", "1")
    finally:
        write_policy(fleet)
    assert done.returncode == 0, done.stdout
    assert states(done) == dict.fromkeys("abc", "applied")
    assert "Wave 3 of 3" in done.stderr


def test_waves_stop_at_the_budget(fleet: Fleet) -> None:
    for name in ("a", "b"):
        fleet.hosts[name].write("/etc/sysctl.d/zzz.conf", "net.ipv4.tcp_fin_timeout = 61\n")
    try:
        done = run(fleet, "apply", "--yes", "--serial", "1", "--max-fail", "1")
    finally:
        for name in ("a", "b"):
            fleet.hosts[name].run("rm /etc/sysctl.d/zzz.conf")
    assert done.returncode == 1
    assert states(done) == {"a": "blocked", "b": "blocked", "c": "not begun"}


def test_rollback_of_a_fleet(fleet: Fleet) -> None:
    assert run(fleet, "rollback", "--to", "0").returncode == 2, "nobody said yes"
    done = run(fleet, "rollback", "--to", "0", "--yes", "--restart")
    assert done.returncode == 0, done.stdout + done.stderr
    for host in fleet.hosts.values():
        assert "HOSTGUARD" not in rules(host)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("apply", "--yes", "--limit", "nobody"), "nobody"),
        (("apply", "--yes", "--serial", "many"), "expected a number of hosts"),
    ],
)
def test_a_call_that_is_wrong_touches_nothing(fleet: Fleet, arguments: tuple[str, ...], words: str) -> None:
    done = run(fleet, *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_an_inventory_without_hosts(fleet: Fleet) -> None:
    fleet.write_inventory({})
    done = run(fleet, "audit")
    assert done.returncode == 2
    assert "expected an inventory with some" in done.stderr
