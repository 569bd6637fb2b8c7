"""Breaks of what may leave."""

from __future__ import annotations

from tests.breaks.model import RELOAD, UNIT, Break, away, file, over

BOOT = "hostguard-egress.service"
AGAIN = f"systemctl restart {BOOT}"  # what a boot does: every set and chain once more
HANDLE = "$(nft -a list chain ip filter {0} | sed -n 's/.*skuid 0 accept # handle //p')"
OUTPUT, SETS, REPLIES, FORWARD, AT_BOOT, OTHER = (
    "egress.output", "egress.destinations", "egress.replies", "egress.forward", "egress.boot", "egress.other-backend",
)  # fmt: skip
STRANGER = "192.0.2.1"
FRAMES, PACKETS, OTHERS = "egress.frames", "egress.packet-sockets", "egress.others"
PASSAGE, PROCESSES = "egress.passage", "egress.processes"
TRIES = "import socket; kept = socket.create_connection((%r, 443))"
FLOWS = "import signal, socket; kept = socket.socket(type=socket.SOCK_DGRAM); kept.connect((%r, 4444)); signal.pause()"


def beside(program: str) -> tuple[str, str]:
    """The scripts that start a process beside the policy, and end it."""
    start = f'systemd-run --quiet --unit=beside --property=Restart=always python3 -c "{program}"'
    return f"{start}; until ss -Hatun | grep -Eq ':4444|SYN-SENT'; do sleep 0.1; done", "systemctl stop beside"


OF_A_DEVICE = "$(nft list table netdev hostguard | sed -n 's/.*chain \\(egress-[0-9]*\\) .*/\\1/p' | head -n 1)"


def sender(ring: int, offset: int, account: str) -> tuple[str, str]:
    """The scripts that start a process with a socket of AF_XDP and one of its rings, and end it."""
    program = (
        "import mmap, signal, socket; s = socket.socket(44, socket.SOCK_RAW); "
        f"s.setsockopt(283, {ring}, (64).to_bytes(4, 'little')); "
        f"m = mmap.mmap(s.fileno(), 4096, mmap.MAP_SHARED, offset={offset}); "
        "s.fileno() and __import__('os').system('systemd-notify --ready'); signal.pause()"
    )
    start = (
        "systemd-run --quiet --unit=sender --property=Type=notify --property=NotifyAccess=all "
        f'--property=User={account} --property=AmbientCapabilities=CAP_NET_RAW python3 -c "{program}"'
    )
    return start, "systemctl stop sender"


NAMES = "import signal, socket; s = socket.socket(1); s.bind('/run/nscd/socket'); s.listen(); signal.pause()"
NSCD = (
    "printf 'enable-cache hosts yes\\n' > /etc/nscd.conf; systemd-run --quiet --unit=names --property=User=nobody "
    f'--property=RuntimeDirectory=nscd python3 -c "{NAMES}"; '
    "until grep -q ' 00010000 .*/run/nscd/socket' /proc/net/unix; do sleep 0.1; done",
    "systemctl stop names; rm /etc/nscd.conf",
)

# They act on what `iptables` speaks to, whichever it is.
ANY_BACKEND = (
    Break("overridden: another tool's rule before ours",
          f"iptables -I OUTPUT -d {STRANGER} -j ACCEPT", "iptables -D OUTPUT 1", OUTPUT),
    Break("run time: the policy of one family", "ip6tables -P OUTPUT ACCEPT", "ip6tables -P OUTPUT DROP", OUTPUT),
    Break("changed: a rule within our chain",
          "iptables -I HOSTGUARD-OUTPUT 3 -p udp -j ACCEPT", "iptables -D HOSTGUARD-OUTPUT 3", OUTPUT),
    Break("deleted: the rules of our chain", "iptables -F HOSTGUARD-OUTPUT", AGAIN, OUTPUT),
    Break("deleted: the jump of one family", "ip6tables -D OUTPUT -j HOSTGUARD-OUTPUT",
          "ip6tables -I OUTPUT -j HOSTGUARD-OUTPUT", OUTPUT),
    Break("changed: an address more", f"ipset add hostguard-4-envoy {STRANGER},tcp:443",
          f"ipset del hostguard-4-envoy {STRANGER},tcp:443", SETS),
    Break("deleted: the entries of one family", "ipset flush hostguard-6-envoy", AGAIN, SETS),
    Break("shadowed: another set swapped in",
          "ipset create x hash:net,port; ipset add x 192.0.2.0/24,tcp:443; ipset swap x hostguard-4-envoy",
          "ipset swap x hostguard-4-envoy; ipset destroy x", SETS),
    Break("changed: a stranger who is answered", "ipset add hostguard-4-INBOUND 192.0.2.0/24,tcp:22",
          "ipset del hostguard-4-INBOUND 192.0.2.0/24,tcp:22", REPLIES),
    Break("deleted: the jump of INPUT", "iptables -D INPUT -j HOSTGUARD-INPUT",
          "iptables -A INPUT -j HOSTGUARD-INPUT", REPLIES),
    Break("deleted: the rules for answers over IPv6", "ip6tables -F HOSTGUARD-INPUT", AGAIN, REPLIES),
    Break("deleted: the table for frames", "nft delete table netdev hostguard", AGAIN, FRAMES),
    Break("changed: every frame is let out first", "nft insert rule netdev hostguard leaving accept", AGAIN, FRAMES),
    Break("run time: the chain of a device without its rules",
          f"nft flush chain netdev hostguard {OF_A_DEVICE}", AGAIN, FRAMES),
    Break("shadowed: the table for frames is switched off",
          "nft 'add table netdev hostguard { flags dormant; }'", AGAIN, FRAMES),
    Break("overridden: a device that came later", "ip link add later type veth peer name later1",
          "ip link delete later", FRAMES),
    Break("run time: a sender of AF_XDP", *sender(3, 0x80000000, "root"), PACKETS),
    Break("changed: a service that is not root sends by AF_XDP", *sender(2, 0, "nobody"), PACKETS),
    Break("overridden: containers that are let out first", "iptables -t mangle -I FORWARD -j ACCEPT",
          "iptables -t mangle -D FORWARD 1", FORWARD),
    Break("overridden: a chain that lets containers past, first",
          "iptables -t mangle -N x; iptables -t mangle -A x -j DROP -d 192.0.2.9; iptables -t mangle -A x -j ACCEPT; "
          "iptables -t mangle -I FORWARD -j x",
          "iptables -t mangle -D FORWARD 1; iptables -t mangle -F x; iptables -t mangle -X x", FORWARD),
    Break("overridden: who connects in is taken out of tracking",
          "iptables -t raw -A PREROUTING -p tcp --dport 22 -j CT --notrack",
          "iptables -t raw -D PREROUTING -p tcp --dport 22 -j CT --notrack", PASSAGE),
    Break("shadowed: a provider's packets are dropped in another table",
          "iptables -t mangle -A POSTROUTING -d 203.0.113.0/24 -j DROP",
          "iptables -t mangle -D POSTROUTING -d 203.0.113.0/24 -j DROP", PASSAGE),
    Break("shadowed: a provider's packets are dropped in a table of nft's own",
          "nft 'add table inet y; add chain inet y o { type filter hook output priority 5; }; "
          "add rule inet y o ip daddr 203.0.113.5 tcp dport 443 drop'", "nft delete table inet y", PASSAGE),
    Break("run time: a rule of routing that says prohibit", "ip rule add to 203.0.113.5 prohibit",
          "ip rule del to 203.0.113.5 prohibit", PASSAGE),
    Break("run time: a route that says unreachable", "ip route add unreachable 203.0.113.5",
          "ip route del unreachable 203.0.113.5", PASSAGE),
    Break("run time: an nscd that asks for everybody, as an account that may not", *NSCD, PASSAGE),
    Break("run time: a process that tries to reach a stranger", *beside(TRIES % STRANGER), PROCESSES),
    Break("changed: a service with a UDP flow to a stranger", *beside(FLOWS % STRANGER), PROCESSES),
    Break("deleted: the rules for containers", "iptables -t mangle -F HOSTGUARD-FORWARD", AGAIN, FORWARD),
    Break("changed: IPv6 of containers comes back first", "ip6tables -t mangle -I HOSTGUARD-FORWARD -j RETURN",
          "ip6tables -t mangle -D HOSTGUARD-FORWARD 1", FORWARD),
)  # fmt: skip

NFT = (
    Break("overridden: a rule of nft's own before ours", "nft insert rule ip filter OUTPUT meta skuid 0 accept",
          f"nft delete rule ip filter OUTPUT handle {HANDLE.format('OUTPUT')}", OUTPUT),
    Break("changed: a rule of nft's own within our chain",
          "nft insert rule ip filter HOSTGUARD-OUTPUT meta skuid 0 accept",
          f"nft delete rule ip filter HOSTGUARD-OUTPUT handle {HANDLE.format('HOSTGUARD-OUTPUT')}", OUTPUT),
    Break("overridden: what was let out gets another address",
          "nft 'add table inet x; add chain inet x o { type filter hook output priority 10; }; "
          f"add rule inet x o ip daddr 203.0.113.5 ip daddr set {STRANGER}'", "nft delete table inet x", OUTPUT),
    Break("overridden: another port, by a chain that one of POSTROUTING jumps to",
          "nft 'add table ip6 x; add chain ip6 x c; add rule ip6 x c udp dport 53 udp dport set 5353; "
          "add chain ip6 x p { type filter hook postrouting priority 0; }; add rule ip6 x p jump c'",
          "nft delete table ip6 x", OUTPUT),
    Break("overridden: a copy of each packet on its way out",
          "nft 'add table netdev x; add chain netdev x e { type filter hook egress device eth0 priority 0; }; "
          "add rule netdev x e ip daddr 203.0.113.5 dup to eth0'", "nft delete table netdev x", OUTPUT),
    Break("shadowed: a rule of the legacy backend", "iptables-legacy -A OUTPUT -j ACCEPT",
          "iptables-legacy -F OUTPUT", OTHER),
    Break("run time: a policy of the legacy backend", "ip6tables-legacy -P FORWARD DROP",
          "ip6tables-legacy -P FORWARD ACCEPT", OTHER),
    Break("overridden: a way round by NAT in the legacy backend",
          f"iptables-legacy -t nat -A OUTPUT -d 127.0.0.9 -j DNAT --to-destination {STRANGER}",
          "iptables-legacy -t nat -F OUTPUT", OTHER),
)  # fmt: skip

LEGACY = (
    Break("shadowed: a rule of the nft backend", "iptables-nft -A OUTPUT -j ACCEPT",
          "nft delete table ip filter", OTHER),
    Break("run time: a policy of the nft backend", "ip6tables-nft -P FORWARD DROP",
          "nft delete table ip6 filter", OTHER),
)  # fmt: skip

ON_DISK = (
    Break("overridden: a drop-in that loads nothing at boot",
          *file(f"{UNIT}/{BOOT}.d/a.conf", "[Service]", "ExecStart=", "ExecStart=true", then=RELOAD), AT_BOOT),
    Break("overridden: a drop-in of a whole family of services",
          *file(f"{UNIT}/hostguard-.service.d/a.conf", "[Unit]", "ConditionPathExists=/nope", then=RELOAD), AT_BOOT),
    Break("changed: a file of rules", "echo >> /etc/hostguard/egress/ipv4.rules",
          "sed -i '$d' /etc/hostguard/egress/ipv4.rules", AT_BOOT),
    Break("changed: what a boot loads for frames", "echo 'exit 0' >> /etc/hostguard/egress/frames",
          "sed -i '$d' /etc/hostguard/egress/frames", AT_BOOT),
    Break("shadowed: a rule of udev's that runs nothing",
          *over("/etc/udev/rules.d/99-hostguard.rules", "true"), AT_BOOT),
    Break("deleted: the sets of the boot", *away("/etc/hostguard/egress/sets"), AT_BOOT),
    Break("disk only: what starts the unit is unlinked", f"rm {UNIT}/sysinit.target.wants/{BOOT}",
          f"systemctl enable {BOOT}", AT_BOOT),
    Break("disk only: a drop-in that systemd has not read",
          *file(f"/run/systemd/system/{BOOT}.d/a.conf", "[Unit]", "ConditionPathExists=/nope"), AT_BOOT),
    Break("shadowed: a unit of the same name before ours",
          f"mkdir -p {UNIT}.control; sed 's/^ExecStart=.*/ExecStart=true/' {UNIT}/{BOOT} > {UNIT}.control/{BOOT}; "
          f"{RELOAD}", f"rm -r {UNIT}.control; {RELOAD}", AT_BOOT),
    Break("run time: the mark of an apply that is long over", "touch /var/lib/hostguard/hold-rules",
          "rm /var/lib/hostguard/hold-rules", AT_BOOT),
    Break("disk only: a service that flushes the ruleset", "systemctl enable nftables.service",
          "systemctl disable nftables.service", OTHERS),
    Break("overridden: a ufw that takes the built-in chains for its own",
          "mkdir /etc/ufw; echo ENABLED=yes > /etc/ufw/ufw.conf; echo MANAGE_BUILTINS=yes > /etc/default/ufw",
          "rm -r /etc/ufw /etc/default/ufw", OTHERS),
)  # fmt: skip
