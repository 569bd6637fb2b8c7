"""Names are not looked up: EAI_AGAIN and its kin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.diagnose import probes
from hostguard.diagnose.rule import Asked, Fact, Finding, Rule, Said
from hostguard.host.names import UNIT

WELL, NO_NAME, FAILED, SILENT = "NOERROR", "NXDOMAIN", "SERVFAIL", "silent"
RESOLVERS = ("egress", "resolvers")
AGAIN = 'a lookup ends with EAI_AGAIN ("Temporary failure in name resolution")'
Codes = Mapping[str, Mapping[str, Any]]


def asks(asked: Asked) -> Mapping[str, Any] | str:
    request = probes.answers(asked)
    if isinstance(request, str):
        return request
    own = probes.own_answers(asked)
    return {"resolvers": request, **({"own": own} if own else {})}


def judges(asked: Asked, said: Said) -> Iterator[Finding | Fact]:
    egress = asked.policy.egress
    servers = [str(each) for each in egress.resolvers] if egress else []
    # What is not told of, was asked for all the same.
    told: Codes = {
        server: {name: said["resolvers"][server][name] for name in probes.names(asked) or ["."]} for server in servers
    }
    unheard = [server for server, names in told.items() if all(not _is_word(each) for each in names.values())]
    heard = [server for server in told if server not in unheard]
    yield from _silent(asked, told, unheard, heard)
    for name in probes.names(asked):
        yield from _of_name(asked, name, {server: told[server][name] for server in heard})
    if "own" in said:
        yield from _own(asked, {name: said["own"][probes.OWN][name] for name in probes.names(asked)}, told)


def _is_word(answer: Mapping[str, Any]) -> bool:
    """Whether a server said something, and not the kernel or nobody."""
    return answer["code"] != SILENT and not answer["code"].startswith("E")


def _silent(asked: Asked, told: Codes, unheard: list[str], heard: list[str]) -> Iterator[Finding | Fact]:
    if heard:
        yield Fact(f"answered by {', '.join(heard)}")
    for server in unheard:
        code = next(iter(told[server].values()))["code"]
        how = "no answer within 2 s" if code == SILENT else f"the question came back with {code}"
        if heard:
            egress = asked.policy.egress
            shared = "the host's own resolver asks all of them at once, so lookups go on, with one less in reserve"
            slow = f"a program that asks it first waits 5 s for each lookup, until {heard[0]} is asked (resolv.conf(5))"
            means = shared if egress and egress.hosts else slow
        else:
            means = f"no resolver of the policy answers: {AGAIN}, and what keeps no address connects to nothing"
        if code == "EPERM":
            means += (
                "; EPERM is the firewall's word: the rules in force are not those of this policy, or others are first"
            )
        mend = "bring it back, or put another one in its place under `resolvers`, and apply"
        yield Finding(
            subject=f"resolver {server}", seen=how, where=f"UDP question to {server}:53", means=means, mend=mend,
            key=RESOLVERS,
        )  # fmt: skip


def _of_name(asked: Asked, name: str, by: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """What the servers that answered say of it."""
    concerns, key = owners(asked, name)
    failing = [server for server, each in by.items() if each["code"] not in (WELL, NO_NAME) and _is_word(each)]
    for server in failing:
        others = [other for other in by if other not in failing]
        yield Finding(
            subject=name,
            seen=f"{server} says {by[server]['code']}",
            where=f"answer of {server} for {name}, A and AAAA",
            means=f"{AGAIN}, wherever this resolver is asked first" if others else f"{AGAIN}, whoever is asked",
            mend=f"ask who runs {server}: it can't reach the name servers of that domain, or their signatures (DNSSEC) "
            "do not hold" + ("" if others else "; a second resolver of somebody else's would go on"),
            key=RESOLVERS,
            concerns=concerns,
        )
    rest = {server: each for server, each in by.items() if server not in failing}
    if rest and all(each["code"] == NO_NAME for each in rest.values()):
        yield Finding(
            subject=name,
            seen=f"NXDOMAIN from {', '.join(rest)}",
            where=f"answers for {name}, A and AAAA",
            means='there is no such name: a lookup ends with EAI_NONAME ("Name or service not known")',
            mend="correct the name in the policy and in the application; a name of your own network needs a resolver "
            "that knows it",
            key=key,
            concerns=concerns,
        )
    elif unknown := [server for server, each in rest.items() if each["code"] == NO_NAME]:
        others = [server for server in rest if server not in unknown]
        yield Finding(
            subject=name,
            seen=f"NXDOMAIN from {', '.join(unknown)}, and an answer from {', '.join(others)}",
            where=f"answers for {name}, A and AAAA",
            means="the resolvers do not know the same names: a lookup works or fails (EAI_NONAME) by who answers first",
            mend=f"take {unknown[0]} out of `resolvers`, or let it know the name, and apply",
            key=RESOLVERS,
            concerns=concerns,
        )
    elif rest and not any(each["addresses"] for each in rest.values()):
        yield Finding(
            subject=name,
            seen=f"no address from {', '.join(rest)}",
            where=f"answers for {name}, A and AAAA",
            means="the name is there and leads nowhere: a lookup ends with EAI_NODATA or EAI_NONAME",
            mend="ask the provider: it has taken the addresses away, or means another name",
            key=key,
            concerns=concerns,
        )


def _own(asked: Asked, own: Mapping[str, Any], told: Codes) -> Iterator[Finding]:
    if own and all(not _is_word(each) for each in own.values()):
        code = next(iter(own.values()))["code"]
        if not any(_is_word(each) for names in told.values() for each in names.values()):
            return  # it has nobody to ask, and that is said
        yield Finding(
            subject=UNIT,
            seen="no answer" if code == SILENT else f"the question came back with {code}",
            where=f"UDP question to {probes.OWN}:53, while the resolvers answer",
            means=f"the host's own resolver, which every lookup goes to, does not answer: {AGAIN}",
            mend=f"`systemctl status {UNIT}` says why it does not run; `hostguard apply` puts it back",
            concerns=(),
        )
        return
    for name, each in own.items():
        known = [server for server, names in told.items() if names.get(name, {}).get("addresses")]
        if known and not each["addresses"] and _is_word(each):
            concerns, key = owners(asked, name)
            yield Finding(
                subject=name,
                seen=f"the host's own resolver says {each['code']} and no address; {', '.join(known)} has some",
                where=f"answer of {probes.OWN} for {name}",
                means="the policy in force on this host does not have this name, or it is a provider's and leads into "
                "a private network, which is refused: the application hears that there is no such name",
                mend="`hostguard apply` if the name is new; a name of your own network belongs under `services`",
                key=key,
                concerns=concerns,
            )


def owners(asked: Asked, name: str) -> tuple[tuple[str, ...], tuple[str | int, ...]]:
    """The providers and services that have this name, and where the policy says so first."""
    egress = asked.policy.egress
    if egress is None:
        return (), ()
    found: list[tuple[str, tuple[str | int, ...]]] = []
    for section, ways in (("providers", egress.providers), ("services", egress.services)):
        for of, way in ways.items():
            found += [(of, ("egress", section, of, "hosts"))] if name in way.hosts else []
    return tuple(of for of, _ in found), found[0][1] if found else ()


RULE = Rule(
    id="lookups",
    title="A name is not looked up",
    symptoms=("Temporary failure in name resolution", "EAI_AGAIN", "Name or service not known", "EAI_NONAME",
              "[Errno -3]", "[Errno -2]", "getaddrinfo ENOTFOUND", "no such host", "SERVFAIL", "NXDOMAIN"),
    article="DNS Resolution Fail, EAI_AGAIN",
    by_hand="""\
cat /etc/resolv.conf
runuser -u dnsmasq -- dig +tries=1 api.provider.com @10.0.0.2    # each of the policy's resolvers
dig +tries=1 api.provider.com @127.0.0.83                        # the host's own, where the policy has names
systemctl status hostguard-names.service""",
    means="EAI_AGAIN is no word about the name: a resolver was silent, or said SERVFAIL. EAI_NONAME is one: NXDOMAIN. "
    "Where the policy has `hosts`, the host's own resolver (127.0.0.83) answers NXDOMAIN for every name that the "
    "policy lacks, and asks no other for it. Only the accounts of `resolver_users` get an answer.",
    mend="A silent resolver: another one under `egress.resolvers`. NXDOMAIN from 127.0.0.83 alone: the name is missing "
    "under `egress.providers.NAME.hosts`, or was not applied. NXDOMAIN from all: the name is wrong. "
    "`hostguard why ACCOUNT NAME` tells what the policy says.",
    looks_at="each name of the policy at each of its resolvers, and at the host's own",
    asks=asks,
    judges=judges,
)  # fmt: skip
