"""The example policy with as many CIDRs as one asks for, and what hostguard makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from hostguard.bundle import compile_policy
from hostguard.host.resource import Resource, placeholders, resolve
from hostguard.policy.load import LoadedPolicy, load
from tests.bench.figure import Unmeasured

EXAMPLE = Path(__file__).parents[2] / "examples" / "hostguard.yml"
CIDRS = 'cidrs: [203.0.113.5/32, "2001:db8::5/128"]'
PROVIDER = "203.0.113.5"
PORT = 443
ACCOUNT = 2000  # every account of the policy gets this number: it exists nowhere but in the rules
MANY = 100_000
FIRST = int(IPv4Address("11.0.0.0"))
FIRST_IPV6 = int(IPv6Address("2600::"))
SHORTEST = 20


def hosts(count: int) -> list[str]:
    """Addresses, no two of them neighbours, and the provider's: one prefix length."""
    return [f"{PROVIDER}/32", *(f"{IPv4Address(FIRST + 7 * at)}/32" for at in range(count - 1))]


def mixed(count: int) -> list[str]:
    """Networks from /20 to /32, as a cloud publishes them, and the provider: thirteen lengths, which a set of the
    kernel's tries one after another."""
    found, at = [f"{PROVIDER}/32"], FIRST
    while len(found) < count:
        length = SHORTEST + (len(found) - 1) % (33 - SHORTEST)
        size = 1 << (32 - length)
        at = (at + size - 1) // size * size
        found.append(f"{IPv4Address(at)}/{length}")
        at += size
    return found


def both(count: int) -> list[str]:
    """The same with every fourth network an IPv6 one (/48), and the provider last."""
    ipv4 = mixed(count - count // 4)
    ipv6 = [f"{IPv6Address(FIRST_IPV6 + (at << 80))}/48" for at in range(count // 4)]
    return [*ipv6, *ipv4[1:], ipv4[0]]


def among(cidrs: Sequence[str], count: int, path: Path) -> Path:
    """The example policy, as a file, with so many providers that share these networks; its own has the last."""
    text = EXAMPLE.read_text(encoding="utf-8")
    ours, before = f"    payments:\n      {CIDRS}", ""
    if ours not in text:
        raise Unmeasured(f"{EXAMPLE} does not have what is replaced here: {ours}")
    share = -(-len(cidrs) // count)
    *others, last = (cidrs[at : at + share] for at in range(0, len(cidrs), share))
    for number, networks in enumerate(others):
        before += f"    provider{number}:\n      cidrs:\n" + "".join(f'        - "{each}"\n' for each in networks)
    quoted = ", ".join(f'"{each}"' for each in last)
    path.write_text(text.replace(ours, f"{before}    payments:\n      cidrs: [{quoted}]"), encoding="utf-8")
    return path


def policy(cidrs: Sequence[str], folder: Path) -> LoadedPolicy:
    """The example policy with these for its provider, from a file."""
    text = EXAMPLE.read_text(encoding="utf-8")
    if CIDRS not in text:
        raise Unmeasured(f"{EXAMPLE} does not have the line that is replaced here: {CIDRS}")
    path = folder / f"{len(cidrs)}.yml"
    path.write_text(text.replace(CIDRS, f"cidrs: [{', '.join(cidrs)}]"), encoding="utf-8")
    return load(path)


def resources(loaded: LoadedPolicy) -> list[Resource]:
    """The sets and rules of a policy, its accounts numbered."""
    return in_the_kernel(compile_policy(loaded).resources, ACCOUNT)


def in_the_kernel(found: Iterable[Resource], account: int) -> list[Resource]:
    """The sets and rules among some resources, with this number for every account."""
    wanted = [r for r in found if r["kind"] in ("ipset", "ruleset")]
    facts = {name: str(account) for name in placeholders(wanted)}
    return [resolve(resource, facts) for resource in wanted]
