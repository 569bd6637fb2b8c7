"""A provider moved, and somebody keeps its old address: connections go into a black hole."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.control import Context
from hostguard.controls.egress import caches, names
from hostguard.diagnose import probes
from hostguard.diagnose.rule import Asked, Fact, Finding, Rule, Said
from hostguard.impact import Networks
from hostguard.policy.destinations import leaving, named_reaches

Answers = Mapping[str, list[Mapping[str, Any]]]
TRIED, OPEN = "syn-sent", "established"
MINUTES = names.TIMEOUT[names.NEW] // 60


def asks(asked: Asked) -> Mapping[str, Any]:
    found: dict[str, Any] = {f"cache {name}": request for name, request in caches.asks(_context(asked)).items()}
    request, own = probes.answers(asked), probes.own_answers(asked)
    if own and not isinstance(request, str):
        found |= {"resolvers": request, "own": own, "connections": {"collect": "connections"}}
        found["sets"] = {"collect": "set-members", "sets": sorted(_sets(asked))}
    return found


def _context(asked: Asked) -> Context:
    return Context(asked.policy, asked.sizing)


def _sets(asked: Asked) -> dict[str, str]:
    """Each set that an answer of the last hour fills, with its name."""
    families = ("ipv4", "ipv6")
    return {names.set_of(family, names.NEW, host): host for host in probes.names(asked) for family in families}


def judges(asked: Asked, said: Said) -> Iterator[Finding | Fact]:
    of_caches = {name: said[f"cache {name}"] for name in caches.asks(_context(asked))}
    yield from (_of_cache(words) for words in caches.kept_too_long(_context(asked), of_caches))
    if "connections" not in said:
        yield Fact("addresses of connections were not compared: there are no names, or nothing may be asked")
        return
    servers = [str(each) for each in asked.policy.egress.resolvers] if asked.policy.egress else []
    # What is not told of, was asked for all the same.
    told = {
        host: [*(said["resolvers"][server][host] for server in servers), said["own"][probes.OWN][host]]
        for host in probes.names(asked)
    }
    lately: dict[str, set[str]] = {}
    for name, host in _sets(asked).items():
        lately.setdefault(host, set()).update(said["sets"][name] or ())
    for each in said["connections"]["groups"]:
        yield from _of_connection(asked, told, lately, each)


def _of_cache(words: str) -> Finding:
    return Finding(
        subject=words.partition(":")[0],
        seen=words,
        where="its configuration, or its arguments, as told",
        means="it keeps the address of a name for longer than the name's owner says: when the provider moves, "
        "connections go "
        'to where it was ("Connection refused", "No route to host", a timeout), and then to where it is, in turns',
        mend="take the line out and restart it; the host's own resolver keeps nothing beyond its TTL",
        key=("egress",),
    )


def _of_connection(
    asked: Asked, answers: Answers, lately: Mapping[str, set[str]], each: Mapping[str, Any]
) -> Iterator[Finding]:
    """`answers` to each name, and the addresses that an answer of the last hour held."""
    egress = asked.policy.egress
    address = ipaddress.ip_address(each["to"])
    if egress is None or each["state"] not in (TRIED, OPEN) or address.is_loopback:
        return
    hosts = {
        to.host
        for to in named_reaches(egress)
        if to.protocol == "tcp" and to.port == each["port"] and to.account in (None, each["account"])
    }
    if not hosts or not hosts <= set(probes.names(asked)) or _is_named_by_network(asked, each):
        return  # below a `*.` any address may be right
    told = {address for host in hosts for answer in answers[host] for address in answer["addresses"]}
    if each["to"] in told or not all(any(answer["addresses"] for answer in answers[host]) for host in hosts):
        return  # a name without an answer may lead there
    recent = set().union(*(lately[host] for host in hosts))
    if each["state"] == OPEN and (each["to"] in recent or not any(lately.values())):
        return  # one that is open works, and a provider may answer with other addresses each time
    end = f"[{each['to']}]:{each['port']}" if ":" in each["to"] else f"{each['to']}:{each['port']}"
    named = ", ".join(sorted(hosts))
    verb = "tries to connect to" if each["state"] == TRIED else "is connected to"
    concerns = tuple(sorted({str(to.path[2]) for to in named_reaches(egress) if to.host in hosts}))
    yield Finding(
        subject=each["process"] or each["account"],
        seen=f"{each['process'] or 'a process that is not seen'}, {each['account']}, {verb} {end} ({each['count']} "
        f"times); {named} leads to {', '.join(sorted(told))}",
        where=f"`ss -tnp dst {each['to']}`, beside the resolvers' answers",
        means="nobody answers where the provider was: the program keeps an address that no answer holds any more"
        if each["state"] == TRIED
        else f"no answer has held this address for {MINUTES} minutes: what this connection says may be heard by nobody",
        mend="let the program look the name up again: a restart does at once; for good its own cache must end with the "
        "TTL (JVM: networkaddress.cache.ttl, nginx: `resolver` and a variable in proxy_pass, pools: a longest age)",
        key=("egress", "providers" if concerns and concerns[0] in egress.providers else "services", *concerns[:1]),
        unsure="" if each["state"] == TRIED else "a provider may go on serving at an address that it gives out no more",
        concerns=concerns,
    )


def _is_named_by_network(asked: Asked, each: Mapping[str, Any]) -> bool:
    networks = Networks()
    for way in leaving(asked.policy.egress) if asked.policy.egress else ():
        if way.protocol == "tcp" and way.port == each["port"] and way.account in (None, each["account"]):
            for network in way.networks:
                networks.add(network)
    return networks.hold(ipaddress.ip_address(each["to"]))


RULE = Rule(
    id="stale-addresses",
    title="An old address of a provider is kept",
    symptoms=("Connection refused, now and then", "No route to host", "half of the requests time out"),
    article="DNS TTL (Time To Live) mismatch",
    by_hand="""\
dig +short api.provider.com @127.0.0.83
ss -tnp dport = :443                          # addresses that dig does not name
grep -r hosts /etc/nscd.conf; ps -C java -o args= | grep -o 'cache.ttl[^ ]*'""",
    means="A name's owner says for how long an address is good: its TTL. A program or a cache that keeps it for longer "
    "goes on to where the provider was. The host's own resolver keeps none beyond its TTL, and lets no new connection "
    "begin to an address that no answer has held for an hour.",
    mend="The process that is named must look the name up anew. A cache that is named (nscd, unbound, dnsmasq, …) has "
    "a line in its configuration that goes.",
    looks_at="caches on this host that keep names too long, and connections to addresses that no answer holds",
    asks=asks,
    judges=judges,
)  # fmt: skip
