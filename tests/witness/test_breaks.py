"""A hardened host, broken one way at a time: the audit must turn exactly the control that the break is about."""

from __future__ import annotations

import json

import pytest

from tests.lab import Host
from tests.lab.fixture import MakeHost
from tests.witness import policy

# (what was done, how, how it is undone, the control that must fail): each shadows or goes round what hostguard wrote.
UNIT = "/etc/systemd/system"
BREAKS = [
    ("a rule of another tool before ours", "iptables -I OUTPUT -d 192.0.2.1 -j ACCEPT", "iptables -D OUTPUT 1",
     "egress.output"),
    ("the policy of one family", "ip6tables -P OUTPUT ACCEPT", "ip6tables -P OUTPUT DROP", "egress.output"),
    ("a rule within our chain", "iptables -I HOSTGUARD-OUTPUT 3 -p udp -j ACCEPT", "iptables -D HOSTGUARD-OUTPUT 3",
     "egress.output"),
    ("an address more", "ipset add hostguard-4-envoy 192.0.2.1,tcp:443",
     "ipset del hostguard-4-envoy 192.0.2.1,tcp:443", "egress.destinations"),
    ("a stranger who is answered", "ipset add hostguard-4-INBOUND 192.0.2.0/24,tcp:22",
     "ipset del hostguard-4-INBOUND 192.0.2.0/24,tcp:22", "egress.replies"),
    ("containers that are let out first", "iptables -I FORWARD -j ACCEPT", "iptables -D FORWARD 1", "egress.forward"),
    ("a drop-in that loads nothing at boot",
     f"mkdir -p {UNIT}/hostguard-egress.service.d; printf '[Service]\\nExecStart=\\nExecStart=true\\n' "
     f"> {UNIT}/hostguard-egress.service.d/a.conf; systemctl daemon-reload",
     f"rm -r {UNIT}/hostguard-egress.service.d; systemctl daemon-reload", "egress.boot"),
    ("a boot file changed", "echo >> /etc/hostguard/egress/ipv4.rules", "sed -i '$d' /etc/hostguard/egress/ipv4.rules",
     "egress.boot"),
    ("a parameter undone at run time", "sysctl -qw net.ipv4.tcp_fin_timeout=61",
     "sysctl -qw net.ipv4.tcp_fin_timeout=30", "kernel.fin-timeout"),
    ("a parameter undone at the next boot", "echo net.ipv4.tcp_fin_timeout=61 > /etc/sysctl.d/zzz.conf",
     "rm /etc/sysctl.d/zzz.conf", "kernel.fin-timeout"),
    ("an account's own limit", "echo 'envoy - NOFILE 256 too many words' > /etc/security/limits.d/10-envoy.conf",
     "rm /etc/security/limits.d/10-envoy.conf", "limits.pam"),
    ("a later limit of a service",
     f"printf '[Service]\\nLimitNOFILE=512\\n' > {UNIT}/envoy.service.d/zzz.conf; systemctl daemon-reload",
     f"rm {UNIT}/envoy.service.d/zzz.conf; systemctl daemon-reload", "limits.units"),
    ("a running process's limit", "runuser -u envoy -- prlimit --nofile=100: --pid $(pgrep -u envoy -o)",
     "systemctl restart envoy", "limits.running"),
    ("a slice's limit at run time", "systemctl set-property --runtime hostguard-egress.slice TasksMax=9",
     "rm -r /run/systemd/system.control/hostguard-egress.slice.d; systemctl daemon-reload", "slices.limits"),
    ("another slice in a later drop-in",
     f"printf '[Service]\\nSlice=system.slice\\n' > {UNIT}/envoy.service.d/zzz.conf; systemctl daemon-reload",
     f"rm {UNIT}/envoy.service.d/zzz.conf; systemctl daemon-reload", "slices.members"),
    ("a folder of the disk within the secrets",
     "mkdir -p /var/lib/x /run/secrets/x; chmod 700 /run/secrets/x /var/lib/x; mount --bind /var/lib/x /run/secrets/x",
     "umount /run/secrets/x; rmdir /run/secrets/x", "secrets.mount"),
    ("a disk over what the secrets are in", "mkdir -m 700 /var/lib/y; mount --bind /var/lib/y /run/secrets",
     "umount /run/secrets", "secrets.mount"),
    ("a secret that all may read", "touch /run/secrets/a; chmod 644 /run/secrets/a", "rm /run/secrets/a",
     "secrets.permissions"),
    ("a secret that is a link to the disk", "ln -s /var/lib/a /run/secrets/a", "rm /run/secrets/a",
     "secrets.permissions"),
    ("a mount unit that nobody starts", "systemctl disable run-secrets.mount", "systemctl enable run-secrets.mount",
     "secrets.boot"),
    ("a secret in a file of variables",
     f"printf 'STRIPE_API_KEY=1\\n' > /etc/default/envoy; printf '[Service]\\nEnvironmentFile=/etc/default/envoy\\n' "
     f"> {UNIT}/envoy.service.d/10-env.conf; systemctl daemon-reload",
     f"rm {UNIT}/envoy.service.d/10-env.conf; systemctl daemon-reload", "secrets.environment"),
]  # fmt: skip


def failing(host: Host) -> dict[str, str]:
    report = json.loads(host.hostguard("audit", "--format", "json").stdout)["hosts"][0]["results"]
    return {r["id"]: r["actual"] for r in report if r["status"] not in ("pass", "not_applicable")}


@pytest.fixture(scope="module")
def hardened(lab_host: MakeHost) -> Host:
    host = lab_host("hardened")
    policy.install(host)
    assert host.hostguard("apply", "--yes", "--restart", "--confirm-within", "0").returncode == 0
    assert failing(host) == {}
    return host


@pytest.mark.parametrize(("broken", "mended", "control"), [pytest.param(*row[1:], id=row[0]) for row in BREAKS])
def test_the_audit_notices(hardened: Host, broken: str, mended: str, control: str) -> None:
    hardened.run(broken)
    try:
        assert list(failing(hardened)) == [control]
    finally:
        hardened.run(mended)


def test_what_was_mended_is_seen_to_be(hardened: Host) -> None:
    assert failing(hardened) == {}


def test_without_root_nothing_passes_that_was_not_seen(hardened: Host) -> None:
    hardened.run("chmod 755 /opt/hostguard-lib /opt/hostguard-src", check=False)
    done = hardened.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "python3", "-m", "hostguard", "audit",
         "--format", "json"],
        check=False, env={"PYTHONPATH": "/opt/hostguard-lib:/opt/hostguard-src", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    found = {r["id"]: r["status"] for r in json.loads(done.stdout)["hosts"][0]["results"]}
    assert "fail" not in found.values()
    for control in ("egress.output", "egress.destinations", "secrets.permissions", "platform.openssl-running"):
        assert found[control] == "unknown", control
