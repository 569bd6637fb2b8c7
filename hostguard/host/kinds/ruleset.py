"""One chain of our own in the filter table, the jump to it from a built-in chain, and that chain's policy.

All the rulesets of one family are loaded by one `iptables-restore --noflush`: the kernel takes them all or none,
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


def table(family: str) -> str:
    """`iptables-save` of the filter table, empty where there is none yet."""
    if backend(family) == "legacy" and "filter" not in legacy_tables(family):
        return ""
    try:
        # With `-t filter` the nft backend shows a table that is not there as an empty one.
        _, mark, after = run([COMMAND[family] + "-save"]).stdout.partition("*filter\n")
    except HostError:
        chains = _nft_chains(family)
        if not chains:
            raise
        return _chain_by_chain(family, chains)
    return mark + after.partition("COMMIT\n")[0]


UNSHOWN = "(a rule of nft's own, which iptables can't show)"


def _chain_by_chain(family: str, chains: List[str]) -> str:
    """One rule that iptables has no words for ends `iptables-save`; asked by chain, only its own is not shown."""
    lines = ["*filter"]
    for chain in chains:
        done = run([COMMAND[family], "-S", chain], check=False)
        for line in done.stdout.splitlines():
            verb, name, *rest = line.split()
            lines.append(line if verb == "-A" else ":{} {} [0:0]".format(name, rest[0] if verb == "-P" else "-"))
        if done.returncode:
            lines.insert(1, "-A {} {}".format(chain, UNSHOWN))
    return "\n".join(lines) + "\n"


FAMILY_OF = {"ip6": "ipv6"}  # all others carry IPv4, and most of them both
LEAVING = re.compile(r"hook (?:output|postrouting|egress) ")
SENDING = re.compile(r"\b(?:ip6? daddr|\w+ dport|ether daddr|@\w+,\d+,\d+) set\b|\b(?:fwd|dup) to\b")


def parse_nft(text: str) -> Dict[str, Dict[str, List[str]]]:
    """`nft list ruleset` as, by family, the `dormant` tables, and the chains that are `sending` packets elsewhere."""
    found: Dict[str, Dict[str, List[str]]] = {family: {"dormant": [], "sending": []} for family in COMMAND}
    for block in re.split(r"^(?=table )", text, flags=re.MULTILINE):
        head = re.match(r"table ((\S+) \S+) ", block)
        if head is None:
            continue
        of_family = found[FAMILY_OF.get(head.group(2), "ipv4")]
        if re.search(r"^\tflags [^\n]*\bdormant\b", block, re.MULTILINE):
            of_family["dormant"].append(head.group(1))
        elif LEAVING.search(block):
            for name, body in re.findall(r"^\tchain (\S+) {\n(.*?)^\t}", block, re.MULTILINE | re.DOTALL):
                # A chain without a hook is reached from those that have one.
                if SENDING.search(body) and (" hook " not in body or LEAVING.search(body)):
                    of_family["sending"].append("{} {}".format(head.group(1), name))
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
        own_table = "{} filter".format(NFT_FAMILY[family])
        if family == "ipv6" and not has_ipv6():
            seen.update({r["id"]: not_applicable("this kernel has no IPv6") for r in members})
            continue
        try:
            if backend(family) is None:
                raise HostError("{} is not installed on this host".format(COMMAND[family]))
            found = parse(table(family))
        except HostError as error:
            seen.update({r["id"]: unreadable(str(error)) for r in members})
            continue
        present = bool(found["policies"])
        canonical: Optional[Dict[str, List[str]]] = None
        for resource in members:
            chain, hook = resource["chain"], resource["hook"]
            rules = found["rules"].get(chain)
            if rules is not None and rules != resource["rules"]:
                # Not the same to the letter: let this host's own iptables say how it would write ours.
                canonical = canonical if canonical is not None else _canonical(family, members)
            here = found["rules"].get(hook, [])
            seen[resource["id"]] = value(
                {
                    "policy": found["policies"].get(hook, "ACCEPT"),
                    "rules": rules,
                    "canonical": (canonical or {}).get(chain),
                    "jumps": [at for at, rule in enumerate(here, 1) if rule == "-j " + chain],
                    "before": here[0] if here else "",
                    "table": present,
                    "dormant": own_table in nft[family]["dormant"],
                    "sending": nft[family]["sending"] if hook == "OUTPUT" else [],
                }
            )
    return seen


def by_family(resources: List[Resource]) -> Dict[str, List[Resource]]:
    families: Dict[str, List[Resource]] = {}
    for resource in resources:
        families.setdefault(resource["family"], []).append(resource)
    return families


def _canonical(family: str, resources: List[Resource]) -> Dict[str, List[str]]:
    """Our rules as this host's iptables writes them, from a network namespace that exists for this question.

    Without the right to make one, the rules are compared as they stand.
    """
    option = {"ipv4": "inet", "ipv6": "inet6"}[family]
    sets = sorted({name for r in resources for name in set_names(r["rules"])})
    make = "".join("ipset create {} {} family {}\n".format(name, _set_type(name), option) for name in sets)
    # What the shell reads holds nothing but names that the controller made: the rules come by standard input.
    inside = make + "{0}-restore --noflush && {0}-save -t filter".format(COMMAND[family])
    done = run(["unshare", "--net", "--", "sh", "-ec", inside], text=load_script(resources, {}), check=False)
    return parse(done.stdout)["rules"] if done.returncode == 0 else {}


def set_names(rules: List[str]) -> List[str]:
    return [words[at + 1] for words in map(str.split, rules) for at, word in enumerate(words) if word == "--match-set"]


def _set_type(name: str) -> str:
    return "hash:ip,port" if name.endswith("-HELD") else "hash:net,port"


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    have = seen.value
    found = []
    if have.get("dormant"):
        table = "{} filter".format(NFT_FAMILY[resource["family"]])
        blocked = "the table is switched off: `nft add table {}` switches it on".format(table)
        found.append(Difference("table", "dormant", "in force", blocked))
    # Where nothing is held, nothing is let past.
    for chain in have.get("sending", []) if resource["policy"] else []:
        blocked = "what our chain let out is sent elsewhere by nft's chain {0}: `nft flush chain {0}`".format(chain)
        found.append(Difference("destination", "changed by nft's chain {}".format(chain), "as it was let out", blocked))
    if resource["policy"] and have["policy"] != resource["policy"]:
        found.append(Difference("policy", have["policy"], resource["policy"]))
    if have["rules"] is None:
        found.append(Difference("rules", "", "\n".join(resource["rules"])))
    elif have["rules"] != resource["rules"] and have["rules"] != have["canonical"]:
        want = have["canonical"] or resource["rules"]
        found.append(Difference("rules", "\n".join(have["rules"]), "\n".join(want)))
    if len(have["jumps"]) != 1 or (resource["first"] and have["jumps"] != [1]):
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


def wanted(resource: Resource) -> str:
    policy = "policy {}, ".format(resource["policy"]) if resource["policy"] else ""
    return "{} {}: {}{} of {} rules{}".format(
        resource["family"],
        resource["hook"],
        policy,
        resource["chain"],
        len(resource["rules"]),
        ", first" if resource["first"] else "",
    )


def seen_as(resource: Resource, seen: Observation) -> str:
    have = seen.value
    rules = "absent" if have["rules"] is None else "{} rules".format(len(have["rules"]))
    return "{} {}: policy {}, {} {}".format(
        resource["family"], resource["hook"], have["policy"], resource["chain"], rules
    )


def load_script(resources: List[Resource], jumps: Dict[str, List[int]]) -> str:
    """What `iptables-restore --noflush` reads to reach the resources of one family.

    `jumps` gives, by resource id, the positions of the jumps that are there and must go first. With none it is
    what a boot loads into a fresh table.
    """
    lines = ["*filter"]
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
        chains = _nft_chains(family)
        for resource in members:
            have = seen[resource["id"]]
            if have.state == VALUE:
                parts = {part: have.value[part] for part in ("policy", "rules", "jumps", "table")}
                parts["hook"] = chains is None or resource["hook"] in chains
                captured[resource["id"]] = parts
    return captured


NFT_FAMILY = {"ipv4": "ip", "ipv6": "ip6"}


def _nft_chains(family: str) -> Optional[List[str]]:
    """The chains that nft has in the filter table; iptables shows built-in chains that are not there, too.

    None where nft can't say: on the legacy backend, or without its program.
    """
    if backend(family) != "nft" or find("nft") is None:
        return None
    done = run(["nft", "list", "table", NFT_FAMILY[family], "filter"], check=False)
    return [line.split()[1] for line in done.stdout.splitlines() if line.strip().startswith("chain ")]


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    """Put our own parts back to what they were. What other tools have changed since stays as they left it."""
    each(by_family([r for r in resources if r["id"] in captured]).items(), lambda one: _put_back(*one, captured))


def _put_back(family: str, members: List[Resource], captured: Dict[str, Any]) -> None:
    now = parse(table(family))["rules"]
    lines = ["*filter"]
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
    _remove_traces(family, [(r["hook"], captured[r["id"]]) for r in members])


def _others_jump(now: Dict[str, List[str]], hook: str, chain: str) -> bool:
    """Whether somebody else's rule leads to our chain: the kernel keeps it then, and we leave it empty."""
    jump = "-j " + chain
    return any(
        (rule + " ").find(jump + " ") >= 0 and (where, rule) != (hook, jump)
        for where, rules in now.items()
        for rule in rules
    )


def _remove_traces(family: str, saved: List[Tuple[str, Dict[str, Any]]]) -> None:
    """Take away the built-in chains, and the table, that were not there before us, where they are empty now.

    iptables can't; nft can. The legacy backend keeps its empty table until its module goes.
    """
    chains = _nft_chains(family)
    if chains is None:
        return
    left = parse(table(family))
    for hook, before in saved:
        idle = not left["rules"].get(hook) and left["policies"].get(hook) == "ACCEPT"
        if not before["hook"] and hook in chains and idle:
            run(["nft", "delete", "chain", NFT_FAMILY[family], "filter", hook], check=False)
    if not all(before["table"] for _, before in saved) and _nft_chains(family) == []:
        run(["nft", "delete", "table", NFT_FAMILY[family], "filter"], check=False)
