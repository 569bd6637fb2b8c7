"""Tools that write rules of their own: how each is started, what it does every day, and what shows its rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Undoing:
    """A setting with which what is done `by_hand` takes away what hostguard put there; `finding` names it before it
    does, and `control` fails after."""

    setting: str
    by_hand: str
    finding: str
    control: str = "egress.output"
    mended: str = "true"


@dataclass(frozen=True)
class Tool:
    """`start` makes it run, now and at the next boot; `daily` is what it, its package or its user does then; `shown` is
    a rule of its own, in the words of `iptables-save` or `nft list ruleset`. All are scripts that root runs."""

    start: str
    daily: tuple[str, ...]
    shown: str
    undoing: tuple[Undoing, ...] = ()
    by_systemd: tuple[str, ...] = ()
    """What takes nothing away, whatever the setting."""
    lets_out: bool = True
    """Whether packets leave while hostguard is not there."""


OWN_TABLE = r"""cat > /etc/nftables.conf <<'END'
#!/usr/sbin/nft -f
table inet mine
delete table inet mine
table inet mine {
	chain input {
		type filter hook input priority filter;
		tcp dport 9999 drop
	}
}
END
"""

# As kube-proxy writes them (pkg/proxy/iptables), with the chain of the kubelet: there is no Debian package of either.
# The jumps are put first, as it does at every start where they are not there. One service, 10.96.0.10:443, whose only
# endpoint is the provider.
KUBE_SERVICE = "10.96.0.10"
KUBE = r"""iptables-restore --noflush <<'END'
*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-I INPUT -j KUBE-FIREWALL
-I INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-I INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-I INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-I OUTPUT -j KUBE-FIREWALL
-I OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-SERVICES -d 10.96.0.11/32 -p tcp -m comment --comment "default/empty has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
COMMIT
*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SEP-SOLE - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-PAYMENTS - [0:0]
-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "default/payments cluster IP" -m tcp --dport 443 -j KUBE-SVC-PAYMENTS
-A KUBE-SVC-PAYMENTS -m comment --comment "default/payments -> 203.0.113.5:443" -j KUBE-SEP-SOLE
-A KUBE-SEP-SOLE -p tcp -m comment --comment "default/payments" -m tcp -j DNAT --to-destination 203.0.113.5:443
COMMIT
END
"""  # noqa: E501
KUBE_ANEW = "iptables-save | sed '/KUBE-/d' | iptables-restore; " + KUBE

ENGINES: dict[str, Tool] = {
    "docker": Tool(
        "systemctl enable --now docker.service; docker import /root/tiny.tar tiny; "
        "docker run --detach --stop-signal KILL --name web --publish 8080:80 tiny /serve",
        ("systemctl restart docker.service; docker start web",),
        "-A FORWARD -j DOCKER-USER",
    ),
    "podman": Tool(
        "podman import --quiet /root/tiny.tar tiny; "
        "podman run --detach --name web --cgroups disabled --publish 8081:80 tiny /serve",
        ("podman restart --time 0 web",),
        "-j NETAVARK_FORWARD",
    ),
    "fail2ban": Tool(
        "systemctl enable --now fail2ban.service; until fail2ban-client status sshd; do sleep 0.1; done; "
        "fail2ban-client set sshd banip 192.0.2.99",
        ("fail2ban-client reload sshd", "systemctl restart fail2ban.service; until fail2ban-client status sshd; do "
         "sleep 0.1; done; fail2ban-client set sshd banip 192.0.2.99"),
        "-j f2b-sshd",
    ),
    "kube-proxy": Tool(KUBE, (KUBE_ANEW,), "-j KUBE-SERVICES"),
}  # fmt: skip
"""They keep to chains of their own. All but podman can be on one host: Docker drops what is forwarded to the ports that
podman publishes."""

RULE = "iptables -A INPUT -p tcp --dport 9999 -j DROP"
PERSISTENT, UFW = "/etc/default/netfilter-persistent", "/etc/default/ufw"
FLUSHING = "sed -i 's/NOFLUSH=yes/NOFLUSH=no/'"

LOADERS: dict[str, Tool] = {
    "netfilter-persistent": Tool(
        f"{RULE}; mkdir -p /etc/iptables; netfilter-persistent save; "
        f"printf 'IPTABLES_RESTORE_NOFLUSH=yes\\nIP6TABLES_RESTORE_NOFLUSH=yes\\n' >> {PERSISTENT}; "
        "systemctl enable --now netfilter-persistent.service",
        ("netfilter-persistent reload", "systemctl restart netfilter-persistent.service"),
        "--dport 9999 -j DROP",
        (
            Undoing(f"{FLUSHING} {PERSISTENT}", "netfilter-persistent reload",
                    f"IPTABLES_RESTORE_NOFLUSH=yes and IP6TABLES_RESTORE_NOFLUSH=yes in {PERSISTENT}"),
            Undoing("cp -r /etc/iptables /root/; netfilter-persistent save",
                    "nft flush ruleset; ipset destroy; netfilter-persistent reload",
                    "has hostguard's rules, whose sets are not there at boot",
                    mended="cp /root/iptables/* /etc/iptables/"),
        ),
        ("systemctl restart netfilter-persistent.service",),
    ),
    "nftables": Tool(
        f"cp /etc/nftables.conf /root/; {OWN_TABLE}systemctl enable --now nftables.service",
        ("nft -f /etc/nftables.conf", "systemctl reload nftables.service", "systemctl restart nftables.service"),
        "table inet mine",
        (
            Undoing("cat /etc/nftables.conf >> /root/nftables.conf; cp /root/nftables.conf /etc/", "nft -f "
                    "/etc/nftables.conf", "flush its own tables there, not the ruleset"),
        ),
        ("systemctl reload nftables.service", "systemctl restart nftables.service",
         "systemctl stop nftables.service; systemctl start nftables.service"),
    ),
    "ufw": Tool(
        "ufw default deny outgoing; sed -i 's/ENABLED=no/ENABLED=yes/' /etc/ufw/ufw.conf; ufw allow 22/tcp; "
        "systemctl enable --now ufw.service",
        ("ufw reload", "ufw allow 8443/tcp", "systemctl restart ufw.service"),
        "-A OUTPUT -j ufw-before-output",
        (
            Undoing("ufw default allow outgoing", "ufw reload", "`ufw default deny outgoing`"),
            Undoing(f"ufw default deny outgoing; sed -i 's/IPV6=yes/IPV6=no/' {UFW}", "ufw reload",
                    f"IPV6=yes in {UFW}"),
            Undoing(f"sed -i 's/IPV6=no/IPV6=yes/; s/MANAGE_BUILTINS=no/MANAGE_BUILTINS=yes/' {UFW}", "ufw reload",
                    "MANAGE_BUILTINS=no", "egress.forward"),
        ),
        ("systemctl restart ufw.service",),
        lets_out=False,
    ),
}  # fmt: skip
"""They load rules of their own, and may flush others'. Each has a host of its own."""
