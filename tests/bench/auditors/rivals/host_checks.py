"""The controls of the example policy as testinfra tests, one each, as who knows testinfra would write them.

It runs on the host. What is a number in the policy stands here; rules, sets and files are compared with copies that
somebody has looked at and kept: `python3 host_checks.py` keeps them.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from testinfra.host import Host

OPEN_FILES = 16384
SERVICE, SLICE, SECRETS = "envoy.service", "hostguard-egress.slice", "/run/secrets"
EPHEMERAL = range(10240, 65536)
SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSW(OR)?D|CREDENTIAL)[A-Z_]*=", re.IGNORECASE)
BOOT = "systemd-analyze cat-config sysctl.d | grep -E '^-?{key} *=' | tail -n 1"
COPIES = Path(__file__).with_name("kept")


def rules(hook: str, table: str = "filter") -> str:
    return "; ".join(f"{command} -t {table} -S {chain}" for command in ("iptables", "ip6tables")
                     for chain in (hook, f"HOSTGUARD-{hook}"))  # fmt: skip


SETS = "ipset save | sed 's/ bucketsize.*//' | grep -v '^add hostguard-4-HELD' | sort"
KEPT = {
    "output": rules("OUTPUT"),
    "input": rules("INPUT"),
    "forward": rules("FORWARD", "mangle"),
    "destinations": f"{SETS} | grep -v INBOUND",
    "inbound": f"{SETS} | grep INBOUND",
    "other-backend": "(iptables-legacy-save; ip6tables-legacy-save) | sed '/^#/d; /ACCEPT \\[/d; /^[*C]/d'",
    "boot-files": "cd /etc/hostguard/egress && head -n -0 sets ipv4.rules ipv6.rules",
    "boot-unit": "systemctl show --property=ExecStart hostguard-egress.service | sed 's/start_time=.*//'; "
    "systemctl show --property=Before hostguard-egress.service | grep -o network-pre.target",
    "other-tables": "for table in raw mangle nat; do iptables -t $table -S; ip6tables -t $table -S; done; "
    "nft list tables | sed -E '/ip6? (raw|mangle|nat|filter)$/d'",
    "defaults-file": "cat /etc/systemd/system.conf.d/zz-hostguard.conf",
    "limits-drop-in": f"cat /etc/systemd/system/{SERVICE}.d/zz-hostguard-limits.conf",
    "slice-drop-in": f"cat /etc/systemd/system/{SERVICE}.d/zz-hostguard-slice.conf",
    "limits-file": "cat /etc/security/limits.d/zz-hostguard.conf",
    "slice-file": f"cat /etc/systemd/system/{SLICE}",
    "mount-file": "cat /etc/systemd/system/run-secrets.mount",
}


def is_as_kept(host: Host, name: str) -> None:
    assert host.check_output(KEPT[name]) == (COPIES / name).read_text().rstrip("\n")


def parameter(host: Host, key: str, wanted: int | str) -> None:
    """Live, and what the last file sets at the next boot."""
    assert host.sysctl(key) == wanted
    assert at_boot(host, key) == str(wanted).split()


def at_least(host: Host, key: str, wanted: int, unsaid: bool = False) -> None:
    """The same where more is as good; and where nobody need say it at boot (`unsaid`)."""
    assert host.sysctl(key) >= wanted
    said = at_boot(host, key)
    assert (unsaid and not said) or int(said[0]) >= wanted


def at_boot(host: Host, key: str) -> list[str]:
    return host.check_output(BOOT.format(key=key)).partition("=")[2].split()


def shown(host: Host, unit: str, *properties: str) -> list[str]:
    return host.check_output(f"systemctl show --value --property={','.join(properties)} {unit}").splitlines()


def processes(host: Host) -> list[str]:
    return shown(host, SERVICE, "MainPID")


def test_platform_aes(host: Host) -> None:
    info = host.file("/proc/cpuinfo").content_string
    assert len(re.findall(r"^flags.* aes ", info, re.MULTILINE)) == len(re.findall("^processor", info, re.MULTILINE))


def test_platform_kernel(host: Host) -> None:
    release = host.check_output("uname -r")
    assert [int(part) for part in release.split("-")[0].split(".")[:2]] >= [4, 18]


def test_platform_openssl(host: Host) -> None:
    assert re.match(r"OpenSSL (1\.1\.1|3\.)", host.check_output("openssl version"))
    assert host.package("libssl3").is_installed


def test_platform_openssl_running(host: Host) -> None:
    assert host.run("grep -lE 'lib(ssl|crypto).*deleted' /proc/[0-9]*/maps 2>/dev/null").stdout == ""


def test_platform_cpus(host: Host) -> None:
    assert int(host.check_output("nproc")) >= 2


def test_egress_output(host: Host) -> None:
    is_as_kept(host, "output")
    is_as_kept(host, "other-tables")


def test_egress_destinations(host: Host) -> None:
    is_as_kept(host, "destinations")


def test_egress_replies(host: Host) -> None:
    is_as_kept(host, "input")
    is_as_kept(host, "inbound")


def test_egress_forward(host: Host) -> None:
    is_as_kept(host, "forward")


def test_egress_boot(host: Host) -> None:
    is_as_kept(host, "boot-files")
    is_as_kept(host, "boot-unit")
    assert host.service("hostguard-egress").is_enabled


def test_egress_other_backend(host: Host) -> None:
    is_as_kept(host, "other-backend")


def test_kernel_somaxconn(host: Host) -> None:
    at_least(host, "net.core.somaxconn", 4096)


def test_kernel_syn_backlog(host: Host) -> None:
    at_least(host, "net.ipv4.tcp_max_syn_backlog", 4096)


def test_kernel_syncookies(host: Host) -> None:
    parameter(host, "net.ipv4.tcp_syncookies", 1)


def test_kernel_tw_reuse(host: Host) -> None:
    parameter(host, "net.ipv4.tcp_tw_reuse", 1)
    parameter(host, "net.ipv4.tcp_timestamps", 1)


def test_kernel_port_range(host: Host) -> None:
    parameter(host, "net.ipv4.ip_local_port_range", "10240\t65535")


def test_kernel_listening_ports(host: Host) -> None:
    open_ports = {address.rpartition(":")[2] for address in host.socket.get_listening_sockets() if "tcp" in address}
    assert not [port for port in open_ports if int(port) in EPHEMERAL]


def test_kernel_keepalive(host: Host) -> None:
    parameter(host, "net.ipv4.tcp_keepalive_time", 60)
    parameter(host, "net.ipv4.tcp_keepalive_intvl", 10)
    parameter(host, "net.ipv4.tcp_keepalive_probes", 6)


def test_kernel_fin_timeout(host: Host) -> None:
    parameter(host, "net.ipv4.tcp_fin_timeout", 30)


def test_kernel_nr_open(host: Host) -> None:
    at_least(host, "fs.nr_open", OPEN_FILES, unsaid=True)


def test_kernel_file_max(host: Host) -> None:
    at_least(host, "fs.file-max", OPEN_FILES, unsaid=True)


@pytest.mark.parametrize("account", ["root", "envoy", "vault-agent"])
def test_limits_pam(host: Host, account: str) -> None:
    """What a session of the account gets, whichever file says so."""
    is_as_kept(host, "limits-file")
    said = host.check_output(f"runuser -u {account} -- sh -c 'ulimit -Sn; ulimit -Hn'")
    assert said.split() == [str(OPEN_FILES)] * 2


def test_limits_systemd_default(host: Host) -> None:
    is_as_kept(host, "defaults-file")
    assert shown(host, "", "DefaultLimitNOFILESoft") == [str(OPEN_FILES)]


def test_limits_units(host: Host) -> None:
    is_as_kept(host, "limits-drop-in")
    assert shown(host, SERVICE, "LimitNOFILE", "LimitNOFILESoft") == ["524288", str(OPEN_FILES)]


def test_limits_running(host: Host) -> None:
    for pid in processes(host):
        limits = host.file(f"/proc/{pid}/limits").content_string
        assert re.search(rf"^Max open files +{OPEN_FILES} +{OPEN_FILES} ", limits, re.MULTILINE)


def test_slices_limits(host: Host) -> None:
    is_as_kept(host, "slice-file")
    assert host.service(SLICE).is_enabled
    assert set(shown(host, SLICE, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec")) == {"536870912", "512", "1.500000s"}
    # Whichever hierarchy of cgroups this machine has.
    found = host.check_output(f"find /sys/fs/cgroup -path '*/{SLICE}/*' -name pids.max -not -path '*.service/*'")
    assert [host.file(path).content_string.strip() for path in found.split()] == ["512"]


def test_slices_members(host: Host) -> None:
    is_as_kept(host, "slice-drop-in")
    assert shown(host, SERVICE, "Slice") == [SLICE]


def test_slices_running(host: Host) -> None:
    for pid in processes(host):
        assert SLICE in host.file(f"/proc/{pid}/cgroup").content_string


def test_secrets_mount(host: Host) -> None:
    mount, folder = host.mount_point(SECRETS), host.file(SECRETS)
    assert mount.filesystem == "tmpfs"
    assert {"nosuid", "nodev", "noexec", "size=16384k"} <= set(mount.options)
    assert (folder.mode, folder.user, folder.group) == (0o750, "vault-agent", "envoy")
    assert host.check_output(f"grep -c ' {SECRETS}[ /]' /proc/self/mountinfo") == "1"  # nothing over it or in it


def test_secrets_boot(host: Host) -> None:
    is_as_kept(host, "mount-file")
    assert host.service("run-secrets.mount").is_enabled


def test_secrets_swap(host: Host) -> None:
    assert "noswap" in host.mount_point(SECRETS).options


def test_secrets_permissions(host: Host) -> None:
    assert host.check_output(f"find {SECRETS} -mindepth 1 '(' -perm /007 -o -type l ')'") == ""


def test_secrets_environment(host: Host) -> None:
    said = host.check_output("systemctl show --property=Environment,EnvironmentFiles '*.service'")
    assert not SECRET.search(said.replace("Environment=", ""))
    for path in re.findall(r"^EnvironmentFiles=(\S+)", said, re.MULTILINE):
        file = host.file(path)
        assert not (file.exists and SECRET.search(file.content_string))


if __name__ == "__main__":
    COPIES.mkdir(exist_ok=True)
    for name, command in KEPT.items():
        (COPIES / name).write_text(
            subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout
        )
