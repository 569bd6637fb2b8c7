"""Rules in the backend of iptables that is not in force: packets pass both, and each tool shows its own alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostguard.control import Context, Verdict


def asks(_context: Context) -> Mapping[str, Any]:
    return {"other": {"collect": "other-backend"}}


def judges(_context: Context, said: Mapping[str, Any]) -> Verdict:
    expected = "no rules in the backend of iptables that is not in force"
    unread = [f"{found['backend']} {family}" for family, found in said["other"].items() if found["rules"] is None]
    if unread:
        words = (
            f"the kernel holds {', '.join(unread)} tables and nothing there reads them: install iptables-legacy-save"
        )
        return Verdict("unknown", expected, words)
    hidden = [
        f"{found['backend']} {family}: {count} rules"
        for family, found in sorted(said["other"].items())
        if (count := hidden_rules(found["rules"]))
    ]
    if hidden:
        return Verdict("fail", expected, "; ".join(hidden))
    return Verdict("pass", expected, "none there")


def hidden_rules(saved: str) -> int:
    """Rules, and chains whose policy is not ACCEPT, in what `iptables-save` said of all tables."""
    lines = saved.splitlines()
    dropping = [line for line in lines if line.startswith(":") and line.split()[1] not in ("ACCEPT", "-")]
    return len(dropping) + sum(line.startswith("-A ") for line in lines)
