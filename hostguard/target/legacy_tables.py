"""The legacy tables of iptables, read by python-iptables (libiptc) where iptables-legacy-save is not installed.

They act on every packet, and a host whose iptables speaks nft shows nothing of them. Only tables that the kernel holds
already are opened: to open another one is to make it, and an audit changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def complete(answer: dict[str, Any]) -> None:
    """Fill in, on this machine, what the host program alone could not read of the other backend."""
    if "said" not in answer:
        return
    for family, found in answer["said"].items():
        if found["rules"] is None:
            try:
                found["rules"] = read(found["tables"], ipv6=family == "ipv6")
            except (ImportError, OSError, ValueError) as error:
                answer.clear()
                wanted = "install iptables-legacy-save, or python-iptables"
                answer["unreadable"] = (
                    f"the kernel holds legacy {family} tables, and nothing here reads them: {wanted} ({error})"
                )
                return


def read(tables: Sequence[str], ipv6: bool) -> str:
    """Tables in the lines of `iptables-save`, the rules in python-iptables' own words."""
    import iptc

    lines: list[str] = []
    for table in tables:
        lines.append(f"*{table}")
        chains = iptc.easy.dump_table(table, ipv6=ipv6)
        for chain in chains:
            builtin = iptc.Chain(iptc.Table6(table) if ipv6 else iptc.Table(table), chain).get_policy()
            lines.append(f":{chain} {builtin.name if builtin else '-'} [0:0]")
        lines += [f"-A {chain} {json.dumps(rule)}" for chain, rules in chains.items() for rule in rules]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"
