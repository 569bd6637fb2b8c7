"""The example policy with as many CIDRs as one asks for, and what hostguard makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
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
    wanted = [r for r in compile_policy(loaded).resources if r["kind"] in ("ipset", "ruleset")]
    facts = {name: str(ACCOUNT) for name in placeholders(wanted)}
    return [resolve(resource, facts) for resource in wanted]
