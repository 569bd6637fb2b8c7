"""What is well-formed word by word, and still can't be meant: contradictions within a policy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

from hostguard.policy import gateway_checks, keys_checks, late
from hostguard.policy.destinations import NamedReach, Reach, holds, named_reaches, reaches
from hostguard.policy.document import Path
from hostguard.policy.finding import Finding
from hostguard.policy.grammar import Address
from hostguard.policy.model import Capacity, Egress, Policy, Service_, Slice, Waiver
from hostguard.policy.numbers import PORT_RANGE

RESERVED_PORTS = "net.ipv4.ip_local_reserved_ports"
WHOLE_NUMBERS = {
    "fs.file-max", "fs.nr_open", "net.core.netdev_max_backlog", "net.core.somaxconn",
    "net.netfilter.nf_conntrack_buckets", "net.netfilter.nf_conntrack_max", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_timestamps", "net.ipv4.tcp_tw_reuse",
}  # fmt: skip
"""Those that are compared as numbers. The kernel takes none of them with a sign or a word."""
WHOLE = 2**63 - 1


KERNEL_SENDS = {
    ("tcp", 2049): "NFS", ("udp", 2049): "NFS", ("tcp", 3260): "iSCSI",
    ("udp", 1701): "L2TP", ("udp", 4789): "VXLAN", ("udp", 6081): "Geneve", ("udp", 8472): "VXLAN",
    ("udp", 51820): "WireGuard",
}  # fmt: skip
"""By the port that it mostly has; 8472 is the kernel's own for VXLAN, older than IANA's."""
AS_ROOT = {"NFS", "iSCSI"}
"""Their sockets have a file, which is root's: made by a worker of the kernel (xs_create_sock, since Linux 5.1), or by
iscsid. A tunnel's have none."""


def sent_by_kernel(protocol: str, port: int) -> str:
    """What the kernel itself mostly sends there; "" where it sends nothing."""
    return KERNEL_SENDS.get((protocol, port), "")


def contradictions(policy: Policy) -> Iterator[Finding]:
    """Every contradiction in what could be read of a policy; sections that could not be are None."""
    if policy.egress:
        yield from _egress(policy.egress)
    yield from gateway_checks.contradictions(policy)
    yield from keys_checks.contradictions(policy)
    if policy.kernel is not None:
        yield from _kernel(policy.kernel, policy.limits.nofile if policy.limits else None)
    if policy.slices is not None:
        yield from _slices(policy.slices, policy.capacity)
    yield from _waivers(policy.waivers)


def _egress(egress: Egress) -> Iterator[Finding]:
    if egress.via == "proxy" and egress.proxy_user is None:
        yield Finding(("egress", "proxy_user"), "nothing", "the account that the proxy runs as (or via: direct)")
    if not egress.providers and not egress.services:
        yield Finding(("egress", "providers"), "an empty allowlist", "at least one provider or service")
    for key in ("resolvers", "time_servers"):
        servers: tuple[Address, ...] = getattr(egress, key)
        above: set[Address] = set()
        for at, server in enumerate(servers):
            if server.is_unspecified or server.is_multicast:
                yield Finding(("egress", key, at), str(server), "the address of one server")
            elif server.is_loopback:
                expected = "the server that is asked over the network: loopback needs no rule"
                yield Finding(("egress", key, at), str(server), expected)
            elif server in above:
                yield Finding(("egress", key, at), str(server), "each once")
            above.add(server)
    for section, ways in (("providers", egress.providers), ("services", egress.services)):
        for name, way in ways.items():
            if not way.cidrs and not way.hosts:
                yield Finding(("egress", section, name), "neither cidrs nor hosts", "one of them, or both")
            for at, network in enumerate(way.cidrs):
                if network.prefixlen == 0:
                    path: Path = ("egress", section, name, "cidrs", at)
                    yield Finding(path, str(network), "a network: this one is the whole internet")
    if egress.search and not egress.hosts:
        expected = "no such key: without `hosts` /etc/resolv.conf is not hostguard's"
        yield Finding(("egress", "search"), f"{len(egress.search)} domains", expected)
    yield from _overlaps(egress)
    yield from _names(egress)


def _overlaps(egress: Egress) -> Iterator[Finding]:
    """Networks of which one holds the other, for the same account, protocol and port: one of the two is a mistake.

    Sorted by their first address, a network lies in an earlier one exactly if it begins before that one ends.
    """
    groups: dict[tuple[str | None, str, int, int], list[tuple[int, int, int, Reach]]] = {}
    for way in reaches(egress):
        for at, network in enumerate(way.networks):
            key = (way.account, way.protocol, way.port, network.max_prefixlen)
            groups.setdefault(key, []).append((int(network.network_address), network.prefixlen, at, way))
    told: set[Path] = set()
    for (*_, bits), members in groups.items():
        end, there, holder = -1, 0, members[0][-1]
        for first, length, at, way in sorted(members, key=itemgetter(0, 1)):
            if first > end:
                end, there, holder = first + (1 << (bits - length)) - 1, at, way
            elif (path := (*way.path, at)) not in told:
                told.add(path)
                where = f"{'.'.join(map(str, holder.path[1:3]))} holds {holder.networks[there]} for the same port"
                yield Finding(path, str(way.networks[at]), f"no overlap: {where}")


def _names(egress: Egress) -> Iterator[Finding]:
    """Names that nobody can be asked for, that stand there twice, or that the host's resolver can't keep apart."""
    reach: dict[str, dict[tuple[str | None, str, int], Path]] = {}
    told: set[Path] = set()
    for to in named_reaches(egress):
        way = (to.account, to.protocol, to.port)
        expected = _askable(egress, to) or _twice(reach, to, way)
        if expected is None:
            reach.setdefault(to.host, {})[way] = to.path
        elif to.path not in told:
            told.add(to.path)
            yield Finding(to.path, to.host, expected)
    for host, ways in reach.items():
        below = reach.get("*." + host)
        if below is not None and ways.keys() != below.keys():
            expected = f"the same accounts and ports for it and for *.{host}: the host's resolver can't tell them apart"
            yield Finding(next(iter(ways.values())), host, expected)


def _askable(egress: Egress, to: NamedReach) -> str | None:
    if not egress.resolvers:
        return "egress.resolvers, which it is looked up at"
    if to.account and egress.resolver_users and to.account not in egress.resolver_users:
        return f"one that {to.account} may look up: it is none of egress.resolver_users"
    return None


def _twice(
    reach: Mapping[str, Mapping[tuple[str | None, str, int], Path]],
    to: NamedReach,
    way: tuple[str | None, str, int],
) -> str | None:
    for host, ways in reach.items():
        if way in ways and (host == to.host or holds(host, to.host) or holds(to.host, host)):
            return f"no overlap: {'.'.join(map(str, ways[way][1:3]))} names {host} for the same port"
    return None


def _kernel(kernel: Mapping[str, str], nofile: int | None) -> Iterator[Finding]:
    if "net.ipv4.tcp_tw_recycle" in kernel:
        path: Path = ("kernel", "net.ipv4.tcp_tw_recycle")
        yield Finding(path, "a parameter that Linux 4.12 removed", "net.ipv4.tcp_tw_reuse")
    if "net.nf_conntrack_max" in kernel:
        path = ("kernel", "net.nf_conntrack_max")
        yield Finding(path, "another name of the same parameter", "net.netfilter.nf_conntrack_max")
    if kernel.get("net.ipv4.tcp_tw_reuse") == "1" and kernel.get("net.ipv4.tcp_timestamps", "1") == "0":
        yield Finding(("kernel", "net.ipv4.tcp_timestamps"), "0", "1: tcp_tw_reuse needs timestamps")
    if PORT_RANGE in kernel:
        yield from _port_range(kernel[PORT_RANGE])
    for key in sorted(WHOLE_NUMBERS & kernel.keys()):
        if not re.fullmatch("[0-9]{1,19}", kernel[key]) or int(kernel[key]) > WHOLE:
            yield Finding(("kernel", key), kernel[key], f"a whole number from 0 to {WHOLE}")
    ports = kernel.get(RESERVED_PORTS)
    if ports is not None and not _are_ports(ports):
        yield Finding(("kernel", RESERVED_PORTS), ports, 'ports and ranges with commas, such as "8080,8443-8450"')
    for key, expected in late.refused(kernel):
        yield Finding(("kernel", key), kernel[key], expected)
    opens = kernel.get("fs.nr_open")
    if opens and nofile and opens.isdigit() and int(opens) < nofile:
        yield Finding(("kernel", "fs.nr_open"), opens, f"at least limits.nofile ({nofile})")


def _are_ports(text: str) -> bool:
    spans = [re.fullmatch("([0-9]{1,5})(?:-([0-9]{1,5}))?", part.strip(), re.ASCII) for part in text.split(",")]
    return all(span and 1 <= int(span[1]) <= int(span[2] or span[1]) <= 65535 for span in spans)


def _port_range(text: str) -> Iterator[Finding]:
    path: Path = ("kernel", PORT_RANGE)
    match = re.fullmatch(r"([0-9]{1,5}) ([0-9]{1,5})", text)
    if not match or not 1024 <= int(match[1]) < int(match[2]) <= 65535:
        yield Finding(path, text, 'two ports from 1024 to 65535, ascending, such as "10240 65535"')
    elif (int(match[1]) + int(match[2])) % 2 == 0:
        expected = "ends of different parity (the kernel halves the range by it), such as "
        yield Finding(path, text, f'{expected}"{match[1]} {int(match[2]) - 1}"')


def _slices(slices: Mapping[str, Slice], capacity: Capacity | None) -> Iterator[Finding]:
    homes = Counter(unit for wanted in slices.values() for unit in wanted.units)
    for name, wanted in slices.items():
        path: Path = ("slices", name)
        for at, unit in enumerate(wanted.units):
            if homes[unit] > 1:
                yield Finding((*path, "units", at), unit, "each unit in one slice")
        if wanted.memory_high is not None and wanted.memory_max is not None and wanted.memory_high > wanted.memory_max:
            found = f"{wanted.memory_high} bytes"
            yield Finding((*path, "memory_high"), found, f"at most memory_max ({wanted.memory_max} bytes)")
        if not capacity and not wanted.model_fields_set - {"units"}:
            expected = "memory_max, memory_high, cpu_quota or tasks_max (or a capacity)"
            yield Finding(path, "no limit", expected, of=(("capacity",),))


def _waivers(waivers: Sequence[Waiver]) -> Iterator[Finding]:
    said: set[tuple[str, str | None]] = set()
    for at, waiver in enumerate(waivers):
        for number, host in enumerate(waiver.hosts or (None,)):
            place: Path = ("control",) if host is None else ("hosts", number)
            if (waiver.control, host) in said:
                found = waiver.control if host is None else f"{waiver.control} on {host}"
                yield Finding(("waivers", at, *place), found, "one waiver for it: another stands above")
            said.add((waiver.control, host))


def _of_the_kernel(name: str, service: Service_) -> Iterator[Finding]:
    users = service.users or ()
    for what in dict.fromkeys(filter(None, (sent_by_kernel(service.protocol, port) for port in service.ports))):
        path: Path = ("egress", "services", name, "users")
        if what in AS_ROOT and set(users) - {"root"}:
            expected = f"root, or no users at all: the kernel itself sends {what}, as root, whoever it is for"
            yield Finding(path, ", ".join(users), expected)
        elif what not in AS_ROOT and users:
            expected = f"no users at all: the kernel itself sends {what}, and what has no account would be held"
            yield Finding(path, ", ".join(users), expected)


def cautions(policy: Policy) -> Iterator[Finding]:
    """What may well be meant, and still deserves a word."""
    egress = policy.egress
    if egress and not egress.inbound:
        expected = "networks that may connect in: as it is nobody is answered, SSH included"
        yield Finding(("egress", "inbound"), "nothing", expected)
    if egress and not egress.resolvers:
        yield Finding(("egress", "resolvers"), "nothing", "a resolver: as it is no name can be looked up")
    if egress and egress.proxy_user == "root":
        expected = "an account of the proxy's own: as it is every process of root reaches the providers"
        yield Finding(("egress", "proxy_user"), "root", expected)
    for name, service in (egress.services if egress else {}).items():
        yield from _of_the_kernel(name, service)
    yield from gateway_checks.cautions(policy)
    yield from keys_checks.cautions(policy)
    for key, found, expected in late.doubtful(policy.kernel or {}):
        yield Finding(("kernel", key), found, expected)
    used = (policy.kernel, policy.limits, policy.slices, policy.gateway)
    if policy.capacity and all(section is None for section in used):
        expected = "one of kernel, limits, slices, gateway: as it is nothing is derived from it"
        yield Finding(("capacity",), "a section that nothing uses", expected)
