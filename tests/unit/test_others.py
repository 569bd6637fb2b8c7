"""What is made of the other tools on a host: which are kept, and which take away what the policy put there."""

from __future__ import annotations

from typing import Any

import pytest

from hostguard.controls.egress import others
from hostguard.host import firewalld, ufw
from hostguard.status import Severity
from tests.unit.test_verdict import judged

NOBODY: dict[str, Any] = {
    "units": [], "chains": [], "firewalld": "", others.NFTABLES_CONF: None, others.PERSISTENT_CONF: None,
    **dict.fromkeys(others.SAVED), ufw.CONF: None, ufw.DEFAULTS: None,
}  # fmt: skip
V4, V6 = others.SAVED
UFW = 'IPV6={}\nDEFAULT_OUTPUT_POLICY="{}"\nMANAGE_BUILTINS={}\n'


@pytest.mark.parametrize(
    ("said", "status", "severity", "words"),
    [
        ({}, "pass", "", "no other tool was found"),
        ({"chains": ["DOCKER-USER", "KUBE-SERVICES", "f2b-sshd", "NETAVARK_FORWARD"], "units": ["docker.service"]},
         "pass", "", "beside Docker, fail2ban, kube-proxy, podman"),
        ({"chains": ["MY-DOCKER"]}, "pass", "", "no other tool was found"),
        ({"units": ["firewalld.service"]}, "pass", "", "beside firewalld"),
        ({"units": ["firewalld.service"], "firewalld": "upgrade it"}, "fail", "high", "firewalld: it flushes"),
        ({"firewalld": "upgrade it"}, "pass", "", "no other tool"),  # it is installed, and does not run
        ({"units": ["nftables.service"], others.NFTABLES_CONF: "#!/usr/sbin/nft -f\n\nflush ruleset\n"}, "fail", "low",
         "flush its own tables"),
        ({"units": ["nftables.service"], others.NFTABLES_CONF: "# flush ruleset\ntable inet x\n"}, "pass", "", ""),
        ({others.NFTABLES_CONF: "flush ruleset\n"}, "pass", "", "no other tool"),  # nobody loads it
        ({"units": ["netfilter-persistent.service"], V4: "*filter\nCOMMIT\n", others.PERSISTENT_CONF: None}, "fail",
         "low", "IPTABLES_RESTORE_NOFLUSH=yes in"),
        ({"units": ["netfilter-persistent.service"], V4: "*filter\n", V6: "*filter\n",
          others.PERSISTENT_CONF: "IPTABLES_RESTORE_NOFLUSH=yes\n"}, "fail", "low", ": IP6TABLES_RESTORE_"),
        ({"units": ["netfilter-persistent.service"], V6: ":HOSTGUARD-OUTPUT - [0:0]\n"}, "fail", "medium", V6),
        ({"units": ["netfilter-persistent.service"]}, "pass", "", "beside netfilter-persistent"),
        ({ufw.CONF: "ENABLED=no\n", ufw.DEFAULTS: UFW.format("yes", "ACCEPT", "no")}, "pass", "",
         "no other tool"),
        ({ufw.CONF: "ENABLED=yes\n", ufw.DEFAULTS: UFW.format("yes", "DROP", "no")}, "pass", "", "ufw"),
        ({ufw.CONF: "ENABLED=YES\n", ufw.DEFAULTS: UFW.format("yes", "ACCEPT", "no")}, "fail", "low",
         "`ufw default deny outgoing`"),
        ({ufw.CONF: "ENABLED=yes\n", ufw.DEFAULTS: UFW.format("no", "DROP", "no")}, "fail", "medium",
         "IPV6=yes in"),
        ({ufw.CONF: "ENABLED=yes\n", ufw.DEFAULTS: UFW.format("yes", "DROP", "yes")}, "fail", "medium",
         "MANAGE_BUILTINS=no in"),
        ({"units": ["firewalld.service", "nftables.service"], "firewalld": "mask it",
          others.NFTABLES_CONF: "flush ruleset"}, "fail", "high", "; nftables.service: "),
    ],
)  # fmt: skip
def test_tools_are_kept_or_named(said: dict[str, Any], status: str, severity: str, words: str) -> None:
    found = judged("egress.others", {**NOBODY, **said})
    assert (found.status, found.severity) == (status, severity or Severity.MEDIUM)
    assert words in found.actual


@pytest.mark.parametrize(
    ("code", "conf", "direct", "words"),
    [
        ("        for backend in self.all_backends():\n", "", "", "upgrade it to 2.0"),
        (f"if self.nftables_enabled and not self.{firewalld.SPARES}:\n", "FirewallBackend=nftables\n", "", ""),
        (f"not self.{firewalld.SPARES}", "#FirewallBackend=iptables\n", "<direct>\n</direct>\n", ""),
        (f"not self.{firewalld.SPARES}", "FirewallBackend=iptables\n", "", "FirewallBackend=nftables in"),
        (f"not self.{firewalld.SPARES}", "", '<direct>\n  <rule priority="0">', "it has direct rules"),
        (None, "", "", "upgrade it to 2.0"),  # where its code is elsewhere nobody knows
    ],
)
def test_a_firewalld_that_flushes_is_told_from_its_code_and_settings(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, code: str | None, conf: str, direct: str, words: str
) -> None:
    for name, text in (("CODE", code), ("CONF", conf), ("DIRECT", direct)):
        monkeypatch.setattr(firewalld, name, str(tmp_path / name))
        if text:
            (tmp_path / name).write_text(text)
    assert (words in firewalld.flushes()) if words else firewalld.flushes() == ""
