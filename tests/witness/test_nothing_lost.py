"""However an apply or a rollback is cut short: the host ends whole, on what was there or on what was wanted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import Host, diff
from tests.witness import policy
from tests.witness.test_way_back import GENERATIONS, Applying, last_status, rules, watcher_is_gone

pytestmark = [pytest.mark.needs("lab"), pytest.mark.alone]

STATE = "/var/lib/hostguard"
NOW = ("apply", "--yes", "--confirm-within", "0")
OTHER_NETWORK = ("from: [10.77.0.0/24]", "from: [192.0.2.0/28]")
OTHER_ACCOUNT = ("users: [vault-agent]", "users: [root]")
SLOW = "/usr/local/sbin/iptables-restore"
"""Found before the real one, and slow where a test wants it."""


@pytest.fixture
def host(own_host: Host) -> Host:
    policy.install(own_host)
    return own_host


def apply_now(host: Host) -> None:
    done = host.hostguard(*NOW)
    assert done.returncode == 0, done.stderr


def settled(host: Host) -> None:
    host.run(f"while [ -e {STATE}/pending.json ] || [ -e {STATE}/program.pyz ]; do sleep 0.05; done", timeout=60)
    assert host.out(f"ls {STATE} | grep -v filler") == "generations\nlock"


FLUSHES = {
    "all of nft": "nft flush ruleset",
    "the tables of one family": "nft delete table ip filter; nft delete table ip mangle",
    "the chains": "iptables -F; iptables -X; iptables -t mangle -F; iptables -t mangle -X",
    "the chains and the sets": "for each in iptables ip6tables; do for t in filter mangle; do $each -t $t -F; "
    "$each -t $t -X; done; done; ipset destroy",
    "a tool that starts again": "systemctl restart nftables",
}


@pytest.mark.parametrize("how", FLUSHES)
def test_rules_that_somebody_flushed_in_the_window_are_there_after_it(host: Host, how: str) -> None:
    apply_now(host)
    before = rules(host)
    assert "DROP" in before
    # Another number of one set: the rules that use it, and the other sets, are not this apply's to write.
    policy.install(host, ("ports: [8200]", "ports: [8201]"))
    applying = Applying(host, 5)
    host.run(FLUSHES[how])
    assert applying.end().returncode == 1
    watcher_is_gone(host, 2)
    assert rules(host) == before
    settled(host)
    assert host.out("systemctl is-active hostguard-egress.service") == "active"


@contextmanager
def slow(host: Host, seconds: int) -> Iterator[None]:
    """Rules are loaded, but for the first time only after a while."""
    looking = f'! grep -qs \'"status": "writing"\' {GENERATIONS}/*.json'
    wait = f"[ -e /run/lock/slow ] || {looking} || {{ touch /run/lock/slow; sleep {seconds}; }}"
    text = f'#!/bin/sh\n{wait}\nexec /usr/sbin/iptables-restore "$@"\n'
    host.write(SLOW, text, mode="755")
    yield
    host.run(["rm", "-f", "/run/lock/slow", SLOW])


def cut_short(host: Host, *call: str) -> None:
    """Kill a command while a program of its own, which goes on, is about to load rules."""
    running = threading.Thread(target=lambda: host.hostguard(*call))
    running.start()
    host.run("until [ -e /run/lock/slow ]; do sleep 0.05; done", timeout=60)
    host.run(f"pkill -9 -f '[h]ostguard {call[0]} --yes'")
    running.join()


@pytest.mark.parametrize("window", ["60s", "0"])
def test_what_a_killed_apply_left_running_writes_no_rules(host: Host, window: str) -> None:
    before = host.dump()
    with slow(host, 6):
        cut_short(host, "apply", "--yes", "--confirm-within", window)
        settled(host)
        assert host.run("pgrep -f '^sleep 6'", check=False).returncode == 1, "it was ended before the host went back"
    assert diff(before, host.dump()) == []
    assert last_status(host) == "failed"


def test_the_lock_of_xtables_is_waited_for_by_nobody_in_the_end(own_host: Host) -> None:
    """The legacy backend has one lock for the whole machine, which another tool may hold."""
    host = own_host
    policy.install(host)
    host.run("for each in iptables ip6tables; do update-alternatives --set $each /usr/sbin/$each-legacy; done")
    host.run("iptables -L; ip6tables -L")  # their tables stay for as long as their modules do
    before = host.dump()
    host.run("systemd-run --quiet --collect --unit=holder flock /run/xtables.lock sleep 600")
    host.run("until ! flock -n /run/xtables.lock true; do sleep 0.05; done", timeout=60)
    applying = threading.Thread(target=lambda: host.hostguard("apply", "--yes", "--confirm-within", "60s"))
    applying.start()
    host.run("until pgrep -f '[t]ables-restore -w'; do sleep 0.05; done", timeout=60)
    assert last_status(host) == "writing"
    host.run("pkill -9 -f '[h]ostguard apply'")
    applying.join()
    host.run("systemctl stop holder")
    settled(host)
    assert diff(before, host.dump(), ignore=["legacy tables"]) == []


def test_a_rollback_that_is_cut_short_is_undone_by_the_host(host: Host) -> None:
    apply_now(host)
    before = host.dump()
    with slow(host, 600):
        cut_short(host, "rollback", "--yes", "--to", "0")
        settled(host)
    assert diff(before, host.dump()) == []
    assert [record["status"] for record in records(host)] == ["applied", "failed"]
    done = host.hostguard("rollback", "--yes")
    assert (done.returncode, "Nothing more was undone" in done.stdout) == (0, True), done.stdout
    assert diff(before, host.dump()) == []
    assert host.hostguard("rollback", "--yes", "--to", "0").returncode == 0
    assert "HOSTGUARD" not in rules(host)


def records(host: Host) -> list[dict[str, object]]:
    return [
        json.loads(text) for text in host.out(f"cd {GENERATIONS} && for f in *; do cat $f; echo; done").splitlines()
    ]


def test_to_go_back_after_a_cut_short_apply_undoes_that_one_alone(host: Host) -> None:
    apply_now(host)
    before = rules(host)
    policy.install(host, OTHER_ACCOUNT)
    with slow(host, 600):
        cut_short(host, "apply", "--yes", "--confirm-within", "600s")
    done = host.hostguard("rollback", "--yes")
    for _ in range(100):
        if "another hostguard" not in done.stderr:  # the host itself is at it
            break
        done = host.hostguard("rollback", "--yes")
    assert done.returncode == 0, done.stderr
    assert "Undone: 2. This host is as it was at generation 1." in done.stdout
    assert rules(host) == before


def test_a_rollback_to_another_management_network_needs_a_confirmation_too(host: Host) -> None:
    policy.install(host, OTHER_NETWORK)
    apply_now(host)
    policy.install(host)
    apply_now(host)
    before = host.dump()
    done = host.hostguard("rollback", "--yes", "--confirm-within", "2s")
    assert (done.returncode, "nobody confirmed" in done.stderr) == (1, True), done.stderr
    watcher_is_gone(host, 3)
    assert diff(before, host.dump()) == []
    assert "Nothing to change" in host.hostguard(*NOW).stdout
    there = rules(host)
    done = host.hostguard("rollback", "--yes", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr
    assert rules(host) == there.replace("10.77.0.0/24", "192.0.2.0/28")
    assert [record["status"] for record in records(host)] == ["applied", "rolled back", "rolled back", "done"]


def test_a_rollback_is_confirmed_as_an_apply_is(host: Host) -> None:
    apply_now(host)
    policy.install(host, ("ports: [8200]", "ports: [8201]"))
    apply_now(host)
    done: list[int] = []
    rolling = threading.Thread(target=lambda: done.append(host.hostguard("rollback", "--yes").returncode))
    rolling.start()
    host.run(f'until grep -qs \'"status": "unconfirmed"\' {GENERATIONS}/*.json; do sleep 0.05; done', timeout=60)
    assert host.hostguard("confirm").returncode == 0
    rolling.join()
    assert done == [0]
    settled(host)
    policy.install(host)
    assert "Nothing to change" in host.hostguard(*NOW).stdout
    assert "rollback to generation 1" in host.hostguard("history").stdout


def test_a_watcher_that_is_killed_comes_again_however_often(host: Host) -> None:
    before = host.dump()
    applying = Applying(host, 25)
    for _ in range(8):
        host.run("until pkill -9 -f '[p]rogram.pyz expire'; do sleep 0.05; done", timeout=60)
    assert applying.end().returncode == 1
    watcher_is_gone(host)
    assert diff(before, host.dump()) == []


def test_what_brings_the_rules_back_later_is_wanted_too(host: Host) -> None:
    """The unit that systemd starts again with whoever flushes: a confirm that is cut short leaves it inactive."""
    apply_now(host)
    host.run("systemctl stop hostguard-egress.service")
    audited = json.loads(host.hostguard("audit", "--format", "json").stdout)["hosts"][0]["results"]
    assert [each["id"] for each in audited if each["status"] == "fail" and each["area"] == "egress"] == ["egress.boot"]
    apply_now(host)
    assert host.out("systemctl is-active hostguard-egress.service") == "active"


def test_a_hold_outlives_nothing(host: Host) -> None:
    """As a hostguard of before left it, whose power was cut between a hold and what it stood for."""
    apply_now(host)
    host.run(f"touch {STATE}/hold-rules")
    assert "Nothing to change" in host.hostguard(*NOW).stdout
    settled(host)


FILLER = f"{STATE}/filler"
FULL = f"""#!/bin/sh
/usr/sbin/iptables-restore "$@" || exit
dd if=/dev/zero of={FILLER} bs=4096 2>/dev/null
exit 0
"""


@pytest.fixture
def small(host: Host) -> Host:
    """Its memory is on a disk that is soon full."""
    parts = "lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work"  # to the host a tmpfs would be none
    host.run("mount -t tmpfs -o size=2M tmpfs /mnt && mkdir /mnt/lower /mnt/upper /mnt/work")
    host.run(f"mkdir -p {STATE} && mount -t overlay -o {parts} overlay {STATE} && mkdir {GENERATIONS}")
    return host


def differences(host: Host, before: dict[str, str]) -> list[str]:
    return [line for line in diff(before, host.dump()) if " var-lib-hostguard.mount " not in line]


WITHOUT_RULES = "version: 1\nkernel:\n  net.core.somaxconn: 8192\n"


@pytest.mark.parametrize("rules", ["with rules", "without"])
def test_a_memory_that_a_boot_loses_is_in_the_way(host: Host, rules: str) -> None:
    if rules == "without":
        host.write(policy.PLACE, WITHOUT_RULES)
    host.run(f"mkdir -p {STATE} && mount -t tmpfs tmpfs {STATE}")
    before = host.dump()
    # A plan tells of it with the boot's unit alone: an apply finds it in any case.
    for command in (NOW,) if rules == "without" else (("plan",), NOW):
        done = host.hostguard(*command)
        assert (done.returncode, f"{STATE} is on a tmpfs" in done.stdout + done.stderr) == (1, True)
    assert differences(host, before) == []


@pytest.mark.parametrize("window", ["60s", "0"])
def test_a_disk_that_fills_while_rules_are_written(small: Host, window: str) -> None:
    """The last word was prepared before the first write."""
    before = small.dump()
    small.write(SLOW, FULL, mode="755")
    done = small.hostguard("apply", "--yes", "--confirm-within", window)
    small.run(["rm", SLOW])
    if window == "0":
        assert done.returncode == 0, done.stderr
        assert last_status(small) == "applied"
        small.run(["rm", FILLER])
        assert small.hostguard("rollback", "--to", "0", "--yes").returncode == 0
    else:
        assert (done.returncode, "as it was before" in done.stderr) == (1, True), done.stderr
        assert last_status(small) == "failed"
        small.run(["rm", FILLER])
    settled(small)
    assert differences(small, before) == []


def test_a_full_disk_is_said_and_nothing_touched(small: Host) -> None:
    small.run(f"dd if=/dev/zero of={FILLER} bs=4096", check=False)
    before = small.dump()
    done = small.hostguard(*NOW)
    assert (done.returncode, "No space left" in done.stderr) == (3, True), (done.returncode, done.stderr)
    small.run(["rm", FILLER])
    assert small.out(f"ls -A {GENERATIONS}") == ""
    assert differences(small, before) == []


def test_a_rollback_tells_what_it_would_cut(host: Host) -> None:
    policy.install(host, OTHER_NETWORK)
    apply_now(host)
    policy.install(host)
    apply_now(host)
    before = host.dump()
    told = host.hostguard("rollback", "--check")
    assert told.returncode == 0, told.stderr
    assert "listens on tcp 22" not in told.stdout, "both answer there"
    assert "1 changes to generation 1" not in told.stdout
    assert "undoes generation 2" in told.stdout
    assert "10.77.0.0/24,tcp:22" in told.stdout
    done = host.hostguard("rollback", "--check", "--to", "0", "--format", "json")
    answer = json.loads(done.stdout)
    assert (answer["schema"], answer["to"], answer["gone"]) == ("hostguard.rollback/1", 0, [2, 1])
    assert diff(before, host.dump()) == []
    done = host.hostguard("rollback", "--yes", "--to", "0", "--format", "json")
    assert json.loads(done.stdout)["outcome"] == "rolled back"


LIES = {"iptables-restore": "", "ip6tables-restore": "", "ipset": "restore", "mount": "tmpfs", "systemctl": "enable"}
"""Programs, and the word among their arguments at which they say that all is well, and do nothing."""


@pytest.mark.parametrize("program", LIES)
def test_a_program_that_lies_is_found_out(host: Host, program: str) -> None:
    before = host.dump()
    lie = f'case " $* " in *"{LIES[program]}"*) cat > /dev/null; exit 0 ;; esac'
    place, real = f"/usr/local/sbin/{program}", host.out(["which", program])
    host.write(place, f'#!/bin/sh\n{lie}\nexec {real} "$@"\n', mode="755")
    done = host.hostguard(*NOW)
    host.run(["rm", place])
    assert done.returncode == 1, done.stdout
    assert "as it was before" in done.stderr, done.stderr
    settled(host)
    assert diff(before, host.dump()) == []


def test_a_lock_of_xtables_that_is_held_for_a_minute_ends_in_words(host: Host) -> None:
    host.run("for each in iptables ip6tables; do update-alternatives --set $each /usr/sbin/$each-legacy; done")
    host.run("iptables -L; ip6tables -L")  # their tables stay for as long as their modules do
    before = host.dump()
    host.run("systemd-run --quiet --collect --unit=holder flock /run/xtables.lock sleep 60")
    host.run("until ! flock -n /run/xtables.lock true; do sleep 0.05; done", timeout=60)
    done = host.hostguard(*NOW)
    assert (done.returncode, "xtables lock" in done.stderr) == (1, True), done.stderr
    host.run("systemctl stop holder")
    settled(host)
    assert diff(before, host.dump(), ignore=["legacy tables"]) == []


def test_what_no_way_back_can_give_back_is_in_the_way(host: Host) -> None:
    """The kernel takes a host's own IPv6 addresses, and their routes, and gives none of them back."""
    policy.install(host, ("\nkernel:", "\nkernel:\n  net.ipv6.conf.all.disable_ipv6: 1"))
    before = host.dump()
    done = host.hostguard(*NOW)
    assert (done.returncode, "2001:db8:77::11 (eth0)" in " ".join(done.stderr.split())) == (1, True), done.stderr
    assert "nothing was touched" in done.stderr
    assert diff(before, host.dump()) == []


def test_a_restart_that_fails_is_not_told_as_a_rollback_that_touched_nothing(host: Host) -> None:
    assert host.hostguard(*NOW, "--restart").returncode == 0
    fails = 'case "$1" in restart) echo refused >&2; exit 1 ;; esac\nexec /usr/bin/systemctl "$@"'
    host.write("/usr/local/sbin/systemctl", f"#!/bin/sh\n{fails}\n", mode="755")
    done = host.hostguard("rollback", "--yes", "--to", "0", "--restart")
    host.run("rm /usr/local/sbin/systemctl")
    assert (done.returncode, "refused" in done.stdout, "Undone: 1." in done.stdout) == (3, True, True), done.stderr
    assert "HOSTGUARD" not in rules(host)


def test_another_backend_of_iptables_within_the_window_is_no_hindrance(host: Host) -> None:
    """As Kubernetes' and Docker's instructions have it: `update-alternatives --set iptables …`."""
    apply_now(host)
    policy.install(host, OTHER_ACCOUNT, OTHER_NETWORK)
    before = host.dump()
    applying = Applying(host, 5)
    host.use_backend("legacy")
    assert applying.end().returncode == 1
    watcher_is_gone(host, 2)
    assert last_status(host) == "rolled back"
    host.use_backend("nft")
    assert diff(before, host.dump(), ignore=["legacy tables"]) == []
    host.use_backend("legacy")
    done = host.hostguard(*NOW)
    assert done.returncode == 0, done.stderr
    assert "HOSTGUARD" not in host.out("iptables-nft-save; ip6tables-nft-save"), "what the other one had is gone"
    assert "HOSTGUARD" in host.out("iptables-save")
    assert host.hostguard("rollback", "--yes", "--to", "0", "--confirm-within", "0").returncode == 0
    assert "HOSTGUARD" not in host.out("iptables-nft-save; iptables-legacy-save; ip6tables-legacy-save")


@pytest.mark.parametrize("apart", ["nsenter --net=/run/netns/other", "unshare --mount", "unshare --mount --net"])
def test_what_is_not_done_to_the_host_is_refused(host: Host, apart: str) -> None:
    host.run("ip netns add other")
    before = host.dump()
    words = f"this process has a {'network' if 'net' in apart else 'mount'} namespace of its own"
    for command in (NOW, ("rollback", "--yes", "--to", "0")):
        done = host.run([*apart.split(), "python3", "-m", "hostguard", *command], check=False, env=host.settings)
        assert (done.returncode != 0, words in done.stderr) == (True, True), done.stdout
        assert "Traceback" not in done.stderr
    assert diff(before, host.dump()) == []


@pytest.mark.parametrize("boots", [False, True])
def test_a_window_outlives_the_virtual_environment_of_the_apply(host: Host, boots: bool) -> None:
    host.run("python3 -m venv --without-pip /srv/venv")
    apply_now(host)
    policy.install(host, OTHER_ACCOUNT)
    if boots:
        host.lose_power()  # after which a service runs under the limits that were written before
    before = host.dump()
    apply = "/srv/venv/bin/python -m hostguard apply --yes --confirm-within 20s"
    host.run(f"setsid {apply} > /dev/null 2>&1 < /dev/null &", env=host.settings)
    host.run(f'until grep -qs \'"status": "unconfirmed"\' {GENERATIONS}/*.json; do sleep 0.05; done', timeout=60)
    host.run(["rm", "-rf", "/srv/venv"])
    if boots:
        host.lose_power()
    else:
        host.run("systemctl kill --signal=KILL hostguard-confirm-2")
    settled(host)
    assert last_status(host) == "rolled back"
    assert diff(before, host.dump()) == []


# What is seen once each has come: the second one starts what is there for a boot within the window, and there was none.
TARGETS = {
    "rescue.target": "systemctl -q is-active rescue.target",
    "multi-user.target": "systemctl show --value --property=ExecMainExitTimestamp hostguard-recover | grep -q .",
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_window_outlives_the_target_that_the_host_was_in(host: Host, target: str) -> None:
    applying = Applying(host, 20)
    # Not from here: it ends, or cuts off, whoever waits for it.
    host.run(f"systemd-run --quiet systemctl isolate {target}")
    host.run(f"until {TARGETS[target]}; do sleep 0.1; done", timeout=60)
    assert last_status(host) == "unconfirmed"
    settled(host)
    applying.end()
    assert last_status(host) == "rolled back"
    assert "HOSTGUARD" not in rules(host)
