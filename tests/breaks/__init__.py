"""What breaks a hardened host: each shadows or goes round what hostguard wrote, and exactly one control must fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Break:
    """`broken` and `mended` are shell scripts that root runs on the host; `control` is the one that must fail."""

    name: str
    broken: str
    mended: str
    control: str


UNIT = "/etc/systemd/system"

BREAKS: tuple[Break, ...] = (
    Break(
        "a rule of another tool before ours",
        "iptables -I OUTPUT -d 192.0.2.1 -j ACCEPT",
        "iptables -D OUTPUT 1",
        "egress.output",
    ),
    Break("the policy of one family", "ip6tables -P OUTPUT ACCEPT", "ip6tables -P OUTPUT DROP", "egress.output"),
    Break(
        "a rule within our chain",
        "iptables -I HOSTGUARD-OUTPUT 3 -p udp -j ACCEPT",
        "iptables -D HOSTGUARD-OUTPUT 3",
        "egress.output",
    ),
    Break(
        "an address more",
        "ipset add hostguard-4-envoy 192.0.2.1,tcp:443",
        "ipset del hostguard-4-envoy 192.0.2.1,tcp:443",
        "egress.destinations",
    ),
    Break(
        "a stranger who is answered",
        "ipset add hostguard-4-INBOUND 192.0.2.0/24,tcp:22",
        "ipset del hostguard-4-INBOUND 192.0.2.0/24,tcp:22",
        "egress.replies",
    ),
    Break(
        "containers that are let out first", "iptables -I FORWARD -j ACCEPT", "iptables -D FORWARD 1", "egress.forward"
    ),
    Break(
        "a drop-in that loads nothing at boot",
        f"mkdir -p {UNIT}/hostguard-egress.service.d; printf '[Service]\\nExecStart=\\nExecStart=true\\n' "
        f"> {UNIT}/hostguard-egress.service.d/a.conf; systemctl daemon-reload",
        f"rm -r {UNIT}/hostguard-egress.service.d; systemctl daemon-reload",
        "egress.boot",
    ),
    Break(
        "a boot file changed",
        "echo >> /etc/hostguard/egress/ipv4.rules",
        "sed -i '$d' /etc/hostguard/egress/ipv4.rules",
        "egress.boot",
    ),
    Break(
        "a parameter undone at run time",
        "sysctl -qw net.ipv4.tcp_fin_timeout=61",
        "sysctl -qw net.ipv4.tcp_fin_timeout=30",
        "kernel.fin-timeout",
    ),
    Break(
        "a parameter undone at the next boot",
        "echo net.ipv4.tcp_fin_timeout=61 > /etc/sysctl.d/zzz.conf",
        "rm /etc/sysctl.d/zzz.conf",
        "kernel.fin-timeout",
    ),
    Break(
        "an account's own limit",
        "echo 'envoy - NOFILE 256 too many words' > /etc/security/limits.d/10-envoy.conf",
        "rm /etc/security/limits.d/10-envoy.conf",
        "limits.pam",
    ),
    Break(
        "a later limit of a service",
        f"printf '[Service]\\nLimitNOFILE=512\\n' > {UNIT}/envoy.service.d/zzz.conf; systemctl daemon-reload",
        f"rm {UNIT}/envoy.service.d/zzz.conf; systemctl daemon-reload",
        "limits.units",
    ),
    Break(
        "a running process's limit",
        "runuser -u envoy -- prlimit --nofile=100: --pid $(pgrep -u envoy -o)",
        "systemctl restart envoy",
        "limits.running",
    ),
    Break(
        "a slice's limit at run time",
        "systemctl set-property --runtime hostguard-egress.slice TasksMax=9",
        "rm -r /run/systemd/system.control/hostguard-egress.slice.d; systemctl daemon-reload",
        "slices.limits",
    ),
    Break(
        "another slice in a later drop-in",
        f"printf '[Service]\\nSlice=system.slice\\n' > {UNIT}/envoy.service.d/zzz.conf; systemctl daemon-reload",
        f"rm {UNIT}/envoy.service.d/zzz.conf; systemctl daemon-reload",
        "slices.members",
    ),
    Break(
        "a folder of the disk within the secrets",
        "mkdir -p -m 700 /var/lib/x /run/secrets/x; mount --bind /var/lib/x /run/secrets/x",
        "umount /run/secrets/x; rmdir /run/secrets/x",
        "secrets.mount",
    ),
    Break(
        "a disk over what the secrets are in",
        "mkdir -m 700 /var/lib/y; mount --bind /var/lib/y /run/secrets",
        "umount /run/secrets",
        "secrets.mount",
    ),
    Break(
        "a secret that all may read",
        "touch /run/secrets/a; chmod 644 /run/secrets/a",
        "rm /run/secrets/a",
        "secrets.permissions",
    ),
    Break(
        "a secret that is a link to the disk",
        "ln -s /var/lib/a /run/secrets/a",
        "rm /run/secrets/a",
        "secrets.permissions",
    ),
    Break(
        "a mount unit that nobody starts",
        "systemctl disable run-secrets.mount",
        "systemctl enable run-secrets.mount",
        "secrets.boot",
    ),
    Break(
        "a secret in a file of variables",
        "printf 'STRIPE_API_KEY=1\\n' > /etc/default/envoy; "
        f"printf '[Service]\\nEnvironmentFile=/etc/default/envoy\\n' > {UNIT}/envoy.service.d/10-env.conf; "
        "systemctl daemon-reload",
        f"rm {UNIT}/envoy.service.d/10-env.conf; systemctl daemon-reload",
        "secrets.environment",
    ),
)
