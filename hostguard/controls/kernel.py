"""Kernel parameters for the load that the calls cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hostguard.answer import ports
from hostguard.control import (
    Area,
    Context,
    Control,
    JudgingControl,
    Verdict,
    WantingControl,
    Weakening,
    article,
    cis_debian,
    manual,
    nist,
    soc2,
)
from hostguard.host import parameters, proc_net
from hostguard.host.kinds import file, sysctl
from hostguard.host.resource import Resource
from hostguard.policy.numbers import PORTS, ephemeral
from hostguard.policy.sizing import CONNTRACK_BUCKETS, CONNTRACK_MAX, UNLIMITED
from hostguard.status import Severity

# Parameters of which more never hurts: a host that has more keeps it.
AT_LEAST = frozenset(
    {
        "net.core.somaxconn",
        "net.ipv4.tcp_max_syn_backlog",
        "fs.nr_open",
        "fs.file-max",
        "net.core.netdev_max_backlog",
        CONNTRACK_BUCKETS,
        CONNTRACK_MAX,
    }
)
TRACKED = "kernel.tracked-connections"
TRACKING = "nf_conntrack"
"""The module that the rules of `egress` load, and the only one whose parameters an apply loads it for."""
LOADS_MODULES = "/etc/modules-load.d/hostguard.conf"
RESERVED = "net.ipv4.ip_local_reserved_ports"
RANGE = "net.ipv4.ip_local_port_range"
FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"
KEEPALIVE = ("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes")
NOTICED = 120
"""Seconds within which kernel.keepalive promises to notice a dead peer: 60 + 6 × 10."""
# The values that give what a control stands for, and what any other takes away (networking/ip-sysctl.rst).
LOST = {
    "net.ipv4.tcp_syncookies": (("1",), "a full backlog is not answered with cookies, or every connection is"),
    "net.ipv4.tcp_tw_reuse": (("1",), "ports in TIME_WAIT serve no new connection to another host"),
    "net.ipv4.tcp_timestamps": (("1", "2"), "without timestamps no port in TIME_WAIT is used again"),
}


def parameter(control: str, key: str, setting: object, compare: str | None = None) -> Resource:
    """One kernel parameter as its control wants it."""
    text = parameters.normal(str(setting))
    most = key == CONNTRACK_MAX and text == UNLIMITED
    how = compare or ("min" if key in AT_LEAST and not most else "equal")
    module = {"module": TRACKING} if parameters.module_of(key) == TRACKING else {}
    unlimited = {"unlimited": UNLIMITED} if key == CONNTRACK_MAX else {}
    return sysctl.resource(control, key, text, how, **module, **unlimited)


def derived(context: Context) -> dict[str, tuple[str, str]]:
    """Every parameter of the catalogue with its control, before the policy's own values override it."""
    sizing = context.sizing
    low, high = sizing.port_range
    tracking = {CONNTRACK_MAX: sizing.tracked, CONNTRACK_BUCKETS: sizing.buckets}
    return {
        "net.core.somaxconn": ("kernel.somaxconn", str(sizing.somaxconn)),
        "net.ipv4.tcp_max_syn_backlog": ("kernel.syn-backlog", str(sizing.syn_backlog)),
        "net.ipv4.tcp_syncookies": ("kernel.syncookies", "1"),
        "net.ipv4.tcp_tw_reuse": ("kernel.tw-reuse", "1"),
        "net.ipv4.tcp_timestamps": ("kernel.tw-reuse", "1"),
        RANGE: ("kernel.port-range", f"{low} {high}"),
        **{key: ("kernel.keepalive", value) for key, value in zip(KEEPALIVE, ("60", "10", "6"), strict=True)},
        FIN_TIMEOUT: ("kernel.fin-timeout", "30"),
        "fs.nr_open": ("kernel.nr-open", str(sizing.nr_open)),
        "fs.file-max": ("kernel.file-max", str(sizing.file_max)),
        **{key: (TRACKED, str(needed)) for key, needed in tracking.items() if needed},
    }


def of(control: str) -> Any:
    """The parameters that one control wants, as the policy has them."""

    def wants(context: Context) -> Sequence[Resource]:
        own = dict(context.policy.kernel or {})
        catalogue = derived(context)
        return [
            parameter(control, key, own.get(key, setting))
            for key, (owner, setting) in catalogue.items()
            if owner == control
        ]

    return wants


def weakened(control: str) -> Any:
    """The policy's own values that are less than the control stands for."""

    def below(context: Context) -> Iterator[Weakening]:
        own = dict(context.policy.kernel or {})
        catalogue = derived(context)
        for key, (owner, floor) in catalogue.items():
            if owner == control and key in own and (means := _below(context, key, own[key], floor)):
                yield Weakening(("kernel", key), own[key], means)

    return below


def _below(context: Context, key: str, own: str, floor: str) -> str:
    """What is lost with a policy's own value; "" where nothing is."""
    if key == CONNTRACK_MAX and own == UNLIMITED:
        return ""
    if key in AT_LEAST:
        return f"less than the derived {floor}" if int(own) < int(floor) else ""
    if key == RANGE:
        low, high = map(int, own.split())
        needed = min(context.sizing.least_ports, PORTS[1] - PORTS[0] + 1)
        return f"fewer than the {needed} ports that are needed" if high - low + 1 < needed else ""
    if key in KEEPALIVE:
        values = {**{each: value for each, (_, value) in derived(context).items()}, **(context.policy.kernel or {})}
        idle, apart, probes = (int(values[each]) for each in KEEPALIVE)
        noticed = idle + apart * probes
        return f"a dead peer is noticed after {noticed} s, not within {NOTICED} s" if noticed > NOTICED else ""
    if key == FIN_TIMEOUT:
        return f"longer than {floor} s" if int(own) > int(floor) else ""
    return LOST[key][1] if own not in LOST[key][0] else ""


def tracking(context: Context) -> Sequence[Resource]:
    """Room for the connections of the load, and the module for whatever parameter of its is set: systemd-sysctl passes
    over one that is not there yet, and the rules that would load it come later in the boot."""
    found = of(TRACKED)(context)
    if not found and not any(parameters.module_of(key) == TRACKING for key in context.policy.kernel or {}):
        return []
    text = f"# Written by hostguard: edit the policy instead.\n{TRACKING}\n"
    return [file.resource(TRACKED, LOADS_MODULES, text, module=TRACKING), *found]


def custom(context: Context) -> Sequence[Resource]:
    """What the policy sets beyond the catalogue."""
    known = {*derived(context), RESERVED}
    return [
        parameter("kernel.custom", key, setting)
        for key, setting in sorted((context.policy.kernel or {}).items())
        if key not in known
    ]


def reserved(context: Context) -> Sequence[Resource]:
    """The sanctioned inbound ports that lie within the ephemeral range, and those that the policy reserves."""
    policy = context.policy
    own = (policy.kernel or {}).get(RESERVED, "")
    wanted = parameters.ports(str(own))
    low, high = ephemeral(context.policy.kernel or {})
    if policy.egress:
        wanted |= {port for way in policy.egress.inbound.values() for port in way.ports if low <= port <= high}
    if not wanted:
        return []
    return [parameter("kernel.reserved-ports", RESERVED, parameters.port_list(wanted), "ports")]


def ask_listeners(_context: Context) -> Mapping[str, Any]:
    return {
        "listeners": {"collect": "listeners"},
        "reserved": {"collect": "text", "path": parameters.path_of(RESERVED)},
    }


def judge_listeners(context: Context, said: Mapping[str, Any]) -> Verdict:
    low, high = ephemeral(context.policy.kernel or {})
    free = ports((said["reserved"] or "").strip())
    tables = (said["listeners"]["tcp"], said["listeners"]["tcp6"])
    listening = {port for text in tables for port in listening_ports(text or "")}
    taken = sorted(port for port in listening if low <= port <= high and port not in free)
    expected = f"no listening port within {low}-{high} that is not reserved"
    if not taken:
        return Verdict("pass", expected, f"{len(listening)} listening ports, none of them there")
    return Verdict("fail", expected, "listening there: " + ", ".join(map(str, taken)))


def listening_ports(table: str) -> set[int]:
    """The listening ports of one /proc/net/tcp."""
    return {row.port for row in proc_net.rows(table) if row.state == proc_net.LISTEN}


TROUBLE = article("Dependency Fault Lines")
WIDER = article("Dependency Fault Lines", "it asks for a wider port range, and this is what that costs")
HARDENING = article("Optimization And Hardening")
CAPACITY = soc2("A1.1", "the number is derived from the peak rate and its headroom")
FLOODING = nist("SC-5(2)", "room for a burst of connections")
IP_SYSCTL = "Documentation/networking/ip-sysctl.rst"


def _control(name: str, title: str, severity: Severity, rationale: str, *references: Any) -> WantingControl:
    identity = f"kernel.{name}"
    return WantingControl(
        id=identity,
        title=title,
        severity=severity,
        rationale=rationale,
        remediation="Run `hostguard apply`. Where another file of sysctl.d wins at boot, remove its line.",
        references=references,
        wants=of(identity),
        weakened=weakened(identity),
    )


CONTROLS: tuple[Control, ...] = (
    _control(
        "somaxconn",
        "The accept queue holds a burst of connections",
        Severity.HIGH,
        "A listener's queue is cut to net.core.somaxconn. When it is full, new connections are dropped and their "
        "clients wait for a retransmission of a second or more: a retry storm then looks like an outage. A running "
        "listener keeps its queue until it calls listen(2) again.",
        HARDENING,
        CAPACITY,
        FLOODING,
        manual("listen(2)"),
    ),
    _control(
        "syn-backlog",
        "Half-open connections have room",
        Severity.MEDIUM,
        "net.ipv4.tcp_max_syn_backlog bounds the connections whose handshake has begun, and so does the listener's "
        "own queue (kernel.somaxconn): both must be long. Past them the kernel warns of SYN flooding and falls back to "
        "cookies, or drops.",
        HARDENING,
        CAPACITY,
        FLOODING,
        manual(IP_SYSCTL),
    ),
    _control(
        "syncookies",
        "SYN cookies stand behind the backlog",
        Severity.MEDIUM,
        "With net.ipv4.tcp_syncookies = 1 a full backlog still lets true clients in. The value 2 sends cookies always, "
        "which can cost a connection its TCP options, and is for testing.",
        article("Dependency Fault Lines", "it shows the kernel's warning of SYN flooding"),
        cis_debian("3.3.10"),
        nist("SC-5", "of a SYN flood"),
        manual(IP_SYSCTL),
    ),
    _control(
        "tw-reuse",
        "Ports in TIME_WAIT serve new outgoing connections",
        Severity.HIGH,
        "The side that closes a connection first holds its port for 60 s. With net.ipv4.tcp_tw_reuse = 1 the kernel "
        "takes it again after one second where timestamps prove that no old segment can be mistaken, so "
        "net.ipv4.tcp_timestamps = 1 belongs to it. The kernel's default, 2, does that on loopback alone; "
        "tcp_tw_recycle is gone since Linux 4.12.",
        TROUBLE,
        article("Admin Desk"),
        manual(IP_SYSCTL),
    ),
    _control(
        "port-range",
        "There are ephemeral ports enough",
        Severity.HIGH,
        "From one local address there can be no more connections to one address and port than "
        "net.ipv4.ip_local_port_range has ports. The ends differ in parity, since the kernel gives connect() one "
        "parity first and bind() the other.",
        TROUBLE,
        article("Admin Desk"),
        soc2("A1.1", "`hostguard size` sets the ports that the peak needs against those there are"),
        manual(IP_SYSCTL),
    ),
    WantingControl(
        id="kernel.reserved-ports",
        title="Sanctioned listening ports are kept out of the ephemeral range",
        severity=Severity.MEDIUM,
        rationale="A wide ip_local_port_range can hand a service's own port to an outgoing connection; the service "
        "then fails to start with 'address already in use'.",
        remediation="Run `hostguard apply`: it adds the ports to net.ipv4.ip_local_reserved_ports and keeps those "
        "there.",
        references=(WIDER, manual(IP_SYSCTL)),
        wants=reserved,
    ),
    JudgingControl(
        id="kernel.listening-ports",
        title="No service listens on an ephemeral port",
        severity=Severity.LOW,
        rationale="A port that is listened on within the ephemeral range and not reserved is lost to an outgoing "
        "connection after some restart or other.",
        remediation="Add the ports to `kernel: {net.ipv4.ip_local_reserved_ports: …}`, or move the service below "
        "the range.",
        references=(WIDER, manual(IP_SYSCTL)),
        asks=ask_listeners,
        judges=judge_listeners,
        evidence="/proc/net/tcp, /proc/net/tcp6, " + parameters.path_of(RESERVED),
    ),
    _control(
        "keepalive",
        "Dead peers are noticed within two minutes",
        Severity.LOW,
        "A pooled connection whose peer vanished looks usable until something is sent. 60 s of silence "
        "(net.ipv4.tcp_keepalive_time), then six probes (tcp_keepalive_probes) 10 s apart (tcp_keepalive_intvl), end "
        "it in two minutes instead of the default two hours. They act on sockets with SO_KEEPALIVE alone: see that the "
        "proxy asks for it.",
        HARDENING,
        manual("tcp(7)"),
    ),
    _control(
        "fin-timeout",
        "Orphaned connections are let go",
        Severity.LOW,
        "net.ipv4.tcp_fin_timeout is how long a socket that its program has closed waits for the peer's FIN: 30 s "
        "instead of the default 60. It is not the time in TIME_WAIT, which is 60 s in every kernel.",
        article("Introduction", "connections that pile up cost memory"),
        manual("tcp(7)"),
    ),
    _control(
        "nr-open",
        "A process may have the open files that the limits promise",
        Severity.HIGH,
        "fs.nr_open is the ceiling of every RLIMIT_NOFILE. systemd cuts a LimitNOFILE= above it to what it can get, "
        "and says nothing.",
        article("Parameters"),
        manual("proc_sys_fs(5)"),
    ),
    _control(
        "file-max",
        "The machine has open files for all services together",
        Severity.MEDIUM,
        "fs.file-max bounds the open files of the whole machine; at it, open() and socket() fail with ENFILE for all "
        "but root.",
        article("Troubleshooting Matrix"),
        manual("proc_sys_fs(5)"),
    ),
    WantingControl(
        id=TRACKED,
        title="Connection tracking has room for the load, from the boot on",
        severity=Severity.HIGH,
        rationale="The rules of `egress` have the kernel track every connection, and one that is closed for two "
        "minutes more: some 2,200 a second fill the table that Linux makes by itself, less on a small machine. Past "
        "net.netfilter.nf_conntrack_max it drops whatever is new, logins too, and says 'nf_conntrack: table full, "
        "dropping packet'. The hash table (nf_conntrack_buckets) grows with it, or each packet walks long chains. At "
        "boot systemd-sysctl passes over both unless the module nf_conntrack is loaded before, which a file of "
        "modules-load.d does. In a container both are the machine's, and the audit says what is needed there.",
        remediation="Run `hostguard apply`. Where another file of sysctl.d wins at boot, remove its line; in a "
        "container, set it on its machine.",
        references=(
            article("Step 1: Egress Filtering and Firewall Hardening", "its rules track connections"),
            CAPACITY,
            FLOODING,
            manual("modules-load.d(5); networking/nf_conntrack-sysctl.rst"),
        ),
        wants=tracking,
        weakened=weakened(TRACKED),
    ),
    WantingControl(
        id="kernel.custom",
        title="The policy's further kernel parameters hold",
        severity=Severity.MEDIUM,
        rationale="Any parameter that the policy names is held like those of the catalogue: live, and at boot.",
        remediation="Run `hostguard apply`.",
        references=(
            nist("CM-6(1)", "for what the policy names; which settings those should be is yours"),
            manual("sysctl.d(5)"),
        ),
        beyond_article="which further parameters a host needs is the policy's to say",
        wants=custom,
    ),
)

AREA = Area(
    name="kernel",
    controls=CONTROLS,
    least={"vm.swappiness": "10"},
    without="give the parameter another value under `kernel`; leave `kernel` out, and the next apply gives back all "
    "of it",
    role="kernel_tuning",
    does="Kernel parameters for the load that the calls cause",
    # The ceiling of open files follows the limits, and sanctioned inbound ports are reserved.
    reads=("capacity", "limits", "egress.inbound"),
)
