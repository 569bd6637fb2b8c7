"""Whether firewalld takes the rules of others away.

Up to 1.3 it flushes every table of iptables when it starts and when it reloads, also with its nftables backend: for
direct rules that there might be. At boot it does so after systemd calls it started, so that nothing can come after it.
Later ones, and those of EL 9, flush them only where they use iptables, which their code asks its direct rules for.
"""

from __future__ import annotations

import glob
import re

UNIT = "firewalld.service"
CONF, DIRECT = "/etc/firewalld/firewalld.conf", "/etc/firewalld/direct.xml"
CODE = "/usr/lib/python3*/*-packages/firewall/core/fw.py"
SPARES = "direct.has_runtime_configuration()"


def flushes() -> str:
    """Why the firewalld that is installed here would flush our rules, and what to do; "" where it would not."""
    if not any(SPARES in _text(path) for path in glob.glob(CODE)):
        return "this version does, later ones do not: upgrade it to 2.0, or `systemctl mask --now firewalld`"
    if re.search(r"^[ \t]*FirewallBackend[ \t]*=[ \t]*iptables", _text(CONF), re.MULTILINE):
        return "its backend is iptables: FirewallBackend=nftables in {}".format(CONF)
    if re.search(r"<(?:chain|rule|passthrough)\b", _text(DIRECT)):
        return "it has direct rules: make them policies or rich rules, and empty {}".format(DIRECT)
    return ""


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            return file.read()
    except FileNotFoundError:
        return ""
