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
    backend,
    lets_past,
    nft_chains,
    other_backend,
    parse,
    tables,
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
from ..standing import GONE, NOTHING, by_family, by_table, is_there, parts_of, put_back, standing, table_of, that_stand

IN_KERNEL = True
GATEWAY = "HOSTGUARD-GATEWAY"
"""The chain that refuses who may not use the gateway, and lets nobody past: it stands before the one that lets out."""


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
    found = {name: parse(shown[name]) for name in by_table(resources) if name in shown}
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
        policy, _, jumps = standing(resource, here)
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
                "elsewhere": is_there(elsewhere.get(resource["id"])),
            }
        )
    return seen


def _elsewhere(family: str, resources: List[Resource]) -> Dict[str, Any]:
    """What stands of them in the backend that is not in force, each as `_parts` has it; where that can't be read none,
    which egress.other-backend tells."""
    try:
        return parts_of(family, resources, other_backend(family))
    except HostError:
        return {}


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
    return "".join(_load_table(table, members, seen) for table, members in by_table(resources).items())


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
        for table, of_table in by_table(doubled).items():
            put_back(family, table, of_table, {r["id"]: GONE for r in of_table}, other_backend(family))


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
        for identity, parts in (parts_of(family, readable) if readable else {}).items():
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
    moved = is_there(before) and _same(resource, before, dict(now, left=""))
    return _same_elsewhere(resource, other, there if moved else now) and (moved or _same(resource, before, there))


def _same_elsewhere(resource: Resource, before: Optional[Dict[str, Any]], now: Optional[Dict[str, Any]]) -> bool:
    """In the backend that was not in force nothing is ours but our rules: a policy there is another tool's."""
    return (now is not None and not is_there(before) and not is_there(now)) or _same(resource, before, now)


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
    held = any(map(is_there, elsewhere.values()))

    def first() -> None:
        if held:  # what it has in this one is in force before the other one's goes
            put_back(family, table, known, elsewhere, other)

    def last() -> None:
        left = [] if held or not known else that_stand(family, table, known, other)
        if left:
            put_back(family, table, left, dict.fromkeys(elsewhere, GONE), other)

    # The program of one backend may be gone: the rules of the other one go back all the same.
    each([first, lambda: put_back(family, table, members, captured, of), last], lambda step: step())


def _may_stand(family: str, table: str, members: List[Resource], of: str) -> bool:
    try:
        return bool(that_stand(family, table, members, of))
    except HostError:
        return True
