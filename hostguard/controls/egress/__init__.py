"""Egress: the host reaches what the policy names, account by account, and nothing else.

allowlist: who may reach what, as sets. names: what may be reached by its name. chains: the rules over them. boot: all
of it again at the next boot. caches: what keeps a name's address too long. others: the tools beside us. passage: what
gets through their rules. processes, packet_sockets: who goes past ours. other_backend: rules that hide.
"""

from __future__ import annotations

from collections.abc import Iterator

from hostguard.control import (
    Area,
    Context,
    Control,
    JudgingControl,
    WantingControl,
    Weakening,
    article,
    cis_controls,
    cis_debian,
    manual,
    nist,
    pci,
    soc2,
)
from hostguard.controls.egress import (
    allowlist,
    boot,
    caches,
    chains,
    frames,
    names,
    other_backend,
    others,
    packet_sockets,
    passage,
    processes,
)
from hostguard.policy.model import Egress
from hostguard.status import Severity


def _egress(context: Context) -> Egress:
    if context.policy.egress is None:
        raise ValueError("the policy has no section `egress`: its controls must not be asked")
    return context.policy.egress


def observed(context: Context) -> Iterator[Weakening]:
    """Under `observe` the rules are there, and nothing that they are for is kept in."""
    if _egress(context).mode == "observe":
        yield Weakening(("egress", "mode"), "observe", "what the policy does not name is logged, and gets out")


def frames_left_alone(context: Context) -> Iterator[Weakening]:
    if _egress(context).frames == "allow":
        yield Weakening(("egress", "frames"), "allow", "frames from packet sockets get out past all rules", off=True)
    yield from observed(context)


STEP_1 = "Step 1: Egress Filtering and Firewall Hardening"
OUTBOUND = article(STEP_1)
ENFORCED = "under `egress.mode: enforce` only"
DENIED = pci("1.3.2", ENFORCED)
BY_DEFAULT = nist("SC-7(5)", ENFORCED)
APPLY = "Run `hostguard apply`. Where another tool keeps putting its rules first, order it before hostguard."

CONTROLS: tuple[Control, ...] = (
    WantingControl(
        id="egress.output",
        title="What leaves the host is what the policy names, over IPv4 and IPv6",
        severity=Severity.HIGH,
        rationale="A host that can reach anything can be made to send anything anywhere. Packets are dropped unless "
        "their account, address, protocol and port are allowed; replies leave only on sanctioned inbound ports, "
        "since a listener that answers whoever connects in is a way out too. Under `egress.mode: observe` they are "
        "logged and not dropped, and the audit says waived. Frames from packet sockets (CAP_NET_RAW) never "
        "pass OUTPUT: see egress.frames.",
        remediation=APPLY,
        references=(
            OUTBOUND,
            article("Implementation Logic", "under `via: proxy` the proxy's account alone reaches the providers"),
            DENIED,
            soc2("CC6.6", ENFORCED),
            soc2("CC6.7", ENFORCED),
            cis_debian("4.4.2.3", "the outbound ones; " + ENFORCED),
            cis_debian("4.4.3.3", "the outbound ones; " + ENFORCED),
            cis_controls("4.4", "the outgoing half of one; " + ENFORCED),
            nist("AC-4", "account by account; " + ENFORCED),
            BY_DEFAULT,
            nist("SC-7(12)", "for what leaves; " + ENFORCED),
            manual("iptables-extensions(8)"),
        ),
        wants=lambda context: chains.output(_egress(context)),
        weakened=observed,
    ),
    WantingControl(
        id="egress.destinations",
        title="The allowlist in the kernel is the policy's",
        severity=Severity.HIGH,
        rationale="An address that was added by hand, or left behind when a provider moved, is a hole that no file "
        "shows: the kernel's own sets are compared, entry by entry.",
        remediation=APPLY,
        references=(
            OUTBOUND,
            pci("1.2.5", "the kernel's list is the policy's; to approve it is yours"),
            pci("1.2.8", "what is in force is compared with the policy, entry by entry"),
            soc2("CC7.1", "an entry that was added by hand is found at the next audit"),
            nist("CM-6", "a change behind the policy's back is seen, and undone by the next apply"),
            nist("SC-7(5)", "these are the exceptions; " + ENFORCED),
            manual("ipset(8)"),
        ),
        wants=lambda context: allowlist.destination_sets(_egress(context)),
        weakened=observed,
    ),
    WantingControl(
        id="egress.replies",
        title="Who may connect in is answered, and nobody else",
        severity=Severity.HIGH,
        rationale="The management networks must be answered or the host is lost; a stateless rule for source port 22 "
        "would let anything out that leaves from there. What comes in is accepted where it answers us, and dropped by "
        "nobody here: a requirement for inbound traffic (PCI DSS 1.3.1) needs other rules in INPUT.",
        remediation=APPLY,
        references=(
            article(STEP_1, "its script lets established connections in"),
            pci("1.3.2", "a reply is outbound traffic; " + ENFORCED),
            cis_debian("4.4.2.3", "the established ones"),
            cis_debian("4.4.3.3", "the established ones"),
            nist("SC-7(5)", "of replies; " + ENFORCED),
            manual("iptables-extensions(8)"),
        ),
        wants=lambda context: [*allowlist.reply_sets(_egress(context)), *chains.replies(_egress(context))],
        weakened=observed,
    ),
    WantingControl(
        id="egress.forward",
        title="Containers get out no further than the host",
        severity=Severity.HIGH,
        rationale="The packets of a container behind NAT pass FORWARD and never OUTPUT: without a rule there every "
        "container is a way out. Under `egress.containers: deny` none of them gets out, under `same` they reach what "
        "every account of the host may reach.",
        remediation=APPLY,
        references=(
            article(STEP_1, "what a container sends leaves the host too"),
            pci("1.3.2", "a container's traffic leaves the environment through its host; " + ENFORCED),
            soc2("CC6.7", ENFORCED),
            nist("AC-4", ENFORCED),
            BY_DEFAULT,
            manual("iptables(8)"),
        ),
        wants=lambda context: chains.forward(_egress(context)),
        weakened=observed,
    ),
    WantingControl(
        id="egress.frames",
        title="Frames from packet sockets do not get past the rules",
        severity=Severity.HIGH,
        rationale="Whoever has CAP_NET_RAW (root, and by default every container of Docker's) can hand a whole frame "
        "to a device, and it passes no chain of iptables. The egress hook of nftables, below them all, lets out what "
        "has a route, ARP of its usual length, frames that no bridge forwards (LACP, LLDP, 802.1X), and DHCP's where "
        "the policy names a server for it; a network namespace with a leg of its own on the device (macvlan, ipvlan) "
        "gets out no further than a container. Linux 5.16 and later; before, egress.packet-sockets is all there is. "
        "Under `egress.frames: allow` frames are left alone. What it can't hold: AF_XDP sockets, a leg that takes "
        "the host's own address, and whoever has CAP_NET_ADMIN and takes the table away.",
        remediation="Run `hostguard apply`.",
        references=(
            article(STEP_1, "a frame that iptables never sees leaves the host too"),
            pci("1.3.2", ENFORCED),
            nist("AC-4", ENFORCED),
            BY_DEFAULT,
            manual("nft(8), egress hook; packet(7)"),
        ),
        wants=lambda context: frames.frames(_egress(context)),
        weakened=frames_left_alone,
    ),
    JudgingControl(
        id="egress.packet-sockets",
        title="No process sends frames past the rules",
        severity=Severity.MEDIUM,
        rationale="Where nothing holds frames (a kernel before 5.16, `egress.frames: allow`), every packet socket is a "
        "way out; AF_XDP sockets are one on every kernel. Sockets that are open now are seen, in the host's own "
        "network namespace; who may open one tomorrow is whoever has CAP_NET_RAW.",
        remediation="Stop what does not need it, take CAP_NET_RAW from its unit (`CapabilityBoundingSet=`, "
        "`RestrictAddressFamilies=`), or run a kernel with the egress hook.",
        references=(
            article(STEP_1, "a frame that iptables never sees leaves the host too"),
            soc2("CC7.1", "a process that could send frames is found at the next audit"),
            manual("packet(7)"),
        ),
        asks=packet_sockets.asks,
        judges=packet_sockets.judges,
        evidence="/proc/net/packet, /proc/PID/maps, nft list table netdev hostguard",
    ),
    WantingControl(
        id="egress.boot",
        title="The rules are there before the network is",
        severity=Severity.HIGH,
        rationale="Rules that are loaded after the network is up leave every boot open for some seconds, and rules "
        "that are loaded by nobody leave it open for good.",
        remediation="Run `hostguard apply`.",
        references=(
            article(STEP_1, "a rule that a reboot loses filters nothing"),
            pci("1.2.8", "what a boot loads is what is in force, and root alone may write it"),
            manual("systemd.special(7), network-pre.target"),
        ),
        wants=lambda context: boot.boot(_egress(context), context.sizing.gateway),
        weakened=observed,
    ),
    JudgingControl(
        id="egress.other-backend",
        title="No rules hide in the other backend of iptables",
        severity=Severity.MEDIUM,
        rationale="nft and legacy tables both act on every packet, and each tool shows only its own: an ACCEPT there "
        "changes nothing here, but a DROP there is an outage that nobody finds.",
        remediation="Look with `iptables-legacy-save` (or `iptables-nft-save`), move what is meant to the backend in "
        "force, and flush the other.",
        references=(
            article(STEP_1, "its script begins by flushing what was there"),
            cis_debian("4.1.1", "rules in two backends are two firewalls; that no second tool is enabled is not read"),
            manual("xtables-nft(8)"),
        ),
        asks=other_backend.asks,
        judges=other_backend.judges,
        evidence="iptables-legacy-save or iptables-nft-save, whichever is not in force",
    ),
    WantingControl(
        id="egress.names",
        title="Names lead to the host's own resolver, which knows those of the policy alone",
        severity=Severity.HIGH,
        rationale="A provider that is named moves between addresses: dnsmasq asks the policy's resolvers, and puts "
        "each answer into the kernel's sets before the asker hears it, so that no connection comes too early. An "
        f"address stays good for new connections {names.GRACE // 60} minutes longer than any client may keep it (its "
        f"TTL, at most {names.LONGEST_TTL} s), counted from the last answer that held it, and for open ones "
        f"{names.TIMEOUT[names.OPEN] // 86400} days. What the policy does not name is answered NXDOMAIN and reaches "
        "no resolver, so that names carry nothing out; `*.` names let that through which is below them. A provider's "
        "name that leads into private networks is not answered, a service's is.",
        remediation="Run `hostguard apply`. What writes /etc/resolv.conf (a DHCP client, NetworkManager) must be told "
        "not to.",
        references=(
            article("Dependency Fault Lines", "a provider that rotates its addresses, and a host that follows"),
            article(STEP_1, "DNS goes to the sanctioned resolvers only"),
            nist("SC-7(5)", "of names; " + ENFORCED),
            manual("dnsmasq(8)"),
        ),
        wants=lambda context: names.names(_egress(context)),
        weakened=lambda context: observed(context) if _egress(context).hosts else (),
    ),
    JudgingControl(
        id="egress.stale-names",
        title="Nothing on the host keeps a name's address beyond its TTL",
        severity=Severity.MEDIUM,
        rationale="A cache that keeps an address for longer than its TTL sends connections to where the provider is no "
        "more: a black hole, now and then. nscd does so for hosts, a JVM that is told to, and resolvers that are told "
        "to serve what has expired. What a program keeps to itself (a pool of connections, a name that was looked up "
        "once) can't be seen from outside. Where the policy has names, systemd-resolved must not be asked past the "
        "host's own resolver either.",
        remediation="Take the setting out that the finding names, and restart the program. For a JVM set "
        "networkaddress.cache.ttl.",
        references=(
            article("Dependency Fault Lines", "names that nscd or a local resolver caches beyond their TTL"),
            manual("nscd.conf(5)"),
        ),
        asks=caches.asks,
        judges=caches.judges,
        evidence="the processes of nscd, of resolvers and of JVMs, their configuration, /etc/nsswitch.conf",
    ),
    JudgingControl(
        id="egress.processes",
        title="No process is connected past the policy, or tries to be",
        severity=Severity.MEDIUM,
        rationale="A connection that was open before the rules came, or one that is tried and never answered, shows a "
        "process that goes past the proxy or an entry that the policy lacks. Sockets are read as they are now, with "
        "process and account; a listener on a port that nobody sanctioned is answered by nobody, and is named "
        "without failing. What the rules denied since they were loaded is counted; the journal names accounts.",
        remediation="End the process, or name what it needs in the policy: `hostguard plan` says with which key, "
        "`hostguard watch` shows it as it happens.",
        references=(
            article("Implementation Logic", "its look with netstat for processes that go past the proxy"),
            soc2("CC7.2", "a process that goes past the policy is an anomaly, and found at the next audit"),
            manual("sock_diag(7)"),
        ),
        asks=processes.asks,
        judges=processes.judges,
        evidence="sock_diag(7), /proc/PID/fd; iptables-save --counters, journalctl --dmesg",
        weakened=observed,
    ),
    JudgingControl(
        id="egress.passage",
        title="What the policy sanctions gets through the rules and routes of other tools",
        severity=Severity.HIGH,
        rationale="An ACCEPT of hostguard's ends the walk through one chain, and other tables are walked all the same. "
        "A rule in raw that takes connections out of tracking (NOTRACK, as node-local DNS and busy servers have it) "
        "leaves replies without a connection that they belong to, and nobody can log in any more; a DROP in mangle or "
        "in a table of nft's own, NAT in OUTPUT, or a route that says unreachable take a provider away. Rules are "
        "walked as the kernel walks them; what asks for a set, a mark or a rate may let a packet past, and is not "
        "told. Of each way the first networks are walked, and no names: their addresses are the resolvers' to say. "
        "Where `resolver_users` says who may ask them, what asks for everybody in its own name must be among those: a "
        "resolver on the host, nscd, systemd-resolved.",
        remediation="Take the rule or the route away that the finding names, or leave the sanctioned address or port "
        "out of it; `iptables-save`, `nft list ruleset` and `ip rule` show them.",
        references=(
            article(STEP_1, "what it lets out must get out"),
            manual("iptables-extensions(8), CT; rtnetlink(7)"),
        ),
        asks=passage.asks,
        judges=passage.judges,
        evidence="iptables-save, ip6tables-save, nft --json list ruleset; RTM_GETROUTE; /etc/resolv.conf, "
        "/proc/net/udp, /etc/nscd.conf, /etc/nsswitch.conf, unix_diag",
    ),
    JudgingControl(
        id="egress.others",
        title="Other tools on the host leave the rules in force",
        severity=Severity.MEDIUM,
        rationale="Docker, podman, fail2ban and kube-proxy keep to chains of their own, and what they accept comes "
        "after the allowlist. A tool that flushes everything before it loads its own takes the allowlist away in its "
        "daily work: where systemd starts or reloads it ours is loaded again, where it is called by hand it is not. "
        "The severity is that of what is lost: high where the host would be cut off, low where only a command by hand "
        "would do it.",
        remediation="Do what the finding says of each tool, then `hostguard apply`. docs/life-with-others.md has a "
        "line a tool.",
        references=(
            article(STEP_1, "a rule that another tool flushes filters nothing"),
            cis_debian("4.1.1", "it names the tools that write rules beside ours; that there is none is not asked"),
            pci("1.2.8", "what would make the rules in force other than the policy's, before it does"),
            manual("iptables-restore(8), --noflush"),
        ),
        asks=others.asks,
        judges=others.judge,
        evidence="systemctl show, iptables-save, /etc/nftables.conf, /etc/default/ufw, /etc/iptables, /etc/firewalld",
    ),
)

AREA = Area(
    name="egress",
    controls=CONTROLS,
    least={
        "via": "proxy",
        "proxy_user": "proxy",
        "resolvers": ["192.0.2.53"],
        "providers": {"provider": {"cidrs": ["192.0.2.1/32"], "hosts": ["api.provider.example"]}},
        # A port that the kernel might hand out, so that it has to be reserved.
        "inbound": {"management": {"from": ["198.51.100.0/24"], "ports": [20022]}},
    },
    without="`egress.mode: observe` logs what enforcing would drop, and drops nothing; leave `egress` out, and the "
    "next apply gives back all of it",
    role="egress_firewall",
    does="What the host may reach, and who may connect in",
    reads=("capacity", "gateway"),
)
