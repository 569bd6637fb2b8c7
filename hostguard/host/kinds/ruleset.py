"""One chain of our own in a table, the jump to it from a built-in chain, and that chain's policy.

All the rulesets of one family are loaded by one `iptables-restore --noflush`: the kernel takes all of a table or none,
and the rules of other tools stay where they are.

iptables does not show all that acts on a packet. What only nft shows is asked of nft: a table that is switched off
(dormant), and chains that change where a packet goes once our chain has let it out.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional, Tuple

from ..facts import has_ipv6
from ..program import find, run
from ..resource import (
    VALUE,
    Difference,
    HostError,
    Observation,
    Resource,
    each,
    not_applicable,
    unreadable,
    value,
)

COMMAND = {"ipv4": "iptables", "ipv6": "ip6tables"}
LEGACY_TABLES = {"ipv4": "/proc/net/ip_tables_names", "ipv6": "/proc/net/ip6_tables_names"}
WAIT = ["-w", "10"]  # seconds to wait for the xtables lock that the legacy backend takes


def backend(family: str = "ipv4") -> Optional[str]:
    """The backend in force, `nft` or `legacy`; None where iptables is not installed."""
    program = find(COMMAND[family])
    if program is None:
        return None
    name = os.path.basename(os.path.realpath(program))
    if "nft" in name or "legacy" in name:
        return "nft" if "nft" in name else "legacy"
    return "nft" if "nf_tables" in run([COMMAND[family], "--version"]).stdout else "legacy"


def legacy_tables(family: str) -> List[str]:
    """The legacy tables that the kernel holds. Asking iptables-legacy-save instead would load the modules."""
    try:
        with open(LEGACY_TABLES[family], encoding="ascii") as file:
            return file.read().split()
    except FileNotFoundError:
        return []


def table_of(resource: Resource) -> str:
    return str(resource.get("table", "filter"))  # what was recorded before there were others has none


def tables(family: str) -> Dict[str, str]:
    """`iptables-save` by table; what is not there yet is not in it."""
    if backend(family) == "legacy" and not legacy_tables(family):
        return {}
    try:
        saved = run([COMMAND[family] + "-save"]).stdout
    except HostError:
        asked = {name: _nft_chains(family, name) for name in ("filter", "mangle")}
        if not any(asked.values()):
            raise
        return {name: _chain_by_chain(family, name, chains) for name, chains in asked.items() if chains}
    return {block.partition("\n")[0]: "*" + block for block in re.split(r"^\*", saved, flags=re.MULTILINE)[1:]}


UNSHOWN = "(a rule of nft's own, which iptables can't show)"


def _chain_by_chain(family: str, table: str, chains: List[str]) -> str:
    """One rule that iptables has no words for ends `iptables-save`; asked by chain, only its own is not shown."""
    lines = ["*" + table]
    for chain in chains:
        done = run([COMMAND[family], "-t", table, "-S", chain], check=False)
        for line in done.stdout.splitlines():
            verb, name, *rest = line.split()
            lines.append(line if verb == "-A" else ":{} {} [0:0]".format(name, rest[0] if verb == "-P" else "-"))
        if done.returncode:
            lines.insert(1, "-A {} {}".format(chain, UNSHOWN))
    return "\n".join(lines) + "\n"


FAMILY_OF = {"ip6": "ipv6"}  # all others carry IPv4, and most of them both
LEAVING = re.compile(r"hook (?:output|postrouting|egress) ")
FORWARDING = re.compile(r"hook forward ")
SENDING = re.compile(r"\b(?:ip6? daddr|\w+ dport|ether daddr|@\w+,\d+,\d+) set\b|\b(?:fwd|dup) to\b")


def parse_nft(text: str) -> Dict[str, Dict[str, List[str]]]:
    """`nft list ruleset` by family: the `dormant` tables, and the chains that send packets elsewhere, those of the
    host itself (`OUTPUT`, with what it forwards or not) and those that it forwards alone (`FORWARD`)."""
    found: Dict[str, Dict[str, List[str]]] = {
        family: {"dormant": [], "OUTPUT": [], "FORWARD": []} for family in COMMAND
    }
    for block in re.split(r"^(?=table )", text, flags=re.MULTILINE):
        head = re.match(r"table ((\S+) \S+) ", block)
        if head is None:
            continue
        of_family = found[FAMILY_OF.get(head.group(2), "ipv4")]
        if re.search(r"^\tflags [^\n]*\bdormant\b", block, re.MULTILINE):
            of_family["dormant"].append(head.group(1))
            continue
        hook, there = ("OUTPUT", LEAVING) if LEAVING.search(block) else ("FORWARD", FORWARDING)
        if there.search(block):
            for name, body in re.findall(r"^\tchain (\S+) {\n(.*?)^\t}", block, re.MULTILINE | re.DOTALL):
                # A chain without a hook is reached from those that have one.
                if SENDING.search(body) and (" hook " not in body or there.search(body)):
                    of_family[hook].append("{} {}".format(head.group(1), name))
    return found


def _nft() -> Dict[str, Dict[str, List[str]]]:
    """Nothing where there is no nft: what only it shows, only it can have made."""
    return parse_nft(run(["nft", "-s", "-t", "list", "ruleset"], check=False).stdout if find("nft") else "")


def parse(text: str) -> Dict[str, Any]:
    """`iptables-save` of one table as {"policies": {chain: policy}, "rules": {chain: [rule without -A chain]}}."""
    policies: Dict[str, str] = {}
    rules: Dict[str, List[str]] = {}
    for line in text.splitlines():
        if line.startswith(":"):
            chain, policy = line[1:].split()[:2]
            policies[chain] = policy
            rules.setdefault(chain, [])
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            rules.setdefault(chain, []).append(rule)
    return {"policies": policies, "rules": rules}


def read(resources: List[Resource]) -> Dict[str, Observation]:
    seen: Dict[str, Observation] = {}
    nft = _nft()
    for family, members in by_family(resources).items():
        if family == "ipv6" and not has_ipv6():
            seen.update({r["id"]: not_applicable("this kernel has no IPv6") for r in members})
            continue
        try:
            if backend(family) is None:
                raise HostError("{} is not installed on this host".format(COMMAND[family]))
            found = {name: parse(text) for name, text in tables(family).items()}
        except HostError as error:
            seen.update({r["id"]: unreadable(str(error)) for r in members})
            continue
        canonical: Optional[Dict[str, List[str]]] = None
        for resource in members:
            chain, hook, table = resource["chain"], resource["hook"], table_of(resource)
            here = found.get(table, NOTHING)
            rules = here["rules"].get(chain)
            if rules is not None and rules != resource["rules"]:
                # Not the same to the letter: let this host's own iptables say how it would write ours.
                canonical = canonical if canonical is not None else _canonical(family, members)
            hooked = here["rules"].get(hook, [])
            policy = here["policies"].get(hook, "ACCEPT")
            jumps = [at for at, rule in enumerate(hooked, 1) if rule == "-j " + chain]
            ahead = hooked[: jumps[0] - 1] if jumps else []
            seen[resource["id"]] = value(
                {
                    "policy": policy,
                    "rules": rules,
                    "canonical": (canonical or {}).get(chain),
                    "jumps": jumps,
                    "before": next((rule for rule in ahead if lets_past(rule, here["rules"], policy)), ""),
                    "table": bool(here["policies"]),
                    "dormant": "{} {}".format(NFT_FAMILY[family], table) in nft[family]["dormant"],
                    "sending": nft[family].get(hook, []),
                }
            )
    return seen


NOTHING: Dict[str, Any] = {"policies": {}, "rules": {}}
# Targets after which a packet goes on to the next rule, or nowhere. Of any other it is taken that it lets past.
GOES_ON = (
    "AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "DROP", "DSCP", "ECN", "HL", "LOG", "MARK", "NFLOG",
    "REJECT", "SECMARK", "SET", "TCPMSS", "TRACE", "TTL", "ULOG",
)  # fmt: skip


def lets_past(rule: str, chains: Dict[str, List[str]], policy: str, seen: Tuple[str, ...] = ()) -> bool:
    """Whether a rule of a built-in chain with this policy may let a packet go without the rules behind it.

    So that what only drops may stand before ours: fail2ban and kube-proxy put their own first, again and again.
    """
    words = rule.split()
    if "-g" in words:
        return True  # it comes back one chain further up, wherever that is
    if "-j" not in words:
        return rule == UNSHOWN
    target = words[words.index("-j") + 1]
    if target == "RETURN":
        return not seen and policy != "DROP"
    if target in chains:
        # The kernel takes no loops: each chain is met once on the way down.
        return any(lets_past(each, chains, policy, (*seen, target)) for each in chains[target] if target not in seen)
    return target not in GOES_ON


def by_family(resources: List[Resource]) -> Dict[str, List[Resource]]:
    families: Dict[str, List[Resource]] = {}
    for resource in resources:
        families.setdefault(resource["family"], []).append(resource)
    return families


def _by_table(resources: List[Resource]) -> Dict[str, List[Resource]]:
    found: Dict[str, List[Resource]] = {}
    for resource in resources:
        found.setdefault(table_of(resource), []).append(resource)
    return found


def _canonical(family: str, resources: List[Resource]) -> Dict[str, List[str]]:
    """Our rules as this host's iptables writes them, from a network namespace that exists for this question.

    Without the right to make one, the rules are compared as they stand.
    """
    option = {"ipv4": "inet", "ipv6": "inet6"}[family]
    sets = sorted({name for r in resources for name in set_names(r["rules"])})
    make = "".join("ipset create {} {} family {}\n".format(name, _set_type(name), option) for name in sets)
    # What the shell reads holds nothing but names that the controller made: the rules come by standard input.
    inside = make + "{0}-restore --noflush && {0}-save".format(COMMAND[family])
    done = run(["unshare", "--net", "--", "sh", "-ec", inside], text=load_script(resources, {}), check=False)
    return parse(done.stdout)["rules"] if done.returncode == 0 else {}


def set_names(rules: List[str]) -> List[str]:
    return [words[at + 1] for words in map(str.split, rules) for at, word in enumerate(words) if word == "--match-set"]


def _set_type(name: str) -> str:
    if re.match("hostguard-[46]-(NEW|OPEN)-", name):
        return "hash:ip"
    return "hash:ip,port" if name.endswith("-HELD") else "hash:net,port"


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    have = seen.value
    found = []
    if have.get("dormant"):
        table = "{} {}".format(NFT_FAMILY[resource["family"]], table_of(resource))
        blocked = "the table is switched off: `nft add table {}` switches it on".format(table)
        found.append(Difference("table", "dormant", "in force", blocked))
    # Where nothing is held, nothing is let past.
    for chain in have.get("sending", []) if resource["rules"][-1:] == ["-j DROP"] else []:
        blocked = "what our chain let out is sent elsewhere by nft's chain {0}: `nft flush chain {0}`".format(chain)
        found.append(Difference("destination", "changed by nft's chain {}".format(chain), "as it was let out", blocked))
    if resource["policy"] and have["policy"] != resource["policy"]:
        found.append(Difference("policy", have["policy"], resource["policy"]))
    if have["rules"] is None:
        found.append(Difference("rules", "", "\n".join(resource["rules"])))
    elif have["rules"] != resource["rules"] and have["rules"] != have["canonical"]:
        want = have["canonical"] or resource["rules"]
        found.append(Difference("rules", "\n".join(have["rules"]), "\n".join(want)))
    if len(have["jumps"]) != 1 or (resource["first"] and have["before"]):
        if not have["jumps"]:
            shown = "none"
        elif len(have["jumps"]) > 1:
            shown = "there {} times".format(len(have["jumps"]))
        else:
            shown = "at {}, behind: {}".format(have["jumps"][0], have["before"])
        found.append(
            Difference("jump", shown, "{} first".format(resource["chain"]) if resource["first"] else "one jump")
        )
    return found


def _where(resource: Resource) -> str:
    table = table_of(resource)
    return "{} {}{}".format(resource["family"], resource["hook"], "" if table == "filter" else " of " + table)


def wanted(resource: Resource) -> str:
    policy = "policy {}, ".format(resource["policy"]) if resource["policy"] else ""
    return "{}: {}{} of {} rules{}".format(
        _where(resource), policy, resource["chain"], len(resource["rules"]), ", first" if resource["first"] else ""
    )


def seen_as(resource: Resource, seen: Observation) -> str:
    have = seen.value
    rules = "absent" if have["rules"] is None else "{} rules".format(len(have["rules"]))
    return "{}: policy {}, {} {}".format(_where(resource), have["policy"], resource["chain"], rules)


def load_script(resources: List[Resource], jumps: Dict[str, List[int]]) -> str:
    """What `iptables-restore --noflush` reads to reach the resources of one family.

    `jumps` gives, by resource id, the positions of the jumps that are there and must go first. With none it is
    what a boot loads into a fresh table.
    """
    return "".join(_load_table(table, members, jumps) for table, members in _by_table(resources).items())


def _load_table(table: str, resources: List[Resource], jumps: Dict[str, List[int]]) -> str:
    lines = ["*" + table]
    for resource in resources:
        lines.append(":{} - [0:0]".format(resource["chain"]))
        if resource["policy"]:
            lines.append(":{} {} [0:0]".format(resource["hook"], resource["policy"]))
    for resource in resources:
        lines += ["-D {} -j {}".format(resource["hook"], resource["chain"])] * len(jumps.get(resource["id"], []))
        lines.append("-I {} 1 -j {}".format(resource["hook"], resource["chain"]))
        lines += ["-A {} {}".format(resource["chain"], rule) for rule in resource["rules"]]
    return "\n".join(lines) + "\nCOMMIT\n"


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    for family, members in by_family(resources).items():
        jumps = {r["id"]: seen[r["id"]].value["jumps"] for r in members}
        _restore(family, load_script(members, jumps))


def _restore(family: str, text: str) -> None:
    run([COMMAND[family] + "-restore", *WAIT, "--noflush"], text=text)


def capture(resources: List[Resource]) -> Dict[str, Any]:
    captured: Dict[str, Any] = {}
    seen = read(resources)
    for family, members in by_family(resources).items():
        for table, of_table in _by_table(members).items():
            chains = _nft_chains(family, table)
            for resource in of_table:
                have = seen[resource["id"]]
                if have.state == VALUE:
                    parts = {part: have.value[part] for part in ("policy", "rules", "jumps", "table")}
                    parts["hook"] = chains is None or resource["hook"] in chains
                    captured[resource["id"]] = parts
    return captured


def as_before(resource: Resource, before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    """Where the jump stands among other tools' rules is theirs to change, and whether they lead to our empty chain."""
    rules = (before["rules"], now["rules"])
    return (
        (not resource["policy"] or before["policy"] == now["policy"])
        and (rules[0] == rules[1] or rules == (None, []))
        and len(before["jumps"]) == len(now["jumps"])
    )


NFT_FAMILY = {"ipv4": "ip", "ipv6": "ip6"}


def _nft_chains(family: str, table: str) -> Optional[List[str]]:
    """The chains that nft has in a table; iptables shows built-in chains that are not there, too.

    None where nft can't say: on the legacy backend, or without its program.
    """
    if backend(family) != "nft" or find("nft") is None:
        return None
    done = run(["nft", "list", "table", NFT_FAMILY[family], table], check=False)
    return [line.split()[1] for line in done.stdout.splitlines() if line.strip().startswith("chain ")]


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    """Put our own parts back to what they were. What other tools have changed since stays as they left it."""
    groups = [
        (family, table, of_table)
        for family, members in by_family([r for r in resources if r["id"] in captured]).items()
        for table, of_table in _by_table(members).items()
    ]
    each(groups, lambda one: _put_back(*one, captured))


def _put_back(family: str, table: str, members: List[Resource], captured: Dict[str, Any]) -> None:
    now = _rules_of(family, table)["rules"]
    lines = ["*" + table]
    gone = []
    for resource in members:
        saved, chain, hook = captured[resource["id"]], resource["chain"], resource["hook"]
        jump = "-j " + chain
        if resource["policy"]:
            lines.append(":{} {} [0:0]".format(hook, saved["policy"]))
        others = [rule for rule in now.get(hook, []) if rule != jump]
        if saved["rules"] is not None or chain in now:
            lines.append(":{} - [0:0]".format(chain))  # in this mode: make it, or empty it
        if saved["rules"] is None and chain in now and not _others_jump(now, hook, chain):
            gone.append(chain)
        lines += ["-D {} {}".format(hook, jump)] * (len(now.get(hook, [])) - len(others))
        # Where it was, or last where other tools' rules before it are gone: a position past the end is refused.
        for count, at in enumerate(saved["jumps"]):
            lines.append("-I {} {} {}".format(hook, min(at, len(others) + count + 1), jump))
        lines += ["-A {} {}".format(chain, rule) for rule in saved["rules"] or []]
    lines += ["-X {}".format(chain) for chain in gone]
    _restore(family, "\n".join(lines) + "\nCOMMIT\n")
    _remove_traces(family, table, [(r["hook"], captured[r["id"]]) for r in members])


def _rules_of(family: str, table: str) -> Dict[str, Any]:
    return parse(tables(family).get(table, ""))


def _others_jump(now: Dict[str, List[str]], hook: str, chain: str) -> bool:
    """Whether somebody else's rule leads to our chain: the kernel keeps it then, and we leave it empty."""
    jump = "-j " + chain
    return any(
        (rule + " ").find(jump + " ") >= 0 and (where, rule) != (hook, jump)
        for where, rules in now.items()
        for rule in rules
    )


def _remove_traces(family: str, table: str, saved: List[Tuple[str, Dict[str, Any]]]) -> None:
    """Take away the built-in chains, and the table, that were not there before us, where they are empty now.

    iptables can't; nft can. The legacy backend keeps its empty table until its module goes.
    """
    chains = _nft_chains(family, table)
    if chains is None:
        return
    left = _rules_of(family, table)
    for hook, before in saved:
        idle = not left["rules"].get(hook) and left["policies"].get(hook) == "ACCEPT"
        if not before["hook"] and hook in chains and idle:
            run(["nft", "delete", "chain", NFT_FAMILY[family], table, hook], check=False)
    if not all(before["table"] for _, before in saved) and _nft_chains(family, table) == []:
        run(["nft", "delete", "table", NFT_FAMILY[family], table], check=False)
