"""Secrets that came by themselves, looked at with the hosts' own tools; hostguard itself is asked for its audit alone.

What they hold is compared by its hash, or by grep on the host: a test that fails shows none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

AGENTS = [os.environ["HOSTGUARD_HOST"], os.environ["HOSTGUARD_HOST"] + "-13"]
SERVER = os.environ["HOSTGUARD_HOST"] + "-vault"
SCENARIO = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
testinfra_hosts = AGENTS

UNIT, FOLDER = "hostguard-agent.service", "/run/secrets"
NEW, OLD, PEM = f"{FOLDER}/payments/new", f"{FOLDER}/payments/old", f"{FOLDER}/mtls/pem"
OF_SERVER = {
    NEW: "administer kv get -field=key secret/payments",
    OLD: "administer kv get -field=previous secret/payments 2>&- || administer kv get -field=key secret/payments",
    PEM: "for field in cert key; do administer kv get -field=$field secret/mtls; echo; done",
}
"""By file: what the server has for it. Without a key before the last one, both files hold that."""
ROTATED = """
for _ in $(seq 200); do
  test "$(sha256sum < {file})" = "{sum}" && exit
  sleep 0.1
done
exit 1
"""


def at_server(command: str) -> str:
    return str(testinfra.get_host(SERVER).check_output(command))


def sum_at_server(command: str) -> str:
    return at_server(f"{{ {command}; }} | sha256sum")


def is_13(host: Host) -> bool:
    return bool(host.check_output("hostname").endswith("-13"))


@pytest.mark.parametrize("path", OF_SERVER)
def test_a_file_holds_what_the_server_has_for_its_group_alone(host: Host, path: str) -> None:
    for each, mode in ((path, 0o440), (path.rpartition("/")[0], 0o2750)):
        found = host.file(each)
        assert (found.user, found.group, found.mode) == ("vault-agent", "shop", mode)
    assert host.check_output(f"sha256sum < {path}") == sum_at_server(OF_SERVER[path])
    assert host.run(f"runuser -u nobody -- cat {path}").rc == 1


def test_they_are_in_memory(host: Host) -> None:
    mount = host.mount_point(FOLDER)
    assert mount.filesystem == "tmpfs"
    assert {"nosuid", "nodev", "noexec"} <= set(mount.options)


def test_no_disk_has_them(host: Host) -> None:
    """The host's whole file system and its journal; the agent's token and what it logged in with are its own."""
    host.check_output(f"cat {NEW} > /run/planted; echo >> /run/planted; tail -n 1 {PEM} >> /run/planted")
    found = host.run("find / -xdev -type f -size -20M -exec grep -lFf /run/planted {} +")
    assert found.stdout == ""
    assert host.run("journalctl --no-pager | grep -cFf /run/planted").stdout == "0\n"
    host.check_output("rm /run/planted")


def test_what_it_logs_in_with(host: Host) -> None:
    files = ["/etc/vault-agent/role-id"]
    if is_13(host):
        # What wraps is good once, and gone.
        assert (
            host.check_output("stat -c '%a %U' /var/lib/vault-agent; ls -A /var/lib/vault-agent") == "700 vault-agent"
        )
    else:
        files.append("/etc/vault-agent/secret-id")
    for path in files:
        assert (host.file(path).user, host.file(path).mode) == ("vault-agent", 0o400)


def test_the_unit_and_its_sandbox(host: Host) -> None:
    wanted = {
        "ActiveState": "active", "UnitFileState": "enabled", "User": "vault-agent", "NoNewPrivileges": "yes",
        "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateDevices": "yes", "MemoryDenyWriteExecute": "yes",
        "CapabilityBoundingSet": "", "RestrictNamespaces": "yes", "LimitCORE": "1", "MemorySwapMax": "0",
    }  # fmt: skip
    said = host.check_output(f"systemctl show --property={','.join(wanted)} {UNIT}").splitlines()
    assert dict(line.split("=", 1) for line in said) == wanted
    kernel = host.check_output(f"cat /proc/$(systemctl show --value --property=MainPID {UNIT})/status")
    for line in ("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in kernel


def test_the_audit_passes(host: Host) -> None:
    name = host.check_output("hostname")
    at = next(each for each in AGENTS if each.endswith(name))
    policy = SCENARIO / f"{name}.yml"
    asked = [sys.executable, "-m", "hostguard", "audit", "--host", at, "-p", str(policy), "--format", "json"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    results = {each["id"]: each for each in json.loads(done.stdout)["hosts"][0]["results"]}
    for control in ("secrets.agent", "secrets.agent-fresh", "secrets.rotation", "secrets.mount", "secrets.boot"):
        assert results[control]["status"] == "pass", results[control]


def test_who_reaches_the_server(host: Host) -> None:
    """On Debian 13, which has the whole policy, the agent alone."""
    server = testinfra.get_host(SERVER).interface("eth0").addresses[0]
    tried = f"nc -vzw1 {server} 8200 2>&1 | grep -oE 'succeeded|timed out'"
    others = "timed out" if is_13(host) else "succeeded"
    said = host.check_output(f'for each in vault-agent root nobody; do runuser -u $each -- sh -c "{tried}"; done')
    assert said.splitlines() == ["succeeded", others, others]


def test_a_new_version_arrives_and_the_old_one_stays_beside_it(host: Host) -> None:
    before = host.check_output(f"sha256sum < {NEW}")
    at_server(
        "administer kv put secret/payments previous=$(administer kv get -field=key secret/payments) "
        "key=$(openssl rand -hex 16)"
    )
    for file, sum_ in ((NEW, sum_at_server(OF_SERVER[NEW])), (OLD, before)):
        assert host.run(ROTATED.format(file=file, sum=sum_)).rc == 0, file
    assert host.check_output(f"sha256sum < {NEW}") != before
