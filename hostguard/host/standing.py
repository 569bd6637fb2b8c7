"""Our chains in the tables of one backend of iptables: what stands of them, and how they go back to what they were.

What stands of one are its parts: the hook's policy, its rules (None: no chain), the places of the jumps to it, whether
that table and that hook are there at all, and what we may have left of them.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional, Tuple

from . import iptables, nft
from .iptables import COMMAND, UNSHOWN, WAIT, backend, nft_chains, parse, tables, tool
from .program import run
from .resource import HostError, Resource

NOTHING: Dict[str, Any] = {"policies": {}, "rules": {}}
"""A table that is not there, as `parse` has it."""
GONE: Dict[str, Any] = {"policy": "ACCEPT", "rules": None, "jumps": [], "table": False, "hook": False, "left": ""}
"""The parts of a chain of which nothing stands."""


def table_of(resource: Resource) -> str:
    return str(resource.get("table", "filter"))  # what was recorded before there were others has none


def by_family(resources: List[Resource]) -> Dict[str, List[Resource]]:
    families: Dict[str, List[Resource]] = {}
    for resource in resources:
        families.setdefault(resource["family"], []).append(resource)
    return families


def by_table(resources: List[Resource]) -> Dict[str, List[Resource]]:
    found: Dict[str, List[Resource]] = {}
    for resource in resources:
        found.setdefault(table_of(resource), []).append(resource)
    return found


def parts_of(family: str, resources: List[Resource], of: str = "") -> Dict[str, Any]:
    """What stands of each in one backend. Raises HostError where that can't be read."""
    found: Dict[str, Any] = {}
    shown = tables(family, of)
    for table, members in by_table(resources).items():
        here = parse(shown[table]) if table in shown else NOTHING
        chains = nft_chains(family, table, of)
        # The kernel has an empty table as it has none, and nft's list of tables tells which.
        empty = chains == {} and table in nft.tables(family)
        for resource in members:
            policy, rules, jumps = standing(resource, here)
            found[resource["id"]] = {
                "policy": policy,
                "rules": rules,
                "jumps": jumps,
                "table": bool(here["policies"]),
                "hook": chains is None or resource["hook"] in chains,
                "left": _left(resource["hook"], chains, empty, (of or backend(family)) == "legacy"),
            }
    return found


def standing(resource: Resource, here: Dict[str, Any]) -> Tuple[str, Optional[List[str]], List[int]]:
    """The hook's policy, our rules and the places of the jumps to them, in a table as it was parsed."""
    jumps = enumerate(here["rules"].get(resource["hook"], []), 1)
    return (
        here["policies"].get(resource["hook"], "ACCEPT"),
        here["rules"].get(resource["chain"]),
        [at for at, rule in jumps if rule == "-j " + resource["chain"]],
    )


def is_there(parts: Optional[Dict[str, Any]]) -> bool:
    return parts is not None and (parts["rules"] is not None or bool(parts["jumps"]))


def that_stand(family: str, table: str, members: List[Resource], of: str) -> List[Resource]:
    """Those of which anything is in a table of this backend. Raises HostError where that can't be read."""
    here = parse(tables(family, of).get(table, ""))
    return [r for r in members for _, rules, jumps in [standing(r, here)] if rules is not None or jumps]


def _left(hook: str, chains: Optional[nft.Chains], empty: bool, legacy: bool) -> str:
    """What we may have left of a table that was not there before us: an empty `chain`, an empty `table`; `unseen` where
    nft can't say, "" for nothing."""
    if chains is None:
        return "" if legacy else "unseen"
    if _idle(chains, hook):
        return "chain"
    return "table" if empty else ""


def _idle(chains: nft.Chains, hook: str) -> bool:
    """Whether a built-in chain is there, and does nothing."""
    return len(chains.get(hook, [])) == 1 and "policy accept;" in chains[hook][0]


def put_back(family: str, table: str, members: List[Resource], captured: Dict[str, Any], of: str) -> None:
    """Give each the parts that were captured of it, by its id, in the backend `of`. Raises HostError."""
    changed = members
    try:
        now = parse(tables(family, of).get(table, ""))
        if any(UNSHOWN in rules for rules in now["rules"].values()):
            raise HostError("the table {} of {} can't be read".format(table, family))
        changed = [r for r in members if not _is_as_it_was(r, captured[r["id"]], now)]
    except HostError:
        # What can't be read must go all the same: it may be what cuts the host off.
        _take_away(family, table, members, captured, of)
        now = NOTHING
        changed = [r for r in members if captured[r["id"]]["rules"] is not None]
    if changed:
        iptables.restore(family, _script_back(table, changed, captured, now["rules"]), of)
    _remove_traces(family, table, [(r["hook"], captured[r["id"]]) for r in members], of)


def _is_as_it_was(resource: Resource, saved: Dict[str, Any], now: Dict[str, Any]) -> bool:
    policy, rules, jumps = standing(resource, now)
    have = (policy if resource["policy"] else saved["policy"], rules, jumps)
    return have == (saved["policy"], saved["rules"], saved["jumps"])


def _script_back(table: str, members: List[Resource], captured: Dict[str, Any], now: Dict[str, List[str]]) -> str:
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
    return "\n".join(lines) + "\nCOMMIT\n"


def _take_away(family: str, table: str, members: List[Resource], captured: Dict[str, Any], of: str) -> None:
    """Our chains, the jumps to them and the policies, out of a table that iptables can't show, in one transaction of
    nft's: iptables-restore reads the rules before the one that it deletes, and fails at nft's own.

    A host that gets an earlier generation's rules back is open until then.
    """
    chains, where = nft_chains(family, table, of), "{} {}".format(nft.FAMILY[family], table)
    if chains is None:
        _open_unseen(family, table, members, of)
        raise HostError("{} can't show the table {}: it was opened unseen".format(COMMAND[family], table))
    lines = []
    for resource in members:
        saved, chain, hook = captured[resource["id"]], resource["chain"], resource["hook"]
        jumps = re.compile("counter jump {} # handle ([0-9]+)".format(re.escape(chain)))
        handles = [found[1] for found in map(jumps.fullmatch, chains.get(hook, [])) if found]
        lines += ["delete rule {} {} handle {}".format(where, hook, handle) for handle in handles]
        lines += ["flush chain {} {}".format(where, chain)] if chain in chains else []
        if resource["policy"] and hook in chains:
            policy = saved["policy"] if saved["rules"] is None else "ACCEPT"
            lines.append("add chain {} {} {{ policy {}; }}".format(where, hook, policy.lower()))
    run(["nft", "-f", "-"], text="\n".join(lines) + "\n")
    for resource in members:
        if captured[resource["id"]]["rules"] is None and resource["chain"] in chains:
            # Where somebody else's rule leads to it the kernel keeps it, and it is empty.
            run(["nft", "delete", "chain", *where.split(), resource["chain"]], check=False)


def _open_unseen(family: str, table: str, members: List[Resource], of: str) -> None:
    """With iptables alone, as far as it goes: what is left of our chains lets everything past."""
    for resource in members:
        policy = ["-P", resource["hook"], "ACCEPT"]
        for act in ([policy] if resource["policy"] else []) + [["-F", resource["chain"]]]:
            run([tool(family, of), *WAIT, "-t", table, *act], check=False)


def _others_jump(now: Dict[str, List[str]], hook: str, chain: str) -> bool:
    """Whether somebody else's rule leads to our chain: the kernel keeps it then, and we leave it empty."""
    jump = "-j " + chain
    return any(
        (rule + " ").find(jump + " ") >= 0 and (where, rule) != (hook, jump)
        for where, rules in now.items()
        for rule in rules
    )


def _remove_traces(family: str, table: str, saved: List[Tuple[str, Dict[str, Any]]], of: str) -> None:
    """Take away the built-in chains, and the table, that were not there before us, where they are empty now.

    iptables can't; nft can. The legacy backend keeps its empty table until its module goes.
    """
    chains = nft_chains(family, table, of)
    if chains is None:
        return
    for hook, before in saved:
        if not before["hook"] and _idle(chains, hook):
            run(["nft", "delete", "chain", nft.FAMILY[family], table, hook], check=False)
    if not all(before["table"] for _, before in saved) and nft_chains(family, table, of) == {}:
        run(["nft", "delete", "table", nft.FAMILY[family], table], check=False)
