"""What can go wrong, goes back: the confirm window, a failing load, something in the way."""

from __future__ import annotations

import json
import threading
from subprocess import CompletedProcess

import pytest

from tests.lab import Host, diff
from tests.lab.fixture import MakeHost
from tests.witness import policy

GENERATIONS = "/var/lib/hostguard/generations"


@pytest.fixture
def host(request: pytest.FixtureRequest, lab_host: MakeHost) -> Host:
    """A host of the test's own."""
    fresh = lab_host(request.node.name.replace("_", "-").replace("test-", "")[:20].rstrip("-"))
    policy.install(fresh)
    return fresh


class Applying:
    """An apply that waits for its confirmation, in another thread as in another terminal."""

    def __init__(self, host: Host, window: str, env: dict[str, str] | None = None) -> None:
        self.host, self.done = host, list[CompletedProcess[str]]()
        call = ("apply", "--yes", "--confirm-within", window)
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
    applying = Applying(host, "4s")
    host.run("pkill -9 -f '[h]ostguard apply'")
    applying.end()
    host.run(f'until grep -qs \'"status": "rolled back"\' {GENERATIONS}/*.json; do sleep 0.05; done', timeout=60)
    watcher_is_gone(host)
    assert diff(before, host.dump()) == []


def test_a_new_connection_confirms_and_the_old_one_can_not(host: Host) -> None:
    old, new = ({"SSH_CONNECTION": f"10.77.0.1 {port} 10.77.0.11 22"} for port in (50001, 50002))
    applying = Applying(host, "120s", env=old)
    refused = host.hostguard("confirm", env=old)
    assert refused.returncode == 2
    assert "proves nothing" in refused.stderr
    assert host.hostguard("confirm", env=new).returncode == 0
    assert applying.end().returncode == 0
    assert last_status(host) == "applied"
    assert host.hostguard("rollback", "--yes").returncode == 0


def test_a_reboot_in_the_window_goes_back(host: Host) -> None:
    before = host.dump()
    applying = Applying(host, "600s")
    host.reboot()
    applying.end()
    assert last_status(host) == "rolled back"
    host.run("systemctl restart envoy.service && systemctl stop hostguard-egress.slice hostguard.slice")
    assert diff(before, host.dump()) == []


def test_a_load_that_fails_leaves_nothing(host: Host) -> None:
    before = host.dump()
    broken = "/usr/local/sbin/ip6tables-restore"
    host.write(broken, "#!/bin/sh\necho 'ip6tables-restore: line 7 failed' >&2\nexit 1\n", mode="755")
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    host.run(["rm", broken])
    assert done.returncode == 1
    assert "line 7 failed" in done.stderr
    # The undoing needed the same program: what of it was in doubt is said, and the rest is as it was.
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
    assert host.out("iptables-save; ip6tables-save").count(":OUTPUT ACCEPT") == 2
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
