"""What nft tells, and iptables does not: tables that are switched off, chains of nft's own, and what really stands in
a table that nft keeps for iptables."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Optional

from .program import find, run
from .resource import HostError

FAMILY = {"ipv4": "ip", "ipv6": "ip6"}
BUILT_IN = ("filter", "mangle", "nat", "raw", "security")
"""The tables that iptables may have."""
OURS = "hostguard"
"""The table of our own, of the family netdev: see kinds/frames.py."""
NO_SUCH = "No such file or directory"
"""What nft says of a table that is not there."""
Chains = Dict[str, List[str]]
"""The lines of each chain."""


def parse_table(text: str) -> Chains:
    """`nft -s list table`: {chain: [line]}; what stands beside the chains, such as flags, is of the chain ""."""
    chains: Chains = {}
    name = ""
    for line in map(str.strip, text.split("\n")[1:]):
        head = re.match(r"chain (\S+) {", line)
        if head:
            name = head.group(1)
            chains[name] = []
        elif line == "}":
            name = ""
        elif line:
            chains.setdefault(name, []).append(line)
    return chains


def chains(family: str, table: str) -> Optional[Chains]:
    """The chains that nft has in a table, and their rules with their handles; iptables shows built-in chains that are
    not there, too.

    None where nft can't say, as without its program.
    """
    if find("nft") is None:
        return None
    done = run(["nft", "-s", "-a", "list", "table", FAMILY[family], table], check=False)
    if done.returncode and NO_SUCH not in done.stderr:
        return None
    found = parse_table(done.stdout)
    found.pop("", None)
    return found


def tables(family: str) -> List[str]:
    """Those tables of iptables that nft knows of, as far as it says."""
    if find("nft") is None:
        return []
    listed = run(["nft", "list", "tables", FAMILY[family]], check=False).stdout.split("\n")
    return [name for name in BUILT_IN if "table {} {}".format(FAMILY[family], name) in listed]


FAMILY_OF = {"ip6": "ipv6"}  # all others carry IPv4, and most of them both
LEAVING = re.compile(r"hook (?:output|postrouting|egress) ")
FORWARDING = re.compile(r"hook forward ")
SENDING = re.compile(r"(?:\b(?:ip6? daddr|\w+ dport|ether daddr)|@\w+,\d+,\d+) set\b|\b(?:fwd|dup) to\b")
COMMENT = re.compile(r'comment "[^"]*"')
"""A comment may hold the end of a line, and what looks like a rule."""


def parse_ruleset(text: str) -> Dict[str, Dict[str, List[str]]]:
    """`nft list ruleset` by family: the `dormant` tables, those that another program owns (`owner`: nobody else may
    write them), and the chains that send packets elsewhere, those of the host itself (`OUTPUT`, with what it forwards
    or not) and those that it forwards alone (`FORWARD`)."""
    found: Dict[str, Dict[str, List[str]]] = {
        family: {"dormant": [], "owner": [], "OUTPUT": [], "FORWARD": []} for family in FAMILY
    }
    for block in re.split(r"^(?=table )", COMMENT.sub("comment", text), flags=re.MULTILINE):
        head = re.match(r"table ((\S+) \S+) ", block)
        if head is None:
            continue
        of_family = found[FAMILY_OF.get(head.group(2), "ipv4")]
        flags = re.search(r"^\tflags ([^\n]*)", block, re.MULTILINE)
        set_there = re.findall(r"\w+", flags[1]) if flags else []
        for flag in ("dormant", "owner"):
            if flag in set_there:
                of_family[flag].append(head.group(1))
        if "dormant" in set_there:
            continue
        hook, there = ("OUTPUT", LEAVING) if LEAVING.search(block) else ("FORWARD", FORWARDING)
        if there.search(block):
            for name, body in re.findall(r"^\tchain (\S+) {\n(.*?)^\t}", block, re.MULTILINE | re.DOTALL):
                # A chain without a hook is reached from those that have one.
                if SENDING.search(body) and (" hook " not in body or there.search(body)):
                    of_family[hook].append("{} {}".format(head.group(1), name))
    return found


def ruleset() -> Dict[str, Dict[str, List[str]]]:
    """What parse_ruleset says of this host."""
    return parse_ruleset(_listed("-s"))


def of_others() -> List[Dict[str, Any]]:
    """The chains and rules of nft's own, as `nft --json` tells them: of tables that are none of iptables'."""
    listed = json.loads(_listed("-j") or '{"nftables": []}')["nftables"]
    return [each for each in listed if _of_others(each.get("chain") or each.get("rule"))]


def of_others_on_egress() -> List[str]:
    """The chains of others that see what leaves a device, behind all of iptables' (kernel 5.16)."""
    listed = json.loads(_listed("-j") or '{"nftables": []}')["nftables"]
    chains = [each["chain"] for each in listed if "chain" in each]
    return sorted(
        "{} {}".format(chain["table"], chain["name"])
        for chain in chains
        if chain["family"] in ("netdev", "inet") and chain.get("hook") == "egress" and chain["table"] != OURS
    )


def _listed(form: str) -> str:
    """Nothing where there is no nft: what only it shows, only it can have made. Nor on a kernel without nf_tables, as
    it may be below the legacy backend."""
    if find("nft") is None:
        return ""
    try:
        return run(["nft", form, "-t", "list", "ruleset"]).stdout
    except HostError as error:
        if re.search("not supported|Invalid argument", str(error)):
            return ""
        raise


def _of_others(found: Optional[Dict[str, Any]]) -> bool:
    if not found or found["family"] not in ("inet", *FAMILY.values()):
        return False
    return found["family"] == "inet" or found["table"] not in BUILT_IN
