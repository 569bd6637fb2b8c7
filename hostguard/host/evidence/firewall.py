"""What iptables and nft hold that is not ours, and what our rules have dropped."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Dict, List, Optional, Tuple

from .. import iptables, nft, store
from ..facts import account_of, has_ipv6
from ..firewalld import flushes
from ..kinds import ipset
from ..program import find, run
from ..resource import HostError
from . import Request
from .machine import kernel_log


def other_backend(_request: Request) -> Any:
    """`iptables-save` of the backend that is not in force, by family; "" where the kernel holds nothing of it.

    The kernel's own list of legacy tables is read first: iptables-legacy-save would load the modules, and an
    audit changes nothing.
    """
    answer: Dict[str, Any] = {}
    for family, command in iptables.COMMAND.items():
        if iptables.backend(family) is None:
            raise HostError("{} is not installed on this host".format(command))
        other = iptables.other_backend(family)
        if other == "legacy" and not iptables.legacy_tables(family):
            answer[family] = {"backend": other, "rules": ""}
            continue
        program = iptables.tool(family, other, "-save")
        if find(program) is None:
            # The controller may have a library for it. No tool for nft: then nothing of nft was ever written.
            tables = iptables.legacy_tables(family)
            answer[family] = {"backend": other, "rules": None if other == "legacy" else "", "tables": tables}
            continue
        answer[family] = {"backend": other, "rules": iptables.saved(program)}
    return answer


def chains(_request: Request) -> Any:
    """The names of all chains that are not built in, of any table of the backend in force."""
    found = {
        chain
        for family in iptables.COMMAND
        for text in iptables.tables(family).values()
        for chain, policy in iptables.parse(text)["policies"].items()
        if policy == "-"
    }
    return sorted(found)


def rules(_request: Request) -> Any:
    """All rules of the backend in force, by family and table, and those of nft's own in tables of other names.

    nft tells a table of iptables in words that iptables-save alone reads; ours is netdev's.
    """
    parsed: Dict[str, Any] = {"ipv4": None, "ipv6": None}  # None: a kernel without it
    for family in parsed if has_ipv6() else ["ipv4"]:
        if iptables.backend(family) is None:
            raise HostError("{} is not installed on this host".format(iptables.COMMAND[family]))
        parsed[family] = {name: iptables.parse(text) for name, text in iptables.tables(family).items()}
    return {"iptables": parsed, "nft": nft.of_others()}


DENIED = "hostguard deny: "
OUR_CHAIN = re.compile(r"^\[(\d+):\d+\] -A HOSTGUARD-OUTPUT -j DROP$", re.MULTILINE)
MOST_LINES = 1000


def denied(_request: Request) -> Any:
    """Packets that our chain has dropped since its rules were loaded, by family (None: there is no such rule), and how
    many lines of the journal, the last of them, name each account."""
    packets: Dict[str, Optional[int]] = {}
    for family, command in iptables.COMMAND.items():
        found = OUR_CHAIN.search(run([command + "-save", "-c", "-t", "filter"], check=False).stdout)
        packets[family] = int(found.group(1)) if found else None
    accounts: Dict[str, int] = {}
    for uid in re.findall(r"^{}.* UID=(\d+)".format(DENIED), _journal(), re.MULTILINE):
        name = account_of(int(uid))
        accounts[name] = accounts.get(name, 0) + 1
    return {"packets": packets, "accounts": accounts}


FIELDS = re.compile(r"\b(DST|PROTO|DPT|UID)=(\S*)")


def denials(request: Request) -> Any:
    """What our rules denied in the last `seconds`, by the journal: {"account" ("" where no process sent it),
    "protocol", "to", "port", "count"} of each, most first; None where there is no journal."""
    lines = kernel_log({"seconds": request["seconds"], "pattern": "^" + DENIED})
    return None if lines is None else _denials("\n".join(lines))


def _denials(journal: str) -> List[Dict[str, Any]]:
    counts: Dict[Tuple[str, str, str, int], int] = {}
    for line in re.findall(r"^{}.*".format(DENIED), journal, re.MULTILINE):
        said = dict(FIELDS.findall(line))
        if said.get("DST") and said.get("DPT", "").isdecimal():
            account = account_of(int(said["UID"])) if said.get("UID", "").isdecimal() else ""
            to = str(ipaddress.ip_address(said["DST"]))
            key = (account, said.get("PROTO", "").lower(), to, int(said["DPT"]))
            counts[key] = counts.get(key, 0) + 1
    most = sorted(counts.items(), key=lambda item: -item[1])
    return [dict(zip(("account", "protocol", "to", "port"), key), count=count) for key, count in most]


def set_members(request: Request) -> Any:
    """{set: [address, …]} of these `sets` of the kernel's; None for one that is not there."""
    if find("ipset") is None:
        return dict.fromkeys(request["sets"])
    found = ipset.parse(run(["ipset", "save"]).stdout)
    return {
        name: [entry.split()[0] for entry in found[name]["entries"]] if name in found else None
        for name in request["sets"]
    }


def _journal() -> str:
    """The kernel's lines since the last apply; "" where there is no journal, or none that one may read."""
    record = store.current()
    if record is None or find("journalctl") is None:
        return ""
    since = record["created"].replace("T", " ").replace("Z", " UTC")
    argv = ["journalctl", "-k", "-q", "-o", "cat", "--no-pager", "--since", since, "--grep", "^" + DENIED, "-n"]
    try:
        return run([*argv, str(MOST_LINES)], check=False, timeout=20).stdout
    except HostError:
        return ""  # it hangs, or says too much: who was denied is for the log, that something was is counted


def firewalld(_request: Request) -> Any:
    """Why firewalld, were it to run, would flush our rules."""
    return flushes()
