"""A host that was hardened by the example policy, asked with its own tools: none of hostguard's code is used here."""

from __future__ import annotations

import os

import pytest
from testinfra.host import Host

OWNER = os.environ["HOSTGUARD_LAB_OWNER"]
SCENARIO = os.environ["MOLECULE_SCENARIO_NAME"]
testinfra_hosts = [f"podman://hostguard-lab-{OWNER}-molecule-{SCENARIO}"]

PROVIDER, PROVIDER_V6, VAULT, RESOLVER = "203.0.113.5", "2001:db8::5", "10.0.0.8", "10.0.0.2"
ENEMY, ENEMY_V6 = "198.51.100.66", "2001:db8:bad::66"


def tried(host: Host, ways: tuple[tuple[str, str, int], ...]) -> list[str]:
    """What accounts see of ports that nobody listens on: "refused" by who is there, or "timed out"; all at once."""
    each = [
        f"runuser -u {account} -- nc -vzw2 {address} {port} 2>&1 | grep -oE 'refused|timed out' > /tmp/way{at} &"
        for at, (account, address, port) in enumerate(ways)
    ]
    read = " ".join(f"/tmp/way{at}" for at in range(len(ways)))
    return host.check_output(" ".join([*each, f"wait; cat {read}; rm {read}"])).splitlines()


SANCTIONED = (
    ("envoy", PROVIDER, 443),
    ("envoy", PROVIDER_V6, 443),
    ("envoy", RESOLVER, 53),
    ("vault-agent", VAULT, 8200),
)
HELD = (
    ("root", PROVIDER, 443),
    ("root", PROVIDER_V6, 443),
    ("root", RESOLVER, 53),
    ("envoy", PROVIDER, 80),
    ("envoy", VAULT, 8200),
    ("envoy", ENEMY, 443),
    ("root", ENEMY_V6, 443),
)


def test_what_is_sanctioned_gets_out_and_nothing_else_does(host: Host) -> None:
    assert tried(host, SANCTIONED + HELD) == ["refused"] * len(SANCTIONED) + ["timed out"] * len(HELD)


@pytest.mark.parametrize("version", [4, 6])
def test_rules(host: Host, version: int) -> None:
    rules = host.check_output(f"{'iptables' if version == 4 else 'ip6tables'} -S").splitlines()
    assert "-P OUTPUT DROP" in rules
    for chain in ("OUTPUT", "FORWARD"):
        assert next(rule for rule in rules if rule.startswith(f"-A {chain} ")) == f"-A {chain} -j HOSTGUARD-{chain}"
        ours = [rule for rule in rules if rule.startswith(f"-A HOSTGUARD-{chain} ")]
        assert ours[-1].endswith("-j DROP")


def test_rules_are_there_at_the_next_boot(host: Host) -> None:
    assert host.service("hostguard-egress").is_enabled
    assert "network-pre.target" in host.check_output("systemctl show --property=Before hostguard-egress.service")


def test_the_backend_is_that_of_the_scenario(host: Host) -> None:
    expected = "legacy" if SCENARIO == "legacy" else "nf_tables"
    assert expected in host.check_output("iptables --version")


def test_kernel_parameters(host: Host) -> None:
    keys = "net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse net.ipv4.tcp_timestamps net.ipv4.tcp_keepalive_time"
    assert host.check_output(f"sysctl -n {keys}").splitlines() == ["10240\t65535", "1", "1", "60"]
    assert host.sysctl("net.core.somaxconn") >= 4096


def test_open_files_of_what_runs(host: Host) -> None:
    pid = host.check_output("systemctl show --value --property=MainPID envoy.service")
    assert host.check_output(f"awk '/^Max open files/ {{ print $4, $5 }}' /proc/{pid}/limits") == "16384 16384"


def test_open_files_of_a_session(host: Host) -> None:
    assert host.file("/etc/security/limits.d/zz-hostguard.conf").contains("16384")


def test_the_slice(host: Host) -> None:
    pid = host.check_output("systemctl show --value --property=MainPID envoy.service")
    assert "hostguard-egress.slice" in host.file(f"/proc/{pid}/cgroup").content_string
    # One of the two, whichever hierarchy this machine has.
    found = host.check_output("find /sys/fs/cgroup -path '*/hostguard-egress.slice/memory.*'").split()
    limits = [path for path in found if path.endswith(("/memory.limit_in_bytes", "/memory.max"))]
    assert [int(host.file(path).content_string) for path in limits] == [512 * 2**20]


def test_the_secrets(host: Host) -> None:
    mount = host.mount_point("/run/secrets")
    assert mount.exists
    assert mount.filesystem == "tmpfs"
    assert {"nosuid", "nodev", "noexec"} <= set(mount.options)
    folder = host.file("/run/secrets")
    assert (folder.mode, folder.user, folder.group) == (0o750, "vault-agent", "envoy")
