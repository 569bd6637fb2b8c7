"""One chain of our own in a table, the jump to it from a built-in chain, and that chain's policy.

All the rulesets of one family are loaded by one `iptables-restore --noflush`: the kernel takes all of a table or none,
and the rules of other tools stay where they are.

iptables does not show all that acts on a packet. What only nft shows is asked of nft: a table that is switched off
(dormant), and chains that change where a packet goes once our chain has let it out. And iptables has two backends: what
was written before somebody switched it to the other one (`update-alternatives`) acts on, and nobody sees it. So what is
wanted is wanted in the backend in force alone, and the way back gives each backend what it had.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional, Tuple

from .. import iptables, nft
from ..facts import has_ipv6
from ..iptables import (
    COMMAND,
    OTHER,
    UNSHOWN,
    WAIT,
    backend,
    lets_past,
    nft_chains,
    other_backend,
    parse,
    tables,
    tool,
    why_hidden,
)
from ..program import run
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

IN_KERNEL = True
GATEWAY = "HOSTGUARD-GATEWAY"
"""The chain that refuses who may not use the gateway, and lets nobody past: it stands before the one that lets out."""


def table_of(resource: Resource) -> str:
    return str(resource.get("table", "filter"))  # what was recorded before there were others has none


def read(resources: List[Resource]) -> Dict[str, Observation]:
    """A family that can't be read hides not the other."""
    seen: Dict[str, Observation] = {}
    for family, members in by_family(resources).items():
        try:
            seen.update(_read(family, members))
        except HostError as error:
            seen.update({r["id"]: unreadable(str(error)) for r in members})
    return seen


def _read(family: str, resources: List[Resource]) -> Dict[str, Observation]:
    if family == "ipv6" and not has_ipv6():
        return {r["id"]: not_applicable("this kernel has no IPv6") for r in resources}
    if backend(family) is None:
        raise HostError("{} is not installed on this host".format(COMMAND[family]))
    seen: Dict[str, Observation] = {}
    beside, shown, elsewhere = nft.ruleset()[family], tables(family), _elsewhere(family, resources)
    found = {name: parse(shown[name]) for name in _by_table(resources) if name in shown}
    canonical: Optional[Dict[str, List[str]]] = None
    for resource in resources:
        chain, hook, table = resource["chain"], resource["hook"], table_of(resource)
        here = found.get(table, NOTHING)
        unshown = [name for name in (hook, chain) if UNSHOWN in here["rules"].get(name, [])]
        if unshown:
            seen[resource["id"]] = unreadable(why_hidden(family, table, unshown[0]))
            continue
        if here["policies"].get(hook) == "-":
            said = "{} of {} is an ordinary chain there, which no packet passes: `nft delete chain {} {} {}`"
            of_nft = nft.FAMILY[family]
            seen[resource["id"]] = unreadable(said.format(hook, table, of_nft, table, hook))
            continue
        rules = here["rules"].get(chain)
        if rules is not None and rules != resource["rules"]:
            # Not the same to the letter: let this host's own iptables say how it would write ours.
            canonical = canonical if canonical is not None else _canonical(family, resources)
        hooked = here["rules"].get(hook, [])
        policy, _, jumps = _standing(resource, here)
        ahead = hooked[: jumps[0] - 1] if jumps else []
        others = [rule for rule in hooked if rule != "-j " + chain]
        seen[resource["id"]] = value(
            {
                "policy": policy,
                "rules": rules,
                "canonical": (canonical or {}).get(chain),
                "jumps": jumps,
                "behind": others.index("-j " + GATEWAY) + 1 if "-j " + GATEWAY in others else 0,
                "before": next((rule for rule in ahead if lets_past(rule, here["rules"], policy)), ""),
                "table": bool(here["policies"]),
                "dormant": "{} {}".format(nft.FAMILY[family], table) in beside["dormant"],
                "owner": "{} {}".format(nft.FAMILY[family], table) in beside["owner"],
                "sending": beside.get(hook, []),
                "backend": backend(family),
                "elsewhere": _is_there(elsewhere.get(resource["id"])),
            }
        )
    return seen


NOTHING: Dict[str, Any] = {"policies": {}, "rules": {}}


def _standing(resource: Resource, here: Dict[str, Any]) -> Tuple[str, Optional[List[str]], List[int]]:
    """The hook's policy, our rules and the places of the jumps to them, in a table as it was parsed."""
    jumps = enumerate(here["rules"].get(resource["hook"], []), 1)
    return (
        here["policies"].get(resource["hook"], "ACCEPT"),
        here["rules"].get(resource["chain"]),
        [at for at, rule in jumps if rule == "-j " + resource["chain"]],
    )


def _elsewhere(family: str, resources: List[Resource]) -> Dict[str, Any]:
    """What stands of them in the backend that is not in force, each as `_parts` has it; where that can't be read none,
    which egress.other-backend tells."""
    try:
        return _parts(family, resources, other_backend(family))
    except HostError:
        return {}


def _is_there(parts: Optional[Dict[str, Any]]) -> bool:
    return parts is not None and (parts["rules"] is not None or bool(parts["jumps"]))


def resource(
    control: str,
    family: str,
    hook: str,
    chain: str,
    rules: List[str],
    policy: Optional[str],
    first: bool,
    table: str = "filter",
) -> Resource:
    """A chain of ours with its rules. `hook` jumps to it, before all others where `first`; `policy` is the hook's."""
    where = "" if table == "filter" else table + ":"
    return {
        "id": "ruleset:{}:{}{}".format(family, where, chain),
        "kind": "ruleset",
        "control": control,
        "family": family,
        "table": table,
        "hook": hook,
        "chain": chain,
        "policy": policy,
        "rules": rules,
        "first": first,
    }


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
    if have["dormant"]:
        table = "{} {}".format(nft.FAMILY[resource["family"]], table_of(resource))
        blocked = "the table is switched off: `nft add table {}` switches it on".format(table)
        found.append(Difference("table", "dormant", "in force", blocked))
    if have["owner"]:
        table = "{} {}".format(nft.FAMILY[resource["family"]], table_of(resource))
        blocked = "another program owns nft's table {}, and the kernel lets nobody else write it: end that".format(
            table
        )
        found.append(Difference("table", "another program's own", "anybody's", blocked))
    # Where nothing is held, nothing is let past.
    for chain in have["sending"] if resource["rules"][-1:] == ["-j DROP"] else []:
        blocked = "what our chain let out is sent elsewhere by nft's chain {0}: `nft flush chain {0}`".format(chain)
        found.append(Difference("destination", "changed by nft's chain {}".format(chain), "as it was let out", blocked))
    if have["elsewhere"]:
        backend_now = have["backend"]
        found.append(Difference("backend", "{} and {}".format(backend_now, OTHER[backend_now]), backend_now + " alone"))
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


def load_script(resources: List[Resource], seen: Dict[str, Any]) -> str:
    """What `iptables-restore --noflush` reads to reach the resources of one family.

    `seen` gives, by resource id, what was seen of it: the positions of the jumps that are there and must go first, and
    that of the gateway's, which stays before ours. With none it is what a boot loads into a fresh table.
    """
    return "".join(_load_table(table, members, seen) for table, members in _by_table(resources).items())


def _load_table(table: str, resources: List[Resource], seen: Dict[str, Any]) -> str:
    lines = ["*" + table]
    # The gateway's is put first again after this one where both are written.
    hooks = {r["hook"] for r in resources if r["chain"] == GATEWAY}
    for resource in resources:
        lines.append(":{} - [0:0]".format(resource["chain"]))
        if resource["policy"]:
            lines.append(":{} {} [0:0]".format(resource["hook"], resource["policy"]))
    for resource in sorted(resources, key=lambda r: bool(r["chain"] == GATEWAY)):
        have = seen.get(resource["id"], {"jumps": [], "behind": 0})
        at = 1 if resource["hook"] in hooks else have["behind"] + 1
        lines += ["-D {} -j {}".format(resource["hook"], resource["chain"])] * len(have["jumps"])
        lines.append("-I {} {} -j {}".format(resource["hook"], at, resource["chain"]))
        lines += ["-A {} {}".format(resource["chain"], rule) for rule in resource["rules"]]
    return "\n".join(lines) + "\nCOMMIT\n"


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    for family, members in by_family(resources).items():
        have = {r["id"]: seen[r["id"]].value for r in members}
        iptables.restore(family, load_script(members, have))
        # The new rules hold already: nothing is open in between.
        doubled = [r for r in members if have[r["id"]].get("elsewhere")]
        for table, of_table in _by_table(doubled).items():
            _put_back(family, table, of_table, {r["id"]: GONE for r in of_table}, other_backend(family))


GONE: Dict[str, Any] = {"policy": "ACCEPT", "rules": None, "jumps": [], "table": False, "hook": False, "left": ""}
"""A ruleset of which nothing stands."""


def stands(_resource: Resource, seen: Observation) -> bool:
    """Whether it acts, though not in the backend that is in force by now."""
    return bool(seen.state == VALUE and seen.value["rules"] is None and seen.value["elsewhere"])


def place(resource: Resource) -> str:
    return "{} {}".format(resource["family"], resource["chain"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    """What stands in the `backend` in force, and `elsewhere`, in the other one: None where nobody can say."""
    captured: Dict[str, Any] = {}
    seen = read(resources)
    for family, members in by_family(resources).items():
        # What can't be read is in the way of an apply, and of no rollback.
        readable = [r for r in members if seen[r["id"]].state == VALUE]
        for identity, parts in (_parts(family, readable) if readable else {}).items():
            dormant = seen[identity].value["dormant"]
            captured[identity] = {**parts, "backend": backend(family), "dormant": dormant}
    return _with_elsewhere(resources, captured)


def _with_elsewhere(resources: List[Resource], captured: Dict[str, Any]) -> Dict[str, Any]:
    for family, members in by_family(resources).items():
        elsewhere = _elsewhere(family, members)
        for resource in members:
            if resource["id"] in captured:
                captured[resource["id"]]["elsewhere"] = elsewhere.get(resource["id"])
    return captured


def _parts(family: str, resources: List[Resource], of: str = "") -> Dict[str, Any]:
    """What stands of each in one backend. Raises HostError where that can't be read."""
    found: Dict[str, Any] = {}
    shown = tables(family, of)
    for table, members in _by_table(resources).items():
        here = parse(shown[table]) if table in shown else NOTHING
        chains = nft_chains(family, table, of)
        # The kernel has an empty table as it has none, and nft's list of tables tells which.
        empty = chains == {} and table in nft.tables(family)
        for resource in members:
            policy, rules, jumps = _standing(resource, here)
            found[resource["id"]] = {
                "policy": policy,
                "rules": rules,
                "jumps": jumps,
                "table": bool(here["policies"]),
                "hook": chains is None or resource["hook"] in chains,
                "left": _left(resource["hook"], chains, empty, (of or backend(family)) == "legacy"),
            }
    return found


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


def after(resources: List[Resource]) -> Dict[str, Any]:
    """As `capture`, once all went back: what iptables can't show is seen by nft, as far as it is ours."""
    captured = capture(resources)
    unseen = [resource for resource in resources if resource["id"] not in captured]
    for resource in unseen:
        family, table = resource["family"], table_of(resource)
        chains = nft_chains(family, table)
        if chains is None:
            raise HostError("{} can't show the table {}".format(COMMAND[family], table))
        hooked, rules = chains.get(resource["hook"], []), chains.get(resource["chain"])
        policy = re.search("policy ([a-z]+);", hooked[0] if hooked else "")
        captured[resource["id"]] = {
            "policy": policy[1].upper() if policy else "ACCEPT",
            "rules": None if rules is None else [UNSHOWN] * len(rules),
            "jumps": [at for at, rule in enumerate(hooked) if "jump {} ".format(resource["chain"]) in rule],
            "backend": "nft",
        }
    return _with_elsewhere(unseen, captured) if unseen else captured


def as_before(resource: Resource, before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    """Whether each backend has what it had; after a boot, the one that is in force what was in force before."""
    other, there = before.get("elsewhere"), now.get("elsewhere")
    if now.get("dormant") and before.get("dormant") is False and before["rules"] is not None:
        return False
    if before.get("backend", now["backend"]) == now["backend"]:
        return _same(resource, before, now) and _same_elsewhere(resource, other, there)
    # `left` tells of the other backend's table here.
    moved = _is_there(before) and _same(resource, before, dict(now, left=""))
    return _same_elsewhere(resource, other, there if moved else now) and (moved or _same(resource, before, there))


def _same_elsewhere(resource: Resource, before: Optional[Dict[str, Any]], now: Optional[Dict[str, Any]]) -> bool:
    """In the backend that was not in force nothing is ours but our rules: a policy there is another tool's."""
    return (now is not None and not _is_there(before) and not _is_there(now)) or _same(resource, before, now)


def _same(resource: Resource, before: Optional[Dict[str, Any]], now: Optional[Dict[str, Any]]) -> bool:
    """Not compared: the place of the jump, and an empty chain of ours to which other tools' rules still jump."""
    if before is None:
        return True  # nobody could say what was there
    if now is None:
        return False
    rules = (before["rules"], now["rules"])
    left = now.get("left", "")
    return (
        not (left in ("chain", "unseen") and not before["hook"])
        and not (left == "table" and not before["table"])
        and (not resource["policy"] or before["policy"] == now["policy"])
        and (rules[0] == rules[1] or rules == (None, []) or now["rules"] == [UNSHOWN] * len(before["rules"] or ()))
        and len(before["jumps"]) == len(now["jumps"])
    )


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    """Put our own parts back to what they were. What other tools have changed since stays as they left it."""
    groups: Dict[Tuple[str, str, str], List[Resource]] = {}
    for resource in resources:
        if resource["id"] in captured:
            of = captured[resource["id"]].get("backend") or ""
            groups.setdefault((resource["family"], table_of(resource), of), []).append(resource)
    each(groups, lambda one: _put_both_back(*one, groups[one], captured))


def _put_both_back(family: str, table: str, of: str, members: List[Resource], captured: Dict[str, Any]) -> None:
    """Each backend gets what it had, whichever is in force by now; after a boot, which leaves nothing of either, the
    one in force gets what was in force."""
    in_force = backend(family) or "nft"  # without iptables nft alone may help
    of = of or in_force
    other = OTHER[of]
    if of != in_force and not _may_stand(family, table, members, of):
        of, other = other, of
    elsewhere = {r["id"]: captured[r["id"]].get("elsewhere") for r in members}
    known = [r for r in members if elsewhere[r["id"]] is not None]
    held = any(map(_is_there, elsewhere.values()))

    def first() -> None:
        if held:  # what it has in this one is in force before the other one's goes
            _put_back(family, table, known, elsewhere, other)

    def last() -> None:
        left = [] if held or not known else _that_stand(family, table, known, other)
        if left:
            _put_back(family, table, left, dict.fromkeys(elsewhere, GONE), other)

    # The program of one backend may be gone: the rules of the other one go back all the same.
    each([first, lambda: _put_back(family, table, members, captured, of), last], lambda step: step())


def _may_stand(family: str, table: str, members: List[Resource], of: str) -> bool:
    try:
        return bool(_that_stand(family, table, members, of))
    except HostError:
        return True


def _that_stand(family: str, table: str, members: List[Resource], of: str) -> List[Resource]:
    """Those of which anything is in a table of this backend. Raises HostError where that can't be read."""
    here = parse(tables(family, of).get(table, ""))
    return [r for r in members for _, rules, jumps in [_standing(r, here)] if rules is not None or jumps]


def _put_back(family: str, table: str, members: List[Resource], captured: Dict[str, Any], of: str) -> None:
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
    policy, rules, jumps = _standing(resource, now)
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
