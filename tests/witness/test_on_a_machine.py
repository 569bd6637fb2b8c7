"""What only a real machine shows: a kernel that never tracked a connection, its own sysctls and cgroups, real reboots.

One machine goes the whole way, and each test goes on where the one before it ended: a boot takes half a minute here,
and a dump ten seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.breaks import ON_A_MACHINE, score
from tests.breaks.machine import FIPS as FEIGNED_FIPS
from tests.breaks.machine import KEPT as KEPT_CLOCK
from tests.breaks.machine import WITHOUT_AES
from tests.lab import diff
from tests.lab.machine import CALLER, SERVERS, Machine, drain_panics
from tests.lab.process import LabError
from tests.patience import until, whole
from tests.witness import policy
from tests.witness.report import audit, not_well, statuses

pytestmark = pytest.mark.needs("machine")

GENERATIONS = "/var/lib/hostguard/generations"
SANCTIONED, UNSANCTIONED = SERVERS
RESTART = "systemctl restart envoy.service"


# Modules stay loaded until the next boot, and their parameters with them: nothing can undo that in between.
OF_MODULES = re.compile(r"sysctl: [-+] net\.(netfilter\.nf_|nf_conntrack_max|ipv[46]\.\w*frag)")


@dataclass
class Way:
    """One machine, and what it was at some points of its way."""

    machine: Machine
    dumps: dict[str, dict[str, str]] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def way() -> Iterator[Way]:
    with Machine() as machine:
        policy.install(machine, where=policy.ON_A_MACHINE)
        yield Way(machine)


def modules(machine: Machine) -> set[str]:
    return {line.split()[0] for line in machine.out("cat /proc/modules").splitlines()}


def reaches(machine: Machine, account: str, address: str) -> bool:
    call = ["runuser", "-u", account, "--", "nc", "-z", "-w", whole(3), address, "443"]
    return machine.run(call, check=False).returncode == 0


def dropped(machine: Machine) -> int:
    """The packets that the chain's last rule has dropped, by the kernel's own count."""
    last = machine.out("iptables -vnxL HOSTGUARD-OUTPUT | tail -1").split()
    assert last[2] == "DROP"
    return int(last[0])


def last_status(machine: Machine) -> str:
    return str(json.loads(machine.out(f"cat $(ls {GENERATIONS}/*.json | tail -1)"))["status"])


def apply_detached(machine: Machine, window: str) -> None:
    """An apply that does not hang on a connection."""
    settings = [f"--setenv={name}={value}" for name, value in machine.settings.items()]
    call = ["python3", "-m", "hostguard", "apply", "--yes", "--confirm-within", window]
    machine.run(["systemd-run", "--quiet", "--collect", "--unit=applying", *settings, *call])


def until_it_is(machine: Machine, status: str) -> None:
    machine.run(f'until grep -qs \'"status": "{status}"\' $(ls {GENERATIONS}/*.json | tail -1); do sleep 0.5; done',
                timeout=120)  # fmt: skip


def test_an_untouched_machine_and_a_look_at_it(way: Way) -> None:
    machine = way.machine
    for account, address in (("envoy", SANCTIONED), ("envoy", UNSANCTIONED), ("root", SANCTIONED)):
        assert reaches(machine, account, address), "what can't be reached before proves nothing after"
    way.dumps["untouched"] = machine.dump()
    code, report = audit(machine)
    assert code == 1
    way.statuses = statuses(report)
    assert way.statuses["platform.aes"] == "pass"
    plan = machine.hostguard("plan")
    assert plan.returncode == 0, plan.stderr
    assert "Enforcing would cut" not in plan.stdout
    assert "nf_conntrack" not in modules(machine), "this kernel has never tracked a connection"


def test_the_session_that_applies_lives_on_and_only_a_new_one_confirms(way: Way) -> None:
    machine = way.machine
    with machine.session() as session:
        session.say("echo ready")
        session.hears("^ready$")
        assert "nf_conntrack" not in modules(machine)
        # What it prints is the first packet of this connection that the kernel's tracking ever sees: an outgoing one.
        # The window is long for a machine that others slow down; nothing waits for its end.
        session.say("python3 -m hostguard apply --confirm-within 180s --yes < /dev/null & echo pid $!")
        pid = session.hears(r"^pid (\d+)$").group(1)
        session.hears("kept only if confirmed within 180 s")
        assert "nf_conntrack" in modules(machine)
        session.say("echo are you $((40 + 2))")
        session.hears("^are you 42$", seconds=20)
        session.say("python3 -m hostguard confirm; echo confirm $?")
        assert "proves nothing" in session.hears(r"(?s)\A.*^confirm 2$").group()
        assert last_status(machine) == "unconfirmed"
        confirmed = machine.hostguard("confirm")
        assert confirmed.returncode == 0, confirmed.stderr
        session.say(f"wait {pid}; echo applied $?")
        session.hears("^applied 0$")
    assert last_status(machine) == "applied"


def test_with_restart_the_audit_is_clean(way: Way) -> None:
    done = way.machine.hostguard("apply", "--yes", "--restart", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr
    code, report = audit(way.machine)
    assert (code, not_well(report)) == (0, {})


def test_the_kernel_sees_it_too(way: Way) -> None:
    machine = way.machine
    pid = machine.out("systemctl show --value --property=MainPID envoy.service")
    assert re.search(r"Max open files +65535 +524288", machine.out(f"cat /proc/{pid}/limits"))
    cgroup = machine.out(f"cat /proc/{pid}/cgroup")
    assert cgroup == "0::/hostguard.slice/hostguard-egress.slice/envoy.service", "one hierarchy, version 2"
    folder = "/sys/fs/cgroup/hostguard.slice/hostguard-egress.slice"
    limits = machine.out(f"cd {folder} && cat memory.max cpu.max pids.max").splitlines()
    assert limits == [str(512 * 2**20), "150000 100000", "512"]
    secrets = next(line for line in machine.out("cat /proc/mounts").splitlines() if " /run/secrets " in line)
    assert {"noswap", "nosuid", "nodev", "noexec"} <= set(secrets.split()[3].split(","))
    live = machine.out("sysctl -n net.core.somaxconn fs.nr_open fs.file-max net.ipv4.tcp_tw_reuse").splitlines()
    somaxconn, nr_open, file_max, reuse = map(int, live)
    assert somaxconn >= 4096
    assert nr_open >= 65535
    assert file_max >= 65535
    assert reuse == 1
    assert machine.out("sysctl -n net.ipv4.ip_local_port_range").split() == ["10240", "65535"]


def test_breaks_of_what_only_a_machine_has(way: Way) -> None:
    machine = way.machine
    strict = [("fips: off", "fips: required"), ("clock_sync: off", "clock_sync: required")]
    machine.write("/root/strict.yml", policy.example(*strict, where=policy.ON_A_MACHINE))
    machine.run(f"{FEIGNED_FIPS}; {KEPT_CLOCK}")
    look = "python3 -m hostguard audit --policy /root/strict.yml --format json"

    def failing(before: str, after: str) -> set[str]:
        # Over one connection: with a low fs.nr_open nobody gets a session.
        said = machine.run(f"{before}; {look}; {after}", env=machine.settings).stdout
        return set(not_well(json.loads(said)))

    assert failing("true", "true") == set()
    for done in ON_A_MACHINE:
        score.count(f"a machine: {done.name}", failing(done.broken, done.mended), {done.control})
    assert failing("true", "umount /proc/sys/crypto/fips_enabled; rm /root/strict.yml /run/fips") == set()


def test_real_connections_follow_the_policy(way: Way) -> None:
    machine = way.machine
    assert reaches(machine, "envoy", SANCTIONED)
    for account, address in (("envoy", UNSANCTIONED), ("root", SANCTIONED)):
        before = dropped(machine)
        assert not reaches(machine, account, address), (account, address)
        assert dropped(machine) > before, "held by our rule, not by the network"


def test_it_is_clean_after_a_real_reboot(way: Way) -> None:
    machine = way.machine
    assert machine.reboot() == "running"
    code, report = audit(machine)
    assert (code, not_well(report)) == (0, {})
    # systemd-sysctl sets it only where the module is there by then: it is, before our rules would load it.
    assert machine.out("sysctl -n net.netfilter.nf_conntrack_max") == "483200"
    for tool in ("iptables", "ip6tables"):
        rules = machine.out(f"{tool} -S OUTPUT").splitlines()
        assert rules == ["-P OUTPUT DROP", "-A OUTPUT -j HOSTGUARD-OUTPUT"]
    assert not reaches(machine, "envoy", UNSANCTIONED)
    way.dumps["applied"] = machine.dump()


def test_the_rules_were_there_before_the_network(way: Way) -> None:
    said = way.machine.out(
        "journalctl -b -o json -u hostguard-egress.service -u network-pre.target -u systemd-networkd.service"
    )
    # systemd's own words, in the order in which they were written: the start of a unit is done.
    entries = [json.loads(line) for line in said.splitlines()]
    done = [each["UNIT"] for each in entries if (each.get("JOB_TYPE"), each.get("JOB_RESULT")) == ("start", "done")]
    in_turn = ("hostguard-egress.service", "network-pre.target", "systemd-networkd.service")
    order = [done.index(unit) for unit in in_turn]
    assert order == sorted(order), done


def test_a_policy_that_cuts_management_off_undoes_itself(way: Way) -> None:
    machine = way.machine
    policy.install(machine, (f"from: [{CALLER}]", "from: [192.0.2.0/24]"), where=policy.ON_A_MACHINE)
    apply_detached(machine, whole(15) + "s")
    until(lambda: not machine.answers(seconds=5), "management is cut off", seconds=180)
    until(lambda: machine.answers(seconds=15), "it comes back", seconds=180)
    until_it_is(machine, "rolled back")
    # The kernel's own word that it was our rule: a packet to the caller from the SSH port.
    assert re.search(rf"hostguard deny: .*DST={re.escape(CALLER)} .*SPT=22 ", machine.out("journalctl -b -k"))
    machine.run("while systemctl is-active -q applying hostguard-confirm-3; do sleep 0.5; done", timeout=60)
    history = machine.hostguard("history").stdout
    assert (history.count("applied"), history.count("rolled back")) == (2, 1), history
    policy.install(machine, where=policy.ON_A_MACHINE)
    assert without_the_policys_time(diff(way.dumps["applied"], machine.dump())) == []


# systemd gives /tmp half of the memory, and a boot leaves some pages more or fewer.
OF_THE_BOOT = re.compile(r"mounts: . /tmp tmpfs ")


def without_the_policys_time(changes: list[str]) -> list[str]:
    """The tests themselves write the policy anew."""
    return [change for change in changes if f" {policy.PLACE} " not in change and not OF_THE_BOOT.match(change)]


def test_a_clock_that_is_set_neither_shortens_nor_lengthens_the_window(way: Way) -> None:
    machine = way.machine
    policy.install(machine, (f"{SANCTIONED}/32", f"{UNSANCTIONED}/32"), where=policy.ON_A_MACHINE)
    apply_detached(machine, whole(20) + "s")
    until_it_is(machine, "unconfirmed")
    # The host's own word, by the seconds since its boot: when the window was to end, and when it was seen to be over.
    said = machine.run("""
        cd /var/lib/hostguard; deadline=$(sed -E 's/.*"deadline": ([0-9.]+).*/\\1/' pending.json)
        date --set="@$(($(date +%s) + 86400))"; sleep 3
        date --set="@$(($(date +%s) - 172800))"
        while grep -q '"status": "unconfirmed"' $(ls generations/*.json | tail -1); do sleep 0.2; done
        over=$(cut -d' ' -f1 /proc/uptime)
        date --set="@$(($(date +%s) + 86400))"
        echo "$deadline $over"
    """, timeout=180).stdout.splitlines()  # fmt: skip
    deadline, over = map(float, said[-1].split())
    assert over > deadline, "a day forward has ended the window early"
    assert last_status(machine) == "rolled back"
    machine.run("while systemctl is-active -q applying hostguard-confirm-4; do sleep 0.5; done", timeout=60)
    policy.install(machine, where=policy.ON_A_MACHINE)
    assert without_the_policys_time(diff(way.dumps["applied"], machine.dump())) == []


def test_a_reset_in_the_window_comes_up_on_the_old_generation(way: Way) -> None:
    machine = way.machine
    policy.install(machine, (f"{SANCTIONED}/32", f"{UNSANCTIONED}/32"), where=policy.ON_A_MACHINE)
    apply_detached(machine, "600s")
    until_it_is(machine, "unconfirmed")
    assert reaches(machine, "envoy", UNSANCTIONED)
    assert not reaches(machine, "envoy", SANCTIONED)
    assert machine.reset() == "running"
    assert last_status(machine) == "rolled back"
    policy.install(machine, where=policy.ON_A_MACHINE)
    code, report = audit(machine)
    assert (code, not_well(report)) == (0, {})
    assert reaches(machine, "envoy", SANCTIONED)
    assert not reaches(machine, "envoy", UNSANCTIONED)
    # nft lists chains in the order in which they were made; iptables shows the same rules.
    changes = without_the_policys_time(diff(way.dumps["applied"], machine.dump(), ignore=["nft"]))
    # The boot has passed over the unit that loads the rules: whoever undid the apply has loaded them, and kept the
    # connections that were open by then.
    expected = re.compile(r"units: . hostguard-egress\.service |ipset: . add hostguard-4-HELD ")
    assert [change for change in changes if not expected.match(change)] == []


def test_rollback_brings_back_every_detail(way: Way) -> None:
    done = way.machine.hostguard("rollback", "--to", "0", "--yes", "--restart")
    assert done.returncode == 0, done.stderr
    changes = without_the_policys_time(diff(way.dumps["untouched"], way.machine.dump()))
    assert [change for change in changes if not OF_MODULES.match(change)] == []


def test_without_aes_the_audit_says_so_and_nothing_else_is_new(way: Way) -> None:
    machine = way.machine
    machine.shut_down()
    assert machine.start(cpu="max,-aes") == "running"
    assert " aes " not in machine.out("cat /proc/cpuinfo")
    assert without_the_policys_time(diff(way.dumps["untouched"], machine.dump())) == [], "no trace over a boot either"
    found = statuses(audit(machine)[1])
    new = {control for control, status in found.items() if status != way.statuses[control]}
    score.count(f"a machine: {WITHOUT_AES.name}", new, {WITHOUT_AES.control})
    assert found["platform.aes"] == "fail"


def test_a_panic_of_its_kernel_is_known_by_its_console(way: Way) -> None:
    """The last of them: what this machine's tests are done again for (tests/lab/again.py), made on purpose."""
    with pytest.raises(LabError, match="the kernel of machine has given up: Kernel panic - not syncing: sysrq"):
        way.machine.run("echo c > /proc/sysrq-trigger")
    assert drain_panics().startswith("Kernel panic - not syncing: sysrq")
    (way.machine.folder / "console.log").write_text("")  # this one counts not
