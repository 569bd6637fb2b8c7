"""What others do while a window is open: the way back and the confirm see it, and say what they can't mend."""

from __future__ import annotations

import pytest

from tests.lab import Host, diff
from tests.witness import policy
from tests.witness.test_nothing_lost import FLUSHES, NOW, apply_now, host, settled
from tests.witness.test_way_back import Applying, last_status, rules, watcher_is_gone

__all__ = ["host"]

pytestmark = [pytest.mark.needs("lab"), pytest.mark.alone]

WATCHER = "[p]rogram.pyz expire"


@pytest.mark.parametrize("signal", ["TERM", "HUP", "INT"])
def test_a_watcher_that_is_ended_comes_again(host: Host, signal: str) -> None:
    """systemd takes these for a clean end."""
    before = host.dump()
    applying = Applying(host, 8)
    host.run(f"pkill -{signal} -f '{WATCHER}'")
    assert applying.end().returncode == 1
    watcher_is_gone(host)
    settled(host)
    assert diff(before, host.dump()) == []


def test_a_window_that_nobody_watches_is_closed_by_the_next_command(host: Host) -> None:
    before = host.dump()
    applying = Applying(host, 6)
    host.run("systemctl stop hostguard-confirm-1.service")
    host.run("pkill -9 -f '[h]ostguard apply'")
    applying.end()
    host.run(f"sleep {applying.window + 1}")
    assert last_status(host) == "unconfirmed"
    done = host.hostguard("confirm")
    assert (done.returncode, "too late" in done.stderr) == (2, True), done.stderr
    settled(host)
    assert diff(before, host.dump()) == []


@pytest.mark.parametrize("how", FLUSHES)
def test_what_somebody_flushed_is_there_after_a_confirm(host: Host, how: str) -> None:
    apply_now(host)
    policy.install(host, ("ports: [8200]", "ports: [8201]"))
    applying = Applying(host, 120)
    before = rules(host)
    host.run(FLUSHES[how])
    done = host.hostguard("confirm")
    assert done.returncode == 0, done.stderr
    assert applying.end().returncode == 0
    assert rules(host) == before
    assert host.hostguard("audit", "--policy", policy.PLACE).returncode in (0, 1)
    assert "Nothing to change" in host.hostguard(*NOW).stdout


def test_what_is_not_there_any_more_is_not_kept(host: Host) -> None:
    before = host.dump()
    applying = Applying(host, 20)
    host.run("umount /run/secrets")
    done = host.hostguard("confirm")
    assert (done.returncode, "mount:/run/secrets is not as it was applied" in done.stderr) == (2, True), done.stderr
    assert applying.end().returncode == 1
    settled(host)
    assert diff(before, host.dump()) == []


def test_a_folder_that_others_use_by_now_stays(host: Host) -> None:
    policy.install(host, ("path: /run/secrets", "path: /srv/app/secrets"))
    before = host.dump()
    applying = Applying(host, 6)
    host.run("touch /srv/app/config")
    assert applying.end().returncode == 1
    settled(host)
    host.run("rm -r /srv/app")
    assert diff(before, host.dump()) == []


def test_a_set_that_others_use_by_now_stays_empty(host: Host) -> None:
    before = host.dump()
    theirs = "INPUT -m set --match-set hostguard-4-INBOUND src -j ACCEPT"
    applying = Applying(host, 6)
    host.run(f"iptables -A {theirs}")
    assert applying.end().returncode == 1
    settled(host)
    assert [line.split()[:2] for line in host.out("ipset save").splitlines()] == [["create", "hostguard-4-INBOUND"]]
    host.run(f"iptables -D {theirs}; ipset destroy; iptables-save | grep -q ^: || true")
    left = diff(before, host.dump())
    assert [line for line in left if "HOSTGUARD" in line or "hostguard" in line] == []


def test_a_file_that_is_a_mount_by_now_is_not_written_through(host: Host) -> None:
    by_name = ('cidrs: [203.0.113.5/32, "2001:db8::5/128"]', "hosts: [api.provider.com]")
    policy.install(host, by_name)
    before = host.dump()
    vpn = "nameserver 192.0.2.53\n# of another program\n"
    applying = Applying(host, 6)
    host.write("/run/vpn.conf", vpn)
    host.run("mount --bind /run/vpn.conf /etc/resolv.conf")
    host.run(
        "until journalctl -q -o cat -u hostguard-confirm-1 | grep -q 'going back failed'; do sleep 0.1; done",
        timeout=90,
    )
    assert host.out("cat /run/vpn.conf") == vpn.strip()
    assert last_status(host) == "unconfirmed"
    host.run("umount /etc/resolv.conf; rm /run/vpn.conf")
    assert applying.end().returncode == 1
    settled(host)
    assert diff(before, host.dump()) == []


def test_what_a_policy_drops_is_looked_at(host: Host) -> None:
    apply_now(host)
    text = policy.example()
    host.write(policy.PLACE, text[: text.index("\nsecrets:")] + text[text.index("\nplatform:") :])
    before = host.dump()
    host.write("/usr/local/bin/umount", "#!/bin/sh\nexit 0\n", mode="755")  # it says that all is well
    done = host.hostguard(*NOW)
    assert (done.returncode, "mount:/run/secrets is not as it was" in done.stderr) == (1, True), done.stderr
    host.run("rm /usr/local/bin/umount")
    settled(host)
    assert diff(before, host.dump()) == []


def test_a_boot_to_another_target_goes_back_too(host: Host) -> None:
    host.write(
        "/etc/systemd/system/app.target", "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n"
    )
    host.run("systemctl daemon-reload; systemctl set-default app.target")
    host.lose_power()
    before = host.dump()
    Applying(host, 600)
    host.lose_power()
    settled(host)
    assert diff(before, host.dump()) == []


def test_a_rollback_to_what_an_admin_had_changed_is_kept(host: Host) -> None:
    apply_now(host)
    host.run("echo '# of an admin' >> /etc/hostguard/egress/load")
    before = host.out("cat /etc/hostguard/egress/load")
    policy.install(host, ("ports: [8200]", "ports: [8201]"))
    apply_now(host)
    rolling = Applying(host, 60, command="rollback")
    done = host.hostguard("confirm")
    assert done.returncode == 0, done.stderr
    assert rolling.end().returncode == 0
    assert host.out("cat /etc/hostguard/egress/load") == before
