"""Other tools that write rules on the same host: which are there, and what their daily work does to ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hostguard.control import Context, Verdict
from hostguard.host import ufw
from hostguard.host.ufw import assigned
from hostguard.status import Severity

KEPT_UNITS = {"docker.service": "Docker", "fail2ban.service": "fail2ban"}
KEPT_CHAINS = {
    "DOCKER": "Docker",
    "NETAVARK": "podman",
    "CNI-": "CNI",
    "f2b-": "fail2ban",
    "KUBE-": "kube-proxy",
}
"""Tools that keep to chains of their own, by how the names of these begin."""
FIREWALLD, NFTABLES, PERSISTENT = "firewalld.service", "nftables.service", "netfilter-persistent.service"
NFTABLES_CONF = "/etc/nftables.conf"
PERSISTENT_CONF = "/etc/default/netfilter-persistent"
SAVED = {"/etc/iptables/rules.v4": "IPTABLES_RESTORE_NOFLUSH", "/etc/iptables/rules.v6": "IP6TABLES_RESTORE_NOFLUSH"}
EXPECTED = "no other tool that takes away what the policy put here"


def asks(_context: Context) -> Mapping[str, Any]:
    files = (NFTABLES_CONF, PERSISTENT_CONF, *SAVED, ufw.CONF, ufw.DEFAULTS)
    return {
        "units": {"collect": "units", "units": [*KEPT_UNITS, FIREWALLD, NFTABLES, PERSISTENT]},
        "chains": {"collect": "chains"},
        "firewalld": {"collect": "firewalld"},
        **{path: {"collect": "text", "path": path} for path in files},
    }


@dataclass(frozen=True)
class Tool:
    """A tool that is there; `undoes` says what it takes away, when, and what to do about it."""

    name: str
    undoes: str = ""
    severity: Severity = Severity.LOW


def judge(_context: Context, said: Mapping[str, Any]) -> Verdict:
    found = list(dict.fromkeys(tools(said)))
    undoing = [tool for tool in found if tool.undoes]
    if undoing:
        worst = min((tool.severity for tool in undoing), key=list(Severity).index)
        return Verdict("fail", EXPECTED, "; ".join(f"{tool.name}: {tool.undoes}" for tool in undoing), worst)
    names = ", ".join(sorted(tool.name for tool in found))
    return Verdict("pass", EXPECTED, f"beside {names}" if names else "no other tool was found")


def tools(said: Mapping[str, Any]) -> Iterator[Tool]:
    for unit, name in KEPT_UNITS.items():
        if unit in said["units"]:
            yield Tool(name)
    for begin, name in KEPT_CHAINS.items():
        if any(chain.startswith(begin) for chain in said["chains"]):
            yield Tool(name)
    if FIREWALLD in said["units"]:
        undoes = f"it flushes the rules of others whenever it starts or reloads; {said['firewalld']}"
        yield Tool("firewalld", undoes if said["firewalld"] else "", Severity.HIGH)
    if NFTABLES in said["units"]:
        yield nftables(said[NFTABLES_CONF] or "")
    if PERSISTENT in said["units"]:
        yield persistent(said)
    if ufw.enabled(said[ufw.CONF]):
        yield of_ufw(said[ufw.DEFAULTS])


def nftables(conf: str) -> Tool:
    if re.search(r"^[ \t]*flush[ \t]+ruleset\b", conf, re.MULTILINE):
        undoes = f"`nft -f {NFTABLES_CONF}` takes hostguard's rules away: flush its own tables there, not the ruleset"
        return Tool("nftables.service", undoes)
    return Tool("nftables.service")


def persistent(said: Mapping[str, Any]) -> Tool:
    name = "netfilter-persistent"
    there = {path: setting for path, setting in SAVED.items() if said[path] is not None}
    ours = [path for path in there if "HOSTGUARD-" in said[path]]
    if ours:
        undoes = (
            f"{', '.join(ours)} has hostguard's rules, whose sets are not there at boot: nothing of it is restored, or "
            "an old policy is. Leave out the lines with HOSTGUARD"
        )
        return Tool(name, undoes, Severity.MEDIUM)
    flushing = [setting for setting in there.values() if assigned(said[PERSISTENT_CONF], setting) != "yes"]
    if flushing:
        settings = " and ".join(f"{setting}=yes" for setting in flushing)
        return Tool(name, f"`{name} reload` takes hostguard's rules away: {settings} in {PERSISTENT_CONF}")
    return Tool(name)


def of_ufw(defaults: str | None) -> Tool:
    if assigned(defaults, "MANAGE_BUILTINS") == "yes":
        undoes = f"it flushes the rules of others whenever it starts or stops: MANAGE_BUILTINS=no in {ufw.DEFAULTS}"
        return Tool("ufw", undoes, Severity.MEDIUM)
    if assigned(defaults, "IPV6") == "no":
        undoes = f"it puts a table of its own in the place of IPv6's whenever it starts: IPV6=yes in {ufw.DEFAULTS}"
        return Tool("ufw", undoes, Severity.MEDIUM)
    if assigned(defaults, "DEFAULT_OUTPUT_POLICY") not in ("DROP", "REJECT"):
        return Tool("ufw", "`ufw reload` sets OUTPUT's policy to ACCEPT: `ufw default deny outgoing`")
    return Tool("ufw")
