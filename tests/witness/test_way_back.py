"""What can go wrong, goes back: the confirm window, a failing load, something in the way."""

from __future__ import annotations

import json
import threading
from subprocess import CompletedProcess

import pytest

from tests.lab import Host, diff
from tests.lab.fixture import MakeHost
from tests.lab.host import PYTHON_SETTINGS
from tests.patience import whole
from tests.witness import policy

pytestmark = [pytest.mark.needs("lab"), pytest.mark.alone]

GENERATIONS = "/var/lib/hostguard/generations"


@pytest.fixture
def host(own_host: Host) -> Host:
    policy.install(own_host)
    return own_host


class Applying:
    """An apply that waits for its confirmation, in another thread as in another terminal; `window` is in seconds of an
    idle machine, since what happens within it takes as long as this one is slow."""

    def __init__(self, host: Host, window: int, env: dict[str, str] | None = None, command: str = "apply") -> None:
        self.window = int(whole(window))
        self.host, self.done = host, list[CompletedProcess[str]]()
        call = (command, "--yes", "--confirm-within", f"{self.window}s")
        self.thread = threading.Thread(target=lambda: self.done.append(host.hostguard(*call, env=env)))
        self.thread.start()
        # The host says when it waits; no clock of ours does.
        host.run(f'until grep -qs \'"status": "unconfirmed"\' {GENERATIONS}/*.json; do sleep 0.05; done', timeout=60)

    def end(self) -> CompletedProcess[str]:
        self.thread.join()
        return self.done[0]


def last_status(host: Host) -> str:
    return str(json.loads(host.out(f"cat $(ls {GENERATIONS}/*.json | tail -1)"))["status"])


def watcher_is_gone(host: Host, generation: int = 1) -> None:
    """Seen to be gone: while the way back re-executes systemd, `systemctl is-active` fails for want of an answer."""
    gone = f"systemctl show --value --property=ActiveState hostguard-confirm-{generation} | grep -qx inactive"
    host.run(f"until {gone}; do sleep 0.05; done", timeout=60)


def test_nobody_confirms(host: Host) -> None:
    before = host.dump()
    done = host.hostguard("apply", "--yes", "--confirm-within", "2s")
    assert done.returncode == 1
    assert "nobody confirmed" in done.stderr
    assert last_status(host) == "rolled back"
    assert diff(before, host.dump()) == []


def test_the_watcher_does_not_need_the_one_who_applied(host: Host) -> None:
    before = host.dump()
    applying = Applying(host, 4)
    host.run("pkill -9 -f '[h]ostguard apply'")
    applying.end()
    host.run(f'until grep -qs \'"status": "rolled back"\' {GENERATIONS}/*.json; do sleep 0.05; done', timeout=60)
    watcher_is_gone(host)
    assert diff(before, host.dump()) == []


def test_a_new_connection_confirms_and_the_old_one_can_not(host: Host) -> None:
    old, new = ({"SSH_CONNECTION": f"10.77.0.1 {port} 10.77.0.11 22"} for port in (50001, 50002))
    applying = Applying(host, 120, env=old)
    refused = host.hostguard("confirm", env=old)
    assert refused.returncode == 2
    assert "proves nothing" in refused.stderr
    assert host.hostguard("confirm", env=new).returncode == 0
    assert applying.end().returncode == 0
    assert last_status(host) == "applied"
    assert host.hostguard("rollback", "--yes").returncode == 0


def test_a_reboot_in_the_window_goes_back(host: Host) -> None:
    before = host.dump()
    applying = Applying(host, 600)
    host.reboot()
    applying.end()
    assert last_status(host) == "rolled back"
    host.run("systemctl restart envoy.service && systemctl stop hostguard-egress.slice hostguard.slice")
    assert diff(before, host.dump()) == []


def test_a_reboot_in_the_window_comes_up_on_the_generation_before(host: Host) -> None:
    assert host.hostguard("apply", "--yes", "--restart", "--confirm-within", "0").returncode == 0
    before = host.dump()
    # Another account: rules change, and some sets, and the rules name the others too.
    policy.install(host, ("users: [vault-agent]", "users: [root]"))
    applying = Applying(host, 600)
    host.reboot()
    applying.end()
    assert last_status(host) == "rolled back"
    after = host.dump()
    for section in ("iptables", "ip6tables", "ipset"):
        assert before[section] == after[section], section
    policy.install(host)
    assert host.hostguard("audit").returncode == 0


# While /run/broken is there the rules of IPv6 can't be loaded, and after that those of IPv4 can't go back.
HALF = """#!/bin/sh
[ -e /run/broken ] || exec /usr/sbin/ip6tables-restore "$@"
touch /run/half
echo 'ip6tables-restore: line 7 failed' >&2
exit 1
"""
NOT_BACK = '#!/bin/sh\n[ -e /run/half ] || exec /usr/sbin/iptables-restore "$@"\nexit 1\n'


def break_half_way(host: Host) -> None:
    host.write("/usr/local/sbin/ip6tables-restore", HALF, mode="755")
    host.write("/usr/local/sbin/iptables-restore", NOT_BACK, mode="755")


def test_a_load_that_fails_leaves_nothing(host: Host) -> None:
    break_half_way(host)
    before = host.dump()
    host.run("touch /run/broken")
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 1
    assert "line 7 failed" in done.stderr
    assert "the way back failed too" in done.stderr
    assert "goes on trying" in done.stderr
    assert last_status(host) == "writing"
    host.run("rm /run/broken /run/half")
    watcher_is_gone(host)
    assert last_status(host) == "failed"
    assert diff(before, host.dump()) == []


def test_what_was_not_written_yet_needs_no_way_back(host: Host) -> None:
    host.write("/usr/local/sbin/ip6tables-restore", "#!/bin/sh\nexit 1\n", mode="755")
    before = host.dump()
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert (done.returncode, "the way back failed too" in done.stderr) == (1, False)
    assert last_status(host) == "failed"
    assert diff(before, host.dump()) == []


def test_a_way_back_that_failed_is_made_by_the_next_boot(host: Host) -> None:
    break_half_way(host)
    before = host.dump()
    host.run("touch /run/broken")  # until the boot, which empties /run
    assert host.hostguard("apply", "--yes", "--confirm-within", "60s").returncode == 1
    assert last_status(host) == "writing"
    host.reboot()
    assert last_status(host) == "failed"
    assert diff(before, host.dump()) == []


def test_an_apply_that_is_killed_half_way_is_undone_by_the_host(host: Host) -> None:
    before = host.dump()
    slow = "/usr/local/sbin/ip6tables-restore"
    host.write(slow, "#!/bin/sh\nexec sleep 300\n", mode="755")
    applying = threading.Thread(target=lambda: host.hostguard("apply", "--yes", "--confirm-within", "1s"))
    applying.start()
    host.run("until pgrep -f '^sleep 300'; do sleep 0.05; done", timeout=60)
    assert last_status(host) == "writing"
    assert "DROP" in host.out("iptables-save"), "half of it is there"
    host.run(f"rm {slow}; pkill -9 -f '[h]ostguard apply'; pkill -9 -f '^sleep 300'")
    applying.join()
    watcher_is_gone(host)
    assert last_status(host) == "failed"
    assert diff(before, host.dump()) == []


def test_what_is_in_the_way_is_said_and_nothing_touched(host: Host) -> None:
    host.write("/etc/sysctl.d/zzz-later.conf", "net.ipv4.tcp_fin_timeout = 61\n")
    host.run(["mkdir", "-p", "/run/secrets"])
    host.write("/run/secrets/left-behind", "a secret on its way to a disk\n")
    before = host.dump()
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 1
    for said in ("/etc/sysctl.d/zzz-later.conf:1", "/run/secrets holds files", "nothing was touched"):
        assert said in done.stderr
    assert diff(before, host.dump()) == []


def test_an_account_that_is_missing_blocks(host: Host) -> None:
    policy.install(host, ("proxy_user: envoy", "proxy_user: nosuch"))
    before = host.dump()
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 1
    assert "the account nosuch does not exist on this host" in done.stderr
    assert diff(before, host.dump()) == []


def test_observe_drops_nothing_and_enforce_can_follow(host: Host) -> None:
    before = host.dump()
    policy.install(host, ("mode: enforce  ", "mode: observe  "))
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    seen = host.out("iptables-save; ip6tables-save")
    assert "DROP" not in seen
    assert 'LOG --log-prefix "hostguard observe: "' in seen
    policy.install(host)
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    seen = host.out("iptables-save; ip6tables-save")
    assert "OBSERVE" not in seen
    assert seen.count(":OUTPUT DROP") == 2
    policy.install(host, ("mode: enforce  ", "mode: observe  "))
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    assert host.out("iptables-save -t filter; ip6tables-save -t filter").count(":OUTPUT ACCEPT") == 2
    assert host.hostguard("rollback", "--to", "0", "--yes").returncode == 0
    policy.install(host)
    assert diff(before, host.dump(), ignore=["files"]) == []


def test_a_section_that_is_taken_out_goes_back_to_what_was_there(host: Host) -> None:
    before = host.dump()
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    text = policy.example()
    without = text[: text.index("\nsecrets:")] + text[text.index("\nplatform:") :]
    host.write(policy.PLACE, without)
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    assert host.run(["mountpoint", "-q", "/run/secrets"], check=False).returncode != 0
    assert "run-secrets.mount" not in host.out("ls /etc/systemd/system")
    assert host.hostguard("rollback", "--to", "0", "--yes").returncode == 0
    policy.install(host)
    assert diff(before, host.dump(), ignore=["files"]) == []


def rules(host: Host) -> str:
    """Both families as the kernel has them, without counters and what it chooses at random; the held connections are
    a moment's."""
    sets = "ipset save | sort | grep -v HELD | sed 's/ initval .*//'"
    saved = host.out(f"iptables-save -t filter; ip6tables-save -t filter; {sets}")
    return "\n".join(line.partition(" [")[0] for line in saved.splitlines() if not line.startswith("#"))


def test_a_change_of_addresses_alone_waits_for_its_confirmation_too(host: Host) -> None:
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    before = rules(host)
    policy.install(host, ("from: [10.77.0.0/24]", "from: [192.0.2.0/28]"))
    done = host.hostguard("apply", "--yes", "--confirm-within", "2s")
    assert done.returncode == 1
    assert "nobody confirmed" in done.stderr
    assert rules(host) == before


# What the kernel has when the network is about to come up.
WITNESS = """\
[Unit]
DefaultDependencies=no
After=hostguard-egress.service
# Early: iptables-save over nf_tables that runs while the rest goes back, and writes rules, may find none at all.
Before=network-pre.target sysinit.target

[Service]
Type=oneshot
ExecStart=sh -c 'iptables-save > /run/at-boot'
"""


def test_a_reboot_in_a_later_window_comes_up_on_what_was_confirmed(host: Host) -> None:
    host.write("/etc/systemd/system/witness.service", WITNESS)
    host.run("systemctl daemon-reload; systemctl add-wants sysinit.target witness.service")
    policy.install(host, ("mode: enforce  ", "mode: observe  "))
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    confirmed = rules(host)
    policy.install(host, ("from: [10.77.0.0/24]", "from: [192.0.2.0/28]"))
    applying = Applying(host, 600)
    assert ":OUTPUT DROP" in rules(host)
    assert host.reboot() == "running"
    applying.end()
    at_boot = host.out("cat /run/at-boot")
    assert "-A OUTPUT -j HOSTGUARD-OBSERVE-OUTPUT" in at_boot
    assert "DROP" not in at_boot
    assert rules(host) == confirmed
    assert last_status(host) == "rolled back"
    assert host.out("ls /var/lib/hostguard") == "generations\nlock"
    policy.install(host, ("mode: enforce  ", "mode: observe  "))
    assert "Nothing to change" in host.hostguard("apply", "--yes", "--confirm-within", "0").stdout
    assert host.hostguard("rollback", "--yes").returncode == 0


# Refuses the watcher, and him alone, until it is mended.
REFUSES = """#!/bin/sh
if [ ! -e /tmp/mended ] && tr '\\0' ' ' < /proc/$PPID/cmdline | grep -q ' expire '; then
    echo refused >&2
    exit 1
fi
exec /usr/sbin/ip6tables-restore "$@"
"""


def test_a_failing_way_back_is_tried_until_it_works(host: Host) -> None:
    host.write("/usr/local/sbin/ip6tables-restore", REFUSES, mode="755")
    before = host.dump()
    applying = Applying(host, 2)
    host.run("until journalctl -q -u hostguard-confirm-1 | grep -q refused; do sleep 0.1; done", timeout=60)
    assert last_status(host) == "unconfirmed"
    host.run("touch /tmp/mended")
    assert applying.end().returncode == 1
    watcher_is_gone(host)
    assert last_status(host) == "rolled back"
    assert diff(before, host.dump()) == []


def test_an_apply_that_hangs_is_ended_by_the_host(host: Host) -> None:
    before = host.dump()
    slow = "/usr/local/sbin/ip6tables-restore"
    host.write(slow, "#!/bin/sh\nexec sleep 300\n", mode="755")
    done: list[CompletedProcess[str]] = []
    call = ("apply", "--yes", "--confirm-within", "60s")
    applying = threading.Thread(target=lambda: done.append(host.hostguard(*call)))
    applying.start()
    host.run("until pgrep -f '^sleep 300'; do sleep 0.05; done", timeout=60)
    # The five minutes are over: the watcher reads it from here.
    host.run('sed -i -E \'s/"deadline": [0-9.]+/"deadline": 1.0/\' /var/lib/hostguard/pending.json')
    host.run(f"rm {slow}")
    applying.join()
    watcher_is_gone(host)
    assert (done[0].returncode, "this host is as it was before" in done[0].stderr) == (1, True), done[0].stderr
    assert host.run("pgrep -f '^sleep 300'", check=False).returncode == 1
    assert last_status(host) == "failed"
    assert diff(before, host.dump()) == []


def test_what_a_boot_could_not_undo_is_tried_again(host: Host) -> None:
    # What a boot may not write: the file with the limits of logins.
    before = host.dump()
    applying = Applying(host, 600)
    host.run("chattr +i /etc/security/limits.d")
    assert host.reboot() == "degraded"
    applying.end()
    again = "hostguard-recover-again"
    host.run(f"until journalctl -q -u {again} | grep -q 'tried again'; do sleep 0.1; done", timeout=60)
    assert last_status(host) == "unconfirmed"
    host.run("chattr -i /etc/security/limits.d")
    host.run("cd /var/lib/hostguard; while [ -e pending.json ] || [ -e program.pyz ]; do sleep 0.1; done", timeout=60)
    assert last_status(host) == "rolled back"
    host.run(f"while systemctl is-active -q {again}; do sleep 0.1; done", timeout=60)
    # systemd remembers what has failed until it is told not to.
    host.run("systemctl reset-failed hostguard-recover.service")
    host.run("systemctl restart envoy.service && systemctl stop hostguard-egress.slice hostguard.slice")
    assert diff(before, host.dump()) == []


@pytest.mark.parametrize("name", ["HUP", "INT", "TERM", "TSTP"])
def test_a_terminal_that_goes_away_waits_until_the_host_is_whole(lab_host: MakeHost, name: str) -> None:
    host = lab_host("signals")
    policy.install(host)
    number = int(host.out(f"ls {GENERATIONS}/*.json 2>/dev/null | wc -l")) + 1
    # On a terminal there is a second thread, which draws what goes on: a signal may come its way.
    host.write(
        "/usr/local/sbin/ip6tables-restore",
        "#!/bin/sh\ntouch /run/writing\nuntil [ -e /run/go-on ]; do sleep 0.05; done\n"
        'exec /usr/sbin/ip6tables-restore "$@"\n',
        mode="755",
    )
    host.run("rm -f /run/writing /run/go-on")
    on_a_terminal = "script -qec 'python3 -m hostguard apply --yes --confirm-within 600s' /dev/null"
    applying = threading.Thread(
        target=lambda: host.run(on_a_terminal, check=False, env={**PYTHON_SETTINGS, "TERM": "xterm"})
    )
    applying.start()
    host.run("until [ -e /run/writing ]; do sleep 0.05; done", timeout=60)
    host.run(f"pkill -{name} -f '^python3 -m hostguard apply'; touch /run/go-on")
    host.run(f"until grep -qs unconfirmed {GENERATIONS}/*{number}.json; do sleep 0.05; done", timeout=60)
    host.run("pkill -9 -f '^python3 -m hostguard apply'", check=False)
    applying.join()
    host.run("rm /usr/local/sbin/ip6tables-restore")
    assert host.hostguard("rollback", "--yes").returncode == 0


def test_a_window_that_outlived_its_generation_is_closed(host: Host) -> None:
    applying = Applying(host, 600)
    host.run("cp /var/lib/hostguard/pending.json /root/pending.json")
    assert host.hostguard("confirm").returncode == 0
    assert applying.end().returncode == 0
    # A crash between the record's last word and the end of the window leaves the file.
    host.run("cp /root/pending.json /var/lib/hostguard/pending.json")
    assert "Nothing to change" in host.hostguard("apply", "--yes").stdout
    assert host.out("ls /var/lib/hostguard") == "generations\nlock"


def test_what_proves_nothing_does_not_confirm(host: Host) -> None:
    applying = Applying(host, 600, env={"SSH_CONNECTION": "10.77.0.1 50001 10.77.0.11 22"})
    host.run("cp /bin/bash '/usr/local/bin/tmux: server'")
    done = host.run(["/usr/local/bin/tmux: server", "-c", "python3 -m hostguard confirm; exit $?"], check=False,
                    env={**PYTHON_SETTINGS, "SSH_CONNECTION": "10.77.0.1 40001 10.77.0.11 22"})  # fmt: skip
    assert (done.returncode, "inside tmux" in done.stderr) == (2, True), done.stderr
    empty = host.hostguard("confirm", env={"SSH_CONNECTION": ""})
    assert empty.returncode == 0, "a console is no connection"
    assert applying.end().returncode == 0
