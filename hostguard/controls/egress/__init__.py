"""Egress: the host reaches what the policy names, account by account, and nothing else.

allowlist: who may reach what, as sets. chains: the rules over them. boot: both again at the next boot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostguard.control import (
    Context,
    Control,
    JudgingControl,
    Severity,
    Verdict,
    WantingControl,
    article,
    manual,
)
from hostguard.controls.egress import allowlist, boot, chains
from hostguard.policy.model import Egress


def _egress(context: Context) -> Egress:
    if context.policy.egress is None:
        raise ValueError("the policy has no section `egress`: its controls must not be asked")
    return context.policy.egress


def ask_other_backend(_context: Context) -> Mapping[str, Any]:
    return {"other": {"collect": "other-backend"}}


def judge_other_backend(_context: Context, said: Mapping[str, Any]) -> Verdict:
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


OUTBOUND = article("Step 1: Egress Filtering and Firewall Hardening")
APPLY = "Run `hostguard apply`. Where another tool keeps putting its rules first, order it before hostguard."

CONTROLS: tuple[Control, ...] = (
    WantingControl(
        id="egress.output",
        title="What leaves the host is what the policy names, over IPv4 and IPv6",
        severity=Severity.HIGH,
        rationale="A host that can reach anything can be made to send anything anywhere. Packets are dropped unless "
        "their account, address, protocol and port are allowed; replies leave only on sanctioned inbound ports, "
        "since a listener that answers whoever connects in is a way out too.",
        remediation=APPLY,
        references=(OUTBOUND, manual("iptables-extensions(8)")),
        wants=lambda context: chains.output(_egress(context)),
    ),
    WantingControl(
        id="egress.destinations",
        title="The allowlist in the kernel is the policy's",
        severity=Severity.HIGH,
        rationale="An address that was added by hand, or left behind when a provider moved, is a hole that no file "
        "shows: the kernel's own sets are compared, entry by entry.",
        remediation=APPLY,
        references=(OUTBOUND, manual("ipset(8)")),
        wants=lambda context: allowlist.destination_sets(_egress(context)),
    ),
    WantingControl(
        id="egress.replies",
        title="Who may connect in is answered, and nobody else",
        severity=Severity.HIGH,
        rationale="The management networks must be answered or the host is lost; a stateless rule for source port 22 "
        "would let anything out that leaves from there.",
        remediation=APPLY,
        references=(OUTBOUND, manual("iptables-extensions(8)")),
        wants=lambda context: [*allowlist.reply_sets(_egress(context)), *chains.replies(_egress(context))],
    ),
    WantingControl(
        id="egress.forward",
        title="Containers get out no further than the host",
        severity=Severity.HIGH,
        rationale="The packets of a container behind NAT pass FORWARD and never OUTPUT: without a rule there every "
        "container is a way out.",
        remediation=APPLY,
        references=(OUTBOUND, manual("iptables(8)")),
        wants=lambda context: chains.forward(_egress(context)),
    ),
    WantingControl(
        id="egress.boot",
        title="The rules are there before the network is",
        severity=Severity.HIGH,
        rationale="Rules that are loaded after the network is up leave every boot open for some seconds, and rules "
        "that are loaded by nobody leave it open for good.",
        remediation="Run `hostguard apply`.",
        references=(OUTBOUND, manual("systemd.special(7), network-pre.target")),
        wants=lambda context: boot.boot(_egress(context)),
    ),
    JudgingControl(
        id="egress.other-backend",
        title="No rules hide in the other backend of iptables",
        severity=Severity.MEDIUM,
        rationale="nft and legacy tables both act on every packet, and each tool shows only its own: an ACCEPT there "
        "changes nothing here, but a DROP there is an outage that nobody finds.",
        remediation="Look with `iptables-legacy-save` (or `iptables-nft-save`), move what is meant to the backend in "
        "force, and flush the other.",
        references=(OUTBOUND, manual("xtables-nft(8)")),
        asks=ask_other_backend,
        judges=judge_other_backend,
        evidence="iptables-legacy-save or iptables-nft-save, whichever is not in force",
    ),
)
