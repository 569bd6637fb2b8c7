"""The lab keeps its own promises: a host is a host, a reboot is a reboot, and the machine notices nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Host, Lab, diff
from tests.lab.fixture import MakeHost
from tests.lab.host import PYTHON_SETTINGS
from tests.lab.lab import containers
from tests.lab.network import ENEMY, ENEMY_V6, MANAGEMENT, PROVIDER, PROVIDER_V6, RESOLVER, namespaces
from tests.lab.process import call
from tests.patience import whole

pytestmark = pytest.mark.needs("lab")

MACHINE = (
    "iptables-save",
    "ip6tables-save",
    "ip -oneline address",
    "ip route",
    "sysctl net fs kernel.pid_max vm.swappiness",
)
# Counters and caches of the machine that move whatever anybody does.
RESTLESS = (
    "fs.dentry-",
    "fs.inode-",
    "fs.file-nr",
    "fs.quota.",
    "fs.aio-nr",
    "net.netfilter.nf_conntrack_count",
    "#",
)

SLICE = "[Slice]\nMemoryMax=64M\nCPUQuota=50%\nTasksMax=77\n"


def machine() -> set[str]:
    said = "\n".join(call(command.split(), check=False).stdout for command in MACHINE)
    return {line for line in said.splitlines() if not line.startswith(RESTLESS)}


@pytest.fixture(scope="module", autouse=True)
def machine_untouched() -> Iterator[None]:
    """Asked for before the lab exists and after it is gone."""
    before = machine()
    yield
    after = machine()
    assert before - after == set()
    # A module that the namespace of a test beside this one had loaded brings parameters of its own.
    assert {line for line in after - before if " = " not in line} == set()


@pytest.fixture(params=["nft", "legacy"])
def host(request: pytest.FixtureRequest, lab_host: MakeHost) -> Host:
    return lab_host(request.param, backend=request.param)


def test_boots_without_a_failed_unit(host: Host) -> None:
    assert host.state() == "running"
    assert host.out("systemctl is-active envoy.service") == "active"
    assert host.out("ps -o user= -C sleep") == "envoy"


@pytest.mark.parametrize("program", ["iptables", "ip6tables"])
def test_backend_is_the_one_asked_for(host: Host, program: str) -> None:
    assert host.backend == host.hostname  # the fixture names them so
    name = {"nft": "nf_tables", "legacy": "legacy"}[host.hostname]
    assert host.out([program, "--version"]).endswith(f"({name})")


@pytest.mark.parametrize(
    "address", [RESOLVER, MANAGEMENT, PROVIDER, ENEMY, PROVIDER_V6, ENEMY_V6], ids=lambda address: address
)
def test_every_address_of_the_world_answers(host: Host, address: str) -> None:
    assert "refused" in host.run(["nc", "-vz", "-w", whole(2), address, "9"], check=False).stderr


def test_addresses_outside_the_world_do_not(host: Host) -> None:
    assert "timed out" in host.run(["nc", "-vzw1", "192.0.2.1", "9"], check=False).stderr


def test_rules_stop_packets(host: Host) -> None:
    host.run("ipset create bad hash:ip && ipset add bad 198.51.100.66")
    host.run("iptables -A OUTPUT -m set --match-set bad dst -j DROP")
    host.run(f"ip6tables -A OUTPUT -d {ENEMY_V6} -m owner --uid-owner 0 -j DROP")
    try:
        for address in (ENEMY, ENEMY_V6):
            assert "timed out" in host.run(["nc", "-vzw1", address, "9"], check=False).stderr
        assert "refused" in host.run(["nc", "-vz", "-w", whole(1), PROVIDER, "9"], check=False).stderr
    finally:
        host.run("iptables -F; ip6tables -F; ipset destroy bad")


def test_slice_limits_reach_the_kernel(host: Host) -> None:
    host.write("/etc/systemd/system/jail.slice", SLICE)
    host.run("systemctl daemon-reload && systemd-run --slice=jail --unit=prisoner sleep 1000")
    try:
        files = "memory/jail.slice/memory.limit_in_bytes pids/jail.slice/pids.max cpu/jail.slice/cpu.cfs_quota_us"
        assert host.out(f"cd /sys/fs/cgroup && cat {files}").split() == [str(64 << 20), "77", "50000"]
        assert host.out("systemd-run --wait --pipe --quiet -p User=envoy id -un") == "envoy"
    finally:
        host.run("systemctl stop prisoner jail.slice; rm /etc/systemd/system/jail.slice; systemctl daemon-reload")


def test_sysctls_of_the_machine_are_refused(host: Host) -> None:
    before = Path("/proc/sys/vm/swappiness").read_text()
    assert host.run("echo 1 > /proc/sys/vm/swappiness", check=False).returncode
    assert Path("/proc/sys/vm/swappiness").read_text() == before


def test_hostguards_libraries_load(host: Host) -> None:
    host.run(["python3", "-c", "import hostguard, jinja2, pydantic, pyroute2, typer"], env=PYTHON_SETTINGS)
    assert host.run("touch /opt/hostguard-src/mark", check=False).returncode


def test_dump_sees_what_changed_and_forgets_what_was_undone(host: Host) -> None:
    host.run("nft flush ruleset")
    before = host.dump()
    host.write("/etc/sysctl.d/60-test.conf", "net.core.somaxconn = 999\n")
    host.run("iptables -P FORWARD DROP; ipset create seen hash:ip; sysctl -qw net.core.somaxconn=999")
    host.run("mkdir /run/secrets && mount -t tmpfs -o mode=700 none /run/secrets")
    sections = {line.split(":")[0] for line in diff(before, host.dump(), ignore=["legacy tables"])}
    assert sections >= {"files", "sysctl", "ipset", "mounts", "run", "units"}
    assert sections & {"iptables", "iptables-legacy"}

    host.run("umount /run/secrets; rmdir /run/secrets; sysctl -qw net.core.somaxconn=4096; ipset destroy seen")
    host.run("rm /etc/sysctl.d/60-test.conf; iptables -P FORWARD ACCEPT; nft flush ruleset")
    assert diff(before, host.dump(), ignore=["legacy tables"]) == []


def test_reboot_loses_the_kernels_state_and_keeps_the_files(host: Host) -> None:
    host.reboot()
    before = host.dump()
    identity = host.out("cat /etc/machine-id /proc/sys/kernel/random/boot_id").split()
    host.run("sysctl -qw net.core.somaxconn=999; iptables -P FORWARD DROP; ipset create lost hash:ip")
    host.run("touch /run/lost /etc/kept")
    assert host.reboot() == "running"
    changes = diff(before, host.dump())
    assert [line.split(" root:")[0] for line in changes] == ["files: + /etc/kept"]
    again = host.out("cat /etc/machine-id /proc/sys/kernel/random/boot_id").split()
    assert (again[0] == identity[0], again[1] == identity[1]) == (True, False)
    host.run("rm /etc/kept")


def test_reboot_applies_sysctl_d(host: Host) -> None:
    """Also when one of the values is the machine's, which no container may set."""
    host.write("/etc/sysctl.d/60-test.conf", "vm.swappiness = 1\nnet.core.somaxconn = 12345\n")
    host.reboot()
    assert host.out("sysctl -n net.core.somaxconn") == "12345"
    host.run("rm /etc/sysctl.d/60-test.conf")


def test_what_a_killed_owner_left_is_swept() -> None:
    """The owner dies without a chance to clean up; the next lab removes its host (another test's may be that one)."""
    program = (
        "from tests.lab import Lab; lab = Lab(); lab.start(); lab.host('orphan'); print('up', flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2], **pipes) as owner:
        assert owner.stdout.readline() == "up\n"
        assert any(name.endswith("-orphan") for name in containers())
        owner.kill()
    with Lab():
        assert not any(name.endswith("-orphan") for name in [*containers(), *namespaces()])
