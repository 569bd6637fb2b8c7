"""What iptables tells of the backend in force, and how it is told what to load."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any, Dict, List, Optional, Tuple

from . import nft
from .program import find, lines_of, run
from .resource import HostError, NotRoot

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


OTHER = {"nft": "legacy", "legacy": "nft"}


def other_backend(family: str) -> str:
    """The backend that is not in force: what was written while it was acts on every packet all the same."""
    return OTHER[backend(family) or "nft"]


def tool(family: str, of: str = "", end: str = "") -> str:
    """The name of one of iptables' programs, of the backend in force or `of` another one: `iptables-nft-save`."""
    command = COMMAND[family]
    return command + end if of in ("", backend(family)) else "{}-{}{}".format(command, of, end)


def legacy_tables(family: str) -> List[str]:
    """The legacy tables that the kernel holds. Asking iptables-legacy-save instead would load the modules.

    Raises NotRoot where that may not be read, as in the namespace of an ordinary user.
    """
    try:
        with open(LEGACY_TABLES[family], encoding="ascii", newline="\n") as file:
            return file.read().split()
    except FileNotFoundError:
        return []
    except PermissionError:
        raise NotRoot("{}: only root may read it".format(LEGACY_TABLES[family])) from None


def tables(family: str, of: str = "") -> Dict[str, str]:
    """`iptables-save` by table, of the backend in force or `of` another one; what is not there yet is not in it.

    A rule of nft's own that iptables has no words for hides its whole table: iptables-save fails, or says so in a
    comment and exits with 0 (1.8.9 and 1.8.11 do the one or the other by what the rule is). Such a table is asked for
    chain by chain, and what is not shown then either has the rule UNSHOWN. Raises HostError where nobody can say.
    """
    legacy, program = (of or backend(family)) == "legacy", tool(family, of, "-save")
    there = legacy_tables(family) if legacy else nft.tables(family)
    if legacy and not there:
        return {}
    try:
        found = by_table(run([program]).stdout if there else saved(program))
    except HostError:
        if legacy or not there:
            raise
        found = {}
        for name in there:
            with contextlib.suppress(HostError):  # it is asked chain by chain
                found.update(by_table(run([program, "-t", name]).stdout))
    hidden = [name for name in there if name not in found]
    if legacy and hidden:
        raise HostError("`{}` does not show the table {}".format(program, hidden[0]))
    return {**found, **{name: _chain_by_chain(family, name, of) for name in hidden}}


def saved(program: str) -> str:
    """All that there is to show. Raises HostError where a table is left out, which is no failure to iptables-save."""
    said = run([program]).stdout
    by_table(said)
    hidden = re.search(r"^# Table `(.*)' is incompatible", said, re.MULTILINE)
    if hidden:
        raise HostError("`{}` can't show the table {}, where nft wrote what iptables can't".format(program, hidden[1]))
    return said


def by_table(text: str) -> Dict[str, str]:
    """What iptables-save says. Raises HostError where a table does not end."""
    found: Dict[str, str] = {}
    block: List[str] = []
    for line in lines_of(text):
        if block or line.startswith("*"):
            block.append(line)
        if line == "COMMIT" and block:
            found[block[0][1:]] = "\n".join(block) + "\n"
            block = []
    if block:
        raise HostError("iptables-save says the beginning of the table {}, and not its end".format(block[0][1:]))
    return found


UNSHOWN = "(a rule of nft's own, which iptables can't show)"


def _chain_by_chain(family: str, table: str, of: str) -> str:
    lines = ["*" + table]
    chains = nft_chains(family, table, of)
    if chains is None:
        raise HostError("neither {}-save nor nft shows the table {}".format(COMMAND[family], table))
    for chain in chains:
        done = run([tool(family, of), "-t", table, "-S", chain], check=False)
        if done.returncode:
            lines += [":{} - [0:0]".format(chain), "-A {} {}".format(chain, UNSHOWN)]
            continue
        for line in lines_of(done.stdout):
            verb, name, policy = [*line.split(" ", 2), "", ""][:3]
            if verb in ("-P", "-N"):
                lines.append(":{} {} [0:0]".format(name, policy or "-"))
            elif verb:
                lines.append(line)
    return "\n".join(lines) + "\n"


def why_hidden(family: str, table: str, chain: str) -> str:
    """Why a chain can't be read, and what to do."""
    name = "{} {} {}".format(nft.FAMILY[family], table, chain)
    rules = [re.sub(" # handle [0-9]+$", "", line) for line in (nft_chains(family, table) or {}).get(chain, [])]
    # iptables writes a counter with every rule; nft's users seldom do.
    suspects = [rule for rule in rules if not re.search("counter|^type ", rule)] or rules
    shown = "; ".join("`{}`".format(rule) for rule in suspects[:3])
    return (
        "iptables can't show nft's chain {0}, for a rule of nft's own there ({1}): write that with iptables, or into a "
        "table of another name, and take it away (`nft -a list chain {0}` tells its handle)".format(name, shown)
    )


def parse(text: str) -> Dict[str, Any]:
    """`iptables-save` of one table as {"policies": {chain: policy}, "rules": {chain: [rule without -A chain]}}.

    Raises HostError for a line that is none of its kinds: what was cut short may have lost a rule.
    """
    policies: Dict[str, str] = {}
    rules: Dict[str, List[str]] = {}
    for line in lines_of(text):
        words = line.split(" ", 2)
        if line.startswith(":") and len(words) > 1:
            policies[words[0][1:]] = words[1]
            rules.setdefault(words[0][1:], [])
        elif words[0] == "-A" and len(words) > 1:
            rules.setdefault(words[1], []).append(words[2] if len(words) > 2 else "")
        elif line and line[0] not in "#*" and line != "COMMIT":
            raise HostError("iptables says {!r}: not a line that it should".format(line[:80]))
    return {"policies": policies, "rules": rules}


# Targets after which a packet goes on to the next rule, or nowhere. Of any other it is taken that it lets past.
GOES_ON = (
    "AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "DROP", "DSCP", "ECN", "HL", "LOG", "MARK", "NFLOG",
    "REJECT", "SECMARK", "SET", "TCPMSS", "TRACE", "TTL", "ULOG",
)  # fmt: skip


def lets_past(rule: str, chains: Dict[str, List[str]], policy: str, seen: Tuple[str, ...] = ()) -> bool:
    """Whether a rule of a built-in chain with this policy may let a packet go without the rules behind it.

    So that what only drops may stand before ours: fail2ban and kube-proxy put their own first, again and again.
    """
    if rule == UNSHOWN:
        return True
    words = re.sub(r'"(?:[^"\\]|\\.)*"', "", rule).split()  # without comments, which may say anything
    if "-g" in words:
        return True  # it comes back one chain further up, wherever that is
    if "-j" not in words:
        return False
    target = [*words, ""][words.index("-j") + 1]
    if target == "RETURN":
        return not seen and policy != "DROP"
    if target in chains:
        # The kernel takes no loops: each chain is met once on the way down.
        return any(lets_past(each, chains, policy, (*seen, target)) for each in chains[target] if target not in seen)
    return target not in GOES_ON


def restore(family: str, text: str, of: str = "") -> None:
    run([tool(family, of, "-restore"), *WAIT, "--noflush"], text=text)


def nft_chains(family: str, table: str, of: str = "") -> Optional[nft.Chains]:
    """The chains of a table of one backend, as nft has them, also where iptables is not there any more; None where it
    can't say, as of the legacy backend."""
    return nft.chains(family, table) if (of or backend(family)) != "legacy" else None
