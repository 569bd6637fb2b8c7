"""What only a kernel of its own shows, asked with the host's own tools: none of hostguard's code is used here."""

from __future__ import annotations

import os

from testinfra.host import Host

testinfra_hosts = [os.environ["HOSTGUARD_HOST"]]

PROVIDER, ENEMY, CALLER = "10.0.2.100", "10.0.2.101", "10.0.2.2"
DROPPED = "iptables -vnxL HOSTGUARD-OUTPUT | awk 'END { print $3, $1 }'"
SLICE = "hostguard.slice/hostguard-egress.slice"


def reaches(account: str, address: str) -> str:
    return f"runuser -u {account} -- nc -zw3 {address} 443; echo $?"


def test_what_is_sanctioned_gets_out_and_nothing_else_does(host: Host) -> None:
    """Each of these got out before (prepare.yml). The chain's last rule counts what it has dropped."""
    asked = [reaches("envoy", PROVIDER), DROPPED, reaches("envoy", ENEMY), DROPPED, reaches("root", PROVIDER), DROPPED]
    sanctioned, before, enemy, between, past_the_proxy, after = host.check_output("; ".join(asked)).splitlines()
    assert (sanctioned, enemy, past_the_proxy) == ("0", "1", "1")
    counts = []
    for said in (before, between, after):
        target, packets = said.split()
        assert target == "DROP"
        counts.append(int(packets))
    assert counts[0] < counts[1] < counts[2]


def test_connections_are_tracked(host: Host) -> None:
    """They were not before, and the session that applied lived on: converge had its answer over it."""
    flows = host.check_output("conntrack -L -p tcp --orig-port-dst 22").splitlines()
    assert [flow for flow in flows if f"src={CALLER} " in flow and "ESTABLISHED" in flow]


def test_the_slice_in_version_2(host: Host) -> None:
    files = " ".join(f"/sys/fs/cgroup/{SLICE}/{name}" for name in ("memory.max", "cpu.max", "pids.max"))
    asked = f"cat /proc/$(systemctl show --value --property=MainPID envoy.service)/cgroup {files}"
    assert host.check_output(asked).splitlines() == [
        f"0::/{SLICE}/envoy.service",  # the only line: there is no other hierarchy
        str(512 * 2**20),
        "150000 100000",
        "512",
    ]


def test_secrets_are_never_swapped(host: Host) -> None:
    assert "noswap" in host.mount_point("/run/secrets").options


def test_kernel_parameters_of_the_whole_machine(host: Host) -> None:
    live = host.check_output("sysctl -n vm.swappiness fs.nr_open fs.file-max").splitlines()
    swappiness, nr_open, file_max = map(int, live)
    assert swappiness == 10
    assert nr_open >= 1048576
    assert file_max >= 1048576
