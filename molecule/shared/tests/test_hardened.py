"""A host that was hardened by the example policy, asked with its own tools: none of hostguard's code is used here."""

from __future__ import annotations

import os

import pytest
from testinfra.host import Host

SCENARIO = os.environ["MOLECULE_SCENARIO_NAME"]
OPEN_FILES = os.environ["OPEN_FILES"]
testinfra_hosts = [os.environ["HOSTGUARD_HOST"]]

ENVOY = "/proc/$(systemctl show --value --property=MainPID envoy.service)"


@pytest.mark.parametrize("version", [4, 6])
def test_rules(host: Host, version: int) -> None:
    command = "iptables" if version == 4 else "ip6tables"
    assert "-P OUTPUT DROP" in host.check_output(f"{command} -S").splitlines()
    for chain, table in (("OUTPUT", "filter"), ("FORWARD", "mangle")):
        rules = host.check_output(f"{command} -t {table} -S").splitlines()
        assert next(rule for rule in rules if rule.startswith(f"-A {chain} ")) == f"-A {chain} -j HOSTGUARD-{chain}"
        ours = [rule for rule in rules if rule.startswith(f"-A HOSTGUARD-{chain} ")]
        assert ours[-1].endswith("-j DROP")


def test_rules_are_there_at_the_next_boot(host: Host) -> None:
    said = host.check_output("systemctl show --property=UnitFileState,Before hostguard-egress.service").splitlines()
    unit = dict(line.split("=", 1) for line in said)
    assert unit["UnitFileState"] == "enabled"
    assert "network-pre.target" in unit["Before"].split()


def test_the_backend_is_that_of_the_scenario(host: Host) -> None:
    expected = "legacy" if SCENARIO == "legacy" else "nf_tables"
    assert expected in host.check_output("iptables --version")


def test_kernel_parameters(host: Host) -> None:
    keys = "net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse net.ipv4.tcp_timestamps net.ipv4.tcp_keepalive_time"
    *live, somaxconn = host.check_output(f"sysctl -n {keys} net.core.somaxconn").splitlines()
    assert live == ["10240\t65535", "1", "1", "60"]
    assert int(somaxconn) >= 4096


def test_open_files_of_what_runs(host: Host) -> None:
    soft, hard = host.check_output(f"awk '/^Max open files/ {{ print $4, $5 }}' {ENVOY}/limits").split()
    assert soft == OPEN_FILES
    assert int(hard) > int(OPEN_FILES), "the hard limit is not lowered"


def test_open_files_of_a_session(host: Host) -> None:
    assert host.file("/etc/security/limits.d/zz-hostguard.conf").contains(OPEN_FILES)


def test_the_slice(host: Host) -> None:
    assert "/hostguard-egress.slice/envoy.service" in host.check_output(f"cat {ENVOY}/cgroup")
    # One of the two, whichever hierarchy this machine has.
    either = " -o ".join(f"-path '*/hostguard-egress.slice/memory.{name}'" for name in ("limit_in_bytes", "max"))
    limits = host.check_output(f"find /sys/fs/cgroup \\( {either} \\) -exec cat {{}} +").split()
    assert limits == [str(512 * 2**20)]


def test_the_secrets(host: Host) -> None:
    mount = host.mount_point("/run/secrets")
    assert mount.exists
    assert mount.filesystem == "tmpfs"
    assert {"nosuid", "nodev", "noexec"} <= set(mount.options)
    folder = host.file("/run/secrets")
    assert (folder.mode, folder.user, folder.group) == (0o750, "vault-agent", "envoy")
