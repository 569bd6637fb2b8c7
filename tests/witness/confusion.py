"""Which rules of the diagnosis named which fault that was made, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def confusion(named: Mapping[str, Sequence[str]]) -> str:
    """A line for each fault, a column for each rule that named one, and what the columns are. It fits a terminal: the
    columns have numbers, in the order in which faults were made."""
    rules = list(dict.fromkeys(rule for found in named.values() for rule in found))
    width = max(map(len, named))
    heads = [f"{number:>2}" for number in range(1, len(rules) + 1)]
    rows = [
        " ".join([f"{fault:<{width}}", *(f"{found.count(rule) or chr(183):>2}" for rule in rules)])
        for fault, found in named.items()
    ]
    legend = [f"{head} {rule}" for head, rule in zip(heads, rules, strict=True)]
    return "\n".join(["", " ".join([f"{'fault made':<{width}}", *heads]), *rows, *legend])
