"""A host from untouched to hardened, over a reboot, and back: on both backends of iptables, seen by others' eyes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import testinfra

from tests.lab import Host, Lab, diff
from tests.lab.fixture import MakeHost
from tests.lab.network import ENEMY, ENEMY_V6, MANAGEMENT, PROVIDER, PROVIDER_V6, RESOLVER, VAULT
from tests.witness import policy
from tests.witness.report import audit, not_well, statuses
from tests.witness.world import answers, listening, reaches

pytestmark = pytest.mark.needs("lab")

# What other tools left on the host before us: all of it must survive, and come back to the letter.
OTHERS = """
set -e
iptables -N OTHERS
iptables -A OTHERS -d 192.0.2.7 -j ACCEPT
iptables -A OUTPUT -j OTHERS
iptables -A INPUT -p tcp --dport 9999 -j DROP
ip6tables -A FORWARD -s 2001:db8:77::/64 -j ACCEPT
ipset create others hash:ip
ipset add others 192.0.2.9
echo 'net.core.somaxconn = 512' > /etc/sysctl.d/50-others.conf
sysctl -qw net.core.somaxconn=512
echo '* soft nofile 2048' > /etc/security/limits.d/50-others.conf
mkdir -p /etc/systemd/system/envoy.service.d
printf '[Service]\\nEnvironment=COLOUR=blue\\n' > /etc/systemd/system/envoy.service.d/50-others.conf
systemctl daemon-reload
"""
# The lab's reboot gives a fresh network namespace; a real host would have had others' rules restored at boot.
OTHERS_AT_BOOT = OTHERS.split("echo", 1)[0]


@dataclass
class Way:
    """The state of one host before, and what every step said."""

    lab: Lab
    host: Host
    before: dict[str, str]


@pytest.fixture(scope="module", params=["nft", "legacy"])
def way(request: pytest.FixtureRequest, lab: Lab, lab_host: MakeHost) -> Way:
    host = lab_host(f"way-{request.param}", backend=request.param)
    host.run(OTHERS)
    policy.install(host)
    return Way(lab, host, host.dump())


def test_an_untouched_host_fails(way: Way) -> None:
    code, report = audit(way.host)
    found = statuses(report)
    assert code == 1
    for control in ("egress.output", "egress.boot", "kernel.somaxconn", "limits.running", "secrets.mount"):
        assert found[control] == "fail", control
    assert diff(way.before, way.host.dump()) == [], "an audit changes nothing"


def test_a_plan_changes_nothing_and_says_so_by_its_exit_code(way: Way) -> None:
    assert way.host.hostguard("plan").returncode == 0
    assert way.host.hostguard("plan", "--detailed-exitcode").returncode == 2
    assert diff(way.before, way.host.dump()) == []


def test_apply_refuses_without_yes_and_without_a_terminal(way: Way) -> None:
    assert way.host.hostguard("apply").returncode == 2
    assert diff(way.before, way.host.dump()) == []


def test_apply_reaches_everything_but_what_needs_a_restart(way: Way) -> None:
    done = way.host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr
    assert "A restart of envoy.service is owed" in done.stdout
    code, report = audit(way.host)
    assert code == 1
    assert not_well(report) == {"limits.running": "fail", "slices.running": "fail"}


def test_a_second_apply_changes_nothing(way: Way) -> None:
    between = way.host.dump()
    done = way.host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 0
    assert "Nothing to change" in done.stdout
    assert diff(between, way.host.dump()) == []


def test_with_restart_the_audit_is_clean(way: Way) -> None:
    assert way.host.hostguard("apply", "--yes", "--restart", "--confirm-within", "0").returncode == 0
    code, report = audit(way.host)
    assert (code, not_well(report)) == (0, {})


def test_rollback_brings_back_every_detail(way: Way) -> None:
    done = way.host.hostguard("rollback", "--to", "0", "--yes", "--restart")
    assert done.returncode == 0, done.stderr
    # A kernel keeps its legacy table for as long as the namespace lives: nothing can undo that.
    assert diff(way.before, way.host.dump(), ignore=["legacy tables"]) == []
    assert way.host.hostguard("rollback", "--yes").returncode == 2, "there is nothing left to roll back"
    assert way.host.hostguard("apply", "--yes", "--restart", "--confirm-within", "0").returncode == 0


def test_it_is_clean_after_a_reboot(way: Way) -> None:
    assert way.host.reboot() == "running"
    way.host.run(OTHERS_AT_BOOT)
    code, report = audit(way.host)
    assert (code, not_well(report)) == (0, {})


def test_testinfra_sees_it_too(way: Way) -> None:
    host = testinfra.get_host(f"podman://{way.host.container}")
    assert host.sysctl("net.core.somaxconn") >= 4096
    assert host.sysctl("net.ipv4.tcp_tw_reuse") == 1
    assert host.sysctl("net.ipv4.ip_local_port_range") == "10240\t65535"
    secrets = host.mount_point("/run/secrets")
    assert (secrets.exists, secrets.filesystem) == (True, "tmpfs")
    assert {"nosuid", "nodev", "noexec"} <= set(secrets.options)
    folder = host.file("/run/secrets")
    assert (folder.mode, folder.user, folder.group) == (0o750, "vault-agent", "envoy")
    pid = int(host.check_output("systemctl show --value --property=MainPID envoy.service"))
    assert f"{policy.NOFILE}" in host.check_output(f"grep 'Max open files' /proc/{pid}/limits")
    assert "hostguard-egress.slice" in host.file(f"/proc/{pid}/cgroup").content_string
    # One of the two, whichever hierarchy this machine has.
    found = host.check_output("find /sys/fs/cgroup -path '*/hostguard-egress.slice/memory.*'").split()
    limits = [path for path in found if path.endswith(("/memory.limit_in_bytes", "/memory.max"))]
    assert [int(host.file(path).content_string) for path in limits] == [512 * 2**20]
    for version in (4, 6):
        rules = host.iptables.rules("filter", "OUTPUT", version=version)
        assert rules[0] == "-P OUTPUT DROP"
        assert rules[1] == "-A OUTPUT -j HOSTGUARD-OUTPUT"
        assert host.iptables.rules("filter", "HOSTGUARD-OUTPUT", version=version)[-1].endswith("-j DROP")
    assert host.service("hostguard-egress").is_enabled


def test_real_connections_follow_the_policy(way: Way) -> None:
    with listening(way.lab, 443, 8200, 53, 80):
        for account, address, port in (("envoy", PROVIDER, 443), ("envoy", PROVIDER_V6, 443), ("envoy", RESOLVER, 53),
                                       ("vault-agent", VAULT, 8200)):  # fmt: skip
            assert reaches(way.host, account, address, port), (account, address, port)
        for account, address, port in (("root", PROVIDER, 443), ("envoy", PROVIDER, 80), ("envoy", ENEMY, 443),
                                       ("envoy", ENEMY_V6, 443), ("root", RESOLVER, 53), ("envoy", VAULT, 8200),
                                       ("root", PROVIDER_V6, 443)):  # fmt: skip
            assert not reaches(way.host, account, address, port), (account, address, port)
    assert answers(way.lab, way.host, MANAGEMENT, 22)
    assert not answers(way.lab, way.host, ENEMY, 22)


def test_history_lists_the_generations(way: Way) -> None:
    said = way.host.hostguard("history").stdout
    assert (said.count("applied"), said.count("rolled back")) == (1, 2)


def test_rollback_brings_back_every_detail_after_a_reboot(way: Way) -> None:
    done = way.host.hostguard("rollback", "--to", "0", "--yes", "--restart")
    assert done.returncode == 0, done.stderr
    # nft lists chains in the order in which they were made, and at this boot ours came first; the rules are compared
    # as iptables shows them.
    assert diff(way.before, way.host.dump(), ignore=["legacy tables", "nft"]) == []
