"""From any egress policy: the sets hold what it says, and the chains end where they must."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hostguard.attack.aim import attempts, named
from hostguard.bundle import compile_policy
from hostguard.controls import CATALOGUE
from hostguard.host.resource import Resource
from hostguard.policy.load import LoadedPolicy
from hostguard.policy.model import Policy

accounts = st.from_regex(r"[a-z_][a-z0-9_-]{0,31}", fullmatch=True)
ports = st.lists(st.integers(1, 65535), min_size=1, max_size=3, unique=True)
v4 = st.builds(
    lambda n, length: str(ipaddress.ip_network((n, length), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)
v6 = st.builds(
    lambda n, length: str(ipaddress.ip_network((n, length), strict=False)),
    st.integers(2**125, 2**126),
    st.integers(4, 128),
)
cidrs = st.lists(v4 | v6, min_size=1, max_size=3, unique=True)
names = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
everywhere = st.just(["0.0.0.0/0", "::/0"])
hosts = st.lists(
    st.builds(
        "{}{}.{}".format, st.sampled_from(["", "*."]), st.from_regex(r"[a-z][a-z0-9]{0,30}", fullmatch=True),
        st.sampled_from(["com", "provider.com", "a-rather-long-name.example"])
    ),
    min_size=1, max_size=3, unique=True,
)  # fmt: skip
providers = st.fixed_dictionaries({"cidrs": cidrs, "ports": ports}, optional={"hosts": hosts})
callers = st.fixed_dictionaries({"from": cidrs | everywhere, "ports": ports})
ways = st.fixed_dictionaries(
    {"cidrs": cidrs, "ports": ports},
    optional={
        "hosts": hosts,
        "users": st.lists(accounts, min_size=1, max_size=2, unique=True),
        "protocol": st.sampled_from(["tcp", "udp"]),
    },
)
egresses = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["enforce", "observe"]),
        "via": st.sampled_from(["proxy", "direct"]),
        "proxy_user": accounts,
        "resolvers": st.lists(st.sampled_from(["10.0.0.2", "2001:db8::2"]), unique=True),
        "time_servers": st.lists(st.just("10.0.0.3"), max_size=1),
        "providers": st.dictionaries(names, providers, min_size=1, max_size=3),
        "services": st.dictionaries(names, ways, max_size=3),
        "inbound": st.dictionaries(names, callers, max_size=2),
        "containers": st.sampled_from(["deny", "same"]),
    },
    optional={"resolver_users": st.lists(accounts, min_size=1, max_size=3, unique=True)},
)  # fmt: skip

TELLING = ("LOG", "NFLOG", "NFLOG")  # the journal, and who listens: to answers and to what is none


def compiled(egress: dict[str, Any]) -> tuple[Policy, list[Resource]]:
    policy = Policy.model_validate({"version": 1, "egress": egress})
    return policy, list(compile_policy(LoadedPolicy(policy, "test", "", ())).resources)


def of_kind(resources: list[Resource], kind: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] == kind]


@given(egresses)
def test_the_sets_hold_exactly_what_the_policy_says(egress: dict[str, Any]) -> None:
    policy, resources = compiled(egress)
    sets = {resource["name"]: set(resource["entries"]) for resource in of_kind(resources, "ipset")}
    leaving = [resource for resource in of_kind(resources, "ruleset") if resource["hook"] == "OUTPUT"]
    rules = [rule for resource in leaving for rule in resource["rules"]]
    said: dict[str | None, set[str]] = {}

    def say(who: list[str] | None, networks: list[str], protocol: str, wanted: list[int]) -> None:
        for account in who or [None]:
            said.setdefault(account, set()).update(f"{n},{protocol}:{p}" for n in networks for p in wanted)

    def host(address: str) -> str:
        return f"{address}/{128 if ':' in address else 32}"

    proxy = [egress["proxy_user"]] if egress["via"] == "proxy" else None
    for provider in egress["providers"].values():
        say(proxy, provider["cidrs"], "tcp", provider["ports"])
    for service in egress["services"].values():
        say(service.get("users"), service["cidrs"], service.get("protocol", "tcp"), service["ports"])
    ways = [*egress["providers"].values(), *egress["services"].values()]
    askers = ["dnsmasq"] if any("hosts" in way for way in ways) else egress.get("resolver_users")
    for protocol in ("tcp", "udp"):
        say(askers, [host(a) for a in egress["resolvers"]], protocol, [53])
    say(None, [host(a) for a in egress["time_servers"]], "udp", [123])

    for account, entries in said.items():
        matching = (
            [rule for rule in rules if f"--uid-owner ${{uid:{account}}} " in rule]
            if account
            else [rule for rule in rules if rule.startswith("-m set ") and "dst,dst" in rule]
        )
        reached = {name for rule in matching for name in sets if f"--match-set {name} " in rule}
        assert set().union(*(sets[name] for name in reached)) == entries, account
    # And no set is there for nobody.
    assert policy.egress is not None
    by_hand = set().union(*said.values())
    for name, entries in sets.items():
        assert entries <= by_hand or name.endswith(("INBOUND", "HELD"))


@given(egresses)
def test_the_chains_keep_their_shape(egress: dict[str, Any]) -> None:
    _, resources = compiled(egress)
    for resource in of_kind(resources, "ruleset"):
        assert len(resource["chain"]) <= 28  # XT_EXTENSION_MAXNAMELEN
        targets = [rule.rpartition("-j ")[2].split()[0] for rule in resource["rules"]]
        if egress["mode"] == "observe":
            assert resource["policy"] is None
            assert resource["hook"] == "INPUT" or set(targets) <= {"RETURN", *TELLING}
        elif resource["hook"] == "OUTPUT":
            assert (resource["policy"], targets[-4:]) == ("DROP", [*TELLING, "DROP"])
            assert resource["first"]
        elif resource["hook"] == "FORWARD":
            assert targets[-4:] == [*TELLING, "DROP"]
            assert "ACCEPT" not in targets, "what may pass is still subject to other tools' rules"
        else:
            assert set(targets) == {"ACCEPT"}
            assert not any("NEW" in rule for rule in resource["rules"])
    families = {(resource["family"], resource["hook"]) for resource in of_kind(resources, "ruleset")}
    assert families == {(family, hook) for family in ("ipv4", "ipv6") for hook in ("OUTPUT", "FORWARD", "INPUT")}


@given(egresses)
def test_a_bundle_is_sound(egress: dict[str, Any]) -> None:
    _, resources = compiled(egress)
    identities = [resource["id"] for resource in resources]
    assert len(set(identities)) == len(identities)
    assert {resource["control"] for resource in resources} <= {control.id for control in CATALOGUE}
    sets = of_kind(resources, "ipset")
    assert len({resource["name"] for resource in sets}) == len(sets)
    assert all(len(resource["name"]) <= 31 for resource in sets)
    assert not any("/0," in entry for resource in sets for entry in resource["entries"]), "hash:net knows no /0"
    files = {resource["path"]: resource["content"] for resource in of_kind(resources, "file")}
    for family in ("ipv4", "ipv6"):
        lines = files[f"/etc/hostguard/egress/{family}.rules"].splitlines()
        for resource in of_kind(resources, "ruleset"):
            if resource["family"] == family:
                written = [line for line in lines if line.startswith(f"-A {resource['chain']} ")]
                assert written == [f"-A {resource['chain']} {rule}" for rule in resource["rules"]]
    assert files["/etc/hostguard/egress/sets"].count("create ") == len(sets)


def test_long_accounts_get_sets_of_their_own() -> None:
    twins = ["a" * 31 + "b", "a" * 31 + "c", "any", "held"]
    services = {name[-3:]: {"cidrs": ["10.0.0.1/32"], "ports": [1], "users": [name]} for name in twins}
    _, resources = compiled({"via": "direct", "services": services})
    made = [resource["name"] for resource in of_kind(resources, "ipset")]
    assert len(set(made)) == 4
    assert all(len(name) <= 31 for name in made)


@settings(max_examples=50)
@given(egresses)
def test_the_rehearsal_tries_what_the_policy_means(egress: dict[str, Any]) -> None:
    policy, _ = compiled(egress)
    assert policy.egress is not None
    tries = attempts(policy.egress)
    networks = [network for network in named(policy.egress) if network.prefixlen]
    for attempt in tries:
        if attempt.case.to == ("enemy",) and attempt.address and not attempt.sanctioned:
            assert not any(ipaddress.ip_address(attempt.address) in network for network in networks)
    sanctioned = {attempt.name for attempt in tries if attempt.sanctioned}
    assert {f"provider {name}" for name in egress["providers"]} <= sanctioned


BY_NAME = {
    "proxy_user": "envoy",
    "resolvers": ["10.0.0.2", "2001:db8::2"],
    "resolver_users": ["envoy", "vault-agent"],
    "providers": {"a": {"hosts": ["api.a.com", "*.b.com"], "ports": list(range(1, 18))}},
    "services": {
        "s": {"hosts": ["in.b.com", "api.a.com"], "ports": [8200], "users": ["vault-agent"]},
        "t": {"hosts": ["api.a.com"], "ports": [53], "protocol": "udp", "users": ["vault-agent"]},
    },
}


def of_file(resources: list[Resource], path: str) -> list[str]:
    return next(r["content"] for r in resources if r.get("path") == path).splitlines()


def test_a_name_is_let_out_to_its_accounts_and_ports_through_sets_of_its_own() -> None:
    _, resources = compiled(BY_NAME)
    for version, hook in ((4, "OUTPUT"), (6, "OUTPUT")):
        (chain,) = (r for r in of_kind(resources, "ruleset") if (r["family"], r["hook"]) == (f"ipv{version}", hook))
        rules = [rule for rule in chain["rules"] if "multiport" in rule]
        said = {
            (rule.split()[1], rule.split("--dports ")[1].split()[0], rule.split("--uid-owner ")[1].split()[0])
            for rule in rules
            if "--uid-owner" in rule
        }
        many = ",".join(map(str, range(1, 16)))
        envoy, vault = "${uid:envoy}", "${uid:vault-agent}"
        assert said == {("tcp", many, envoy), ("tcp", "16,17", envoy), ("tcp", "8200", vault), ("udp", "53", vault)}
        # What is open goes on, and no more: a new connection is let out by the set that forgets.
        for rule in rules:
            opened = "--ctstate ESTABLISHED --ctdir ORIGINAL" in rule
            assert f"--match-set hostguard-{version}-{'OPEN' if opened else 'NEW'}-" in rule
        made = {r["name"]: r for r in of_kind(resources, "ipset") if "timeout" in r}
        named = {rule.split("--match-set ")[1].split()[0] for rule in rules}
        assert named == {name for name in made if name.startswith(f"hostguard-{version}-")}
    assert {r["timeout"] for r in made.values() if "-NEW-" in r["name"]} == {3600 + 300}


def test_the_resolver_asks_for_the_names_alone() -> None:
    _, resources = compiled(BY_NAME)
    lines = of_file(resources, "/etc/hostguard/egress/names.conf")
    hosts = ("*.b.com", "api.a.com", "in.b.com")
    asked = [f"server=/{host}/{server}" for host in hosts for server in BY_NAME["resolvers"]]
    assert [line for line in lines if line.startswith("server=")] == asked
    # A name below another is one too, unless that one is said to hold all.
    assert [line for line in lines if line.startswith("local=")] == ["local=/*.api.a.com/", "local=/#/"]
    assert "max-ttl=300" in lines
    assert "max-cache-ttl=300" in lines
    filled = {line.split("/")[1]: line.split("/")[2].split(",") for line in lines if line.startswith("ipset=")}
    assert {host: len(sets) for host, sets in filled.items()} == {"b.com": 4, "api.a.com": 4, "in.b.com": 8}
    assert set(filled["b.com"]) < set(filled["in.b.com"]), "whoever may reach all of b.com may reach it too"
    assert all(len(line) < 1025 for line in lines), "dnsmasq's MAXDNAME"
    assert of_file(resources, "/etc/resolv.conf")[1] == "nameserver 127.0.0.83"


def test_who_may_not_ask_resolvers_may_not_ask_the_host_s_own() -> None:
    _, resources = compiled(BY_NAME)
    (chain,) = (r for r in of_kind(resources, "ruleset") if (r["family"], r["hook"]) == ("ipv4", "OUTPUT"))
    assert chain["rules"][:3] == [
        "! -d 127.0.0.83/32 -o lo -m addrtype --dst-type LOCAL -j ACCEPT",
        "-d 127.0.0.83/32 -o lo -m owner --uid-owner ${uid:envoy} -j ACCEPT",
        "-d 127.0.0.83/32 -o lo -m owner --uid-owner ${uid:vault-agent} -j ACCEPT",
    ]
    _, resources = compiled({key: value for key, value in BY_NAME.items() if key != "resolver_users"})
    (chain,) = (r for r in of_kind(resources, "ruleset") if (r["family"], r["hook"]) == ("ipv4", "OUTPUT"))
    assert chain["rules"][0] == "-o lo -m addrtype --dst-type LOCAL -j ACCEPT"


def test_observing_answers_every_name() -> None:
    _, resources = compiled({**BY_NAME, "mode": "observe"})
    lines = of_file(resources, "/etc/hostguard/egress/names.conf")
    assert {"log-queries", "server=10.0.0.2", "server=2001:db8::2"} <= set(lines)
    assert not [line for line in lines if line.startswith(("local=", "stop-dns-rebind"))]


def test_without_names_there_is_no_resolver() -> None:
    _, resources = compiled(
        {"via": "direct", "resolvers": ["10.0.0.2"], "providers": {"a": {"cidrs": ["10.1.0.1/32"]}}}
    )
    assert not [resource for resource in resources if resource["control"] == "egress.names"]
