"""What an audit must not call well: seen on a host, with real packets beside every verdict.

Each test leaves the host as the one before it did: applied, and as the policy wants it.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab import Host, Lab
from tests.lab.fixture import MakeHost
from tests.lab.network import ENEMY, MANAGEMENT, PROVIDER
from tests.witness import policy
from tests.witness.report import audit, not_well, statuses
from tests.witness.world import answers, listening, reaches

pytestmark = [pytest.mark.needs("lab"), pytest.mark.xdist_group("no false pass")]
APPLY = ("apply", "--yes", "--confirm-within", "0")


@pytest.fixture(scope="module")
def host(lab_host: MakeHost) -> Host:
    made = lab_host("no-false-pass")
    policy.install(made)
    assert made.hostguard(*APPLY, "--restart").returncode == 0
    made.run("systemctl start ssh")
    return made


def found(host: Host, control: str) -> dict[str, Any]:
    _, report = audit(host)
    result: dict[str, Any] = next(r for r in report["hosts"][0]["results"] if r["id"] == control)
    return result


def test_a_host_that_observes_is_not_well(lab: Lab, host: Host) -> None:
    policy.install(host, ("mode: enforce", "mode: observe"))
    applied = host.hostguard(*APPLY)
    assert applied.returncode == 0, applied.stderr
    assert "egress.mode: observe" in applied.stderr
    with listening(lab, 443):
        assert reaches(host, "nobody", ENEMY, 443), "it observes, and lets out"
    code, report = audit(host)
    results = {r["id"]: r for r in report["hosts"][0]["results"]}
    waived = {name for name, result in results.items() if result["status"] == "waived"}
    assert {"egress.output", "egress.forward", "egress.frames", "egress.replies"} <= waived
    assert all(results[name]["references"] == [] for name in waived)
    assert "line" in results["egress.output"]["waiver"]["reason"]
    assert code == 0
    shown = host.hostguard("audit").stdout
    assert "waived by the policy itself (egress.mode: observe)" in " ".join(shown.split())
    assert "egress.mode: observe" in host.hostguard("plan").stderr
    policy.install(host)
    assert host.hostguard(*APPLY).returncode == 0
    assert statuses(audit(host)[1])["egress.output"] == "pass"


def test_a_service_that_is_not_there(host: Host) -> None:
    units = ("units: [envoy.service]       # services", "units: [envoy.service, ngnix.service]  # services")
    policy.install(host, units)
    plan = host.hostguard("plan")
    assert "ngnix.service is not installed" in plan.stdout
    applied = host.hostguard(*APPLY)
    assert applied.returncode == 0, applied.stderr
    assert "not on this host: ngnix.service is not installed" in applied.stderr
    result = found(host, "limits.units")
    assert (result["status"], "ngnix.service is not installed" in result["actual"]) == ("fail", True)
    host.write("/etc/systemd/system/ngnix.service", "[Service]\nExecStart=/bin/sleep infinity\n")
    host.run("systemctl daemon-reload")
    assert found(host, "limits.units")["status"] == "pass"
    host.run("rm /etc/systemd/system/ngnix.service; systemctl daemon-reload")
    policy.install(host)
    assert host.hostguard(*APPLY).returncode == 0


NOTRACK = "-p tcp --dport 22 -j CT --notrack"
TAKEN = {
    "who connects in is out of tracking": (
        f"iptables -t raw -A PREROUTING {NOTRACK}", f"iptables -t raw -D PREROUTING {NOTRACK}", "inbound.ssh", "ssh"),
    "the provider's packets are dropped in mangle": (
        f"iptables -t mangle -A OUTPUT -d {PROVIDER} -j DROP", f"iptables -t mangle -D OUTPUT -d {PROVIDER} -j DROP",
        "providers.payments", "provider"),
    "the provider's packets are sent elsewhere": (
        f"iptables -t nat -A OUTPUT -d {PROVIDER} -j DNAT --to-destination {ENEMY}",
        f"iptables -t nat -D OUTPUT -d {PROVIDER} -j DNAT --to-destination {ENEMY}", "providers.payments", "provider"),
    "a table of nft's own drops them": (
        "nft 'add table inet y; add chain inet y o { type filter hook output priority 5; policy drop; }; "
        "add rule inet y o tcp sport 22 accept; add rule inet y o udp dport { 53, 123 } accept; "
        "add rule inet y o tcp dport != 443 accept'", "nft delete table inet y", "providers.payments", "provider"),
    "a rule of routing says prohibit": (
        f"ip rule add to {PROVIDER} prohibit", f"ip rule del to {PROVIDER} prohibit", "providers.payments", "provider"),
    "a route says blackhole": (
        f"ip route add blackhole {PROVIDER}", f"ip route del blackhole {PROVIDER}", "providers.payments", "provider"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_what_other_tools_take_away_is_found_and_is_truly_gone(lab: Lab, host: Host, name: str) -> None:
    """The packets are the witness: what the audit tells of does not get through, and what it does not tell of does."""
    broken, mended, way, who = TAKEN[name]

    def works() -> dict[str, bool]:
        with listening(lab, 443):
            return {"ssh": answers(lab, host, MANAGEMENT, 22), "provider": reaches(host, "envoy", PROVIDER, 443)}

    assert works() == {"ssh": True, "provider": True}
    assert found(host, "egress.passage")["status"] == "pass"
    host.run(broken)
    try:
        assert works() == {"ssh": True, "provider": True, who: False}
        result = found(host, "egress.passage")
        assert result["status"] == "fail"
        assert way in result["actual"]
        plan = " ".join(host.hostguard("plan").stdout.split())
        assert "an apply does not change that" in plan
        assert way in plan
    finally:
        host.run(mended)
    assert found(host, "egress.passage")["status"] == "pass"


def test_what_outlives_a_restart_is_named_and_undoes_nothing(host: Host) -> None:
    outlives = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'sleep 1000 & exec sleep 1001'\nKillMode=process\n"
    host.write("/etc/systemd/system/envoy.service.d/outlives.conf", outlives)
    host.run("systemctl daemon-reload; systemctl restart envoy")
    policy.install(host, ("nofile: 16384", "nofile: 16385"))
    done = host.hostguard(*APPLY, "--restart")
    assert done.returncode == 0, done.stderr
    assert "(sleep) of envoy.service outlived its restart" in " ".join(done.stderr.split())
    result = found(host, "limits.running")
    assert (result["status"], "sleep" in result["actual"]) == ("fail", True)
    host.run("pkill -x sleep; rm /etc/systemd/system/envoy.service.d/outlives.conf; systemctl daemon-reload")
    policy.install(host)
    assert host.hostguard(*APPLY, "--restart").returncode == 0
    assert not_well(audit(host)[1]) == {}


def test_frames_that_the_policy_leaves_open_are_out_in_a_proof(host: Host) -> None:
    policy.install(host, ("containers: deny", "frames: allow"))
    assert host.hostguard(*APPLY).returncode == 0
    proved = host.hostguard("prove")
    assert "left open by the policy, egress.frames: allow" in " ".join(proved.stdout.split())
    assert "GETS OUT" in proved.stdout
    result = found(host, "egress.frames")
    assert (result["status"], result["weakened"][0]["key"]) == ("waived", "egress.frames")
    policy.install(host)
    assert host.hostguard(*APPLY).returncode == 0


def test_a_process_that_tries_to_get_past_the_policy(host: Host) -> None:
    host.run(["systemd-run", "--quiet", "--uid=nobody", "--unit=past", "python3", "-c",
              f"import socket; socket.create_connection(('{ENEMY}', 443))"])  # fmt: skip
    host.run("until ss -Htn state syn-sent | grep -q :443; do sleep 0.1; done", timeout=30)
    result = found(host, "egress.processes")
    assert result["status"] == "fail"
    assert f"nobody: tries to connect to {ENEMY} tcp 443" in result["actual"]
    assert "packets were denied since the rules were loaded" in result["actual"]
    host.run("systemctl stop past")
    assert found(host, "egress.processes")["status"] == "pass"
