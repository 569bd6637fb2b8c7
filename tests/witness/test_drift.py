"""A host that changed since its apply: what changed is named, and what did it only where that is certain."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab import Host
from tests.lab.fixture import MakeHost
from tests.witness import policy

pytestmark = pytest.mark.needs("lab")

UNIT = "/etc/systemd/system"
BOOT_RULES = "/etc/hostguard/egress/ipv4.rules"


@pytest.fixture(scope="module")
def applied(lab_host: MakeHost) -> Host:
    host = lab_host("drifting")
    policy.install(host)
    assert host.hostguard("apply", "--yes", "--restart", "--confirm-within", "0").returncode == 0
    # What was applied is compared, whatever became of the policy.
    host.run(f"rm {policy.PLACE}")
    return host


def drifted(host: Host) -> dict[str, list[dict[str, str]]]:
    """By control: what changed, since when, by what."""
    done = host.hostguard("audit", "--drift", "--format", "json")
    results: list[dict[str, Any]] = json.loads(done.stdout)["hosts"][0]["results"]
    found = {result["id"]: result["drift"] for result in results if "drift" in result}
    assert {r["id"] for r in results if r["status"] == "fail"} == set(found)
    assert done.returncode == (1 if found else 0), done.stderr
    return found


def changed(host: Host, path: str) -> str:
    """When a file was last changed, as stat(1) has it."""
    return host.out(f"TZ=UTC stat -c %z {path} | sed 's/ /T/; s/[.].*/Z/'")


def test_nothing_has_drifted_right_after_an_apply(applied: Host) -> None:
    assert drifted(applied) == {}


def test_a_file_of_ours(applied: Host) -> None:
    applied.run(f"chown envoy {BOOT_RULES}; echo >> {BOOT_RULES}")
    try:
        found = drifted(applied)
        assert list(found) == ["egress.boot"]
        assert {each["what"] for each in found["egress.boot"]} == {
            f"{BOOT_RULES}: content differs", f"{BOOT_RULES}: owner is envoy",
        }  # fmt: skip
        for each in found["egress.boot"]:
            assert each["since"] == changed(applied, BOOT_RULES)
            assert each["by"] == f"not known ({BOOT_RULES} is envoy's, of no package)"
    finally:
        applied.run(f"sed -i '$d' {BOOT_RULES}; chown root {BOOT_RULES}")


def test_a_parameter_by_a_later_file(applied: Host) -> None:
    path = "/etc/sysctl.d/zzz.conf"
    applied.run(f"echo net.ipv4.tcp_fin_timeout=61 > {path}; sysctl -qp {path}")
    try:
        found = drifted(applied)
        assert list(found) == ["kernel.fin-timeout"]
        live, boot = found["kernel.fin-timeout"]
        expected = {"since": changed(applied, path), "by": f"{path}:1 (root's, of no package)"}
        assert live == {"what": "net.ipv4.tcp_fin_timeout: live is 61", **expected}
        assert boot == {"what": f"net.ipv4.tcp_fin_timeout: at boot is 61 ({path}:1)", **expected}
    finally:
        applied.run(f"rm {path}; sysctl -qw net.ipv4.tcp_fin_timeout=30")


def test_a_parameter_that_no_file_sets(applied: Host) -> None:
    applied.run("sysctl -qw net.ipv4.tcp_fin_timeout=62")
    try:
        (live,) = drifted(applied)["kernel.fin-timeout"]
        assert live == {"what": "net.ipv4.tcp_fin_timeout: live is 62", "since": "", "by": "not known"}
    finally:
        applied.run("sysctl -qw net.ipv4.tcp_fin_timeout=30")


def test_a_parameter_that_our_file_sets_no_more(applied: Host) -> None:
    """A line of our own file is gone: the file is no culprit, and who wrote to it nobody knows."""
    path = "/etc/sysctl.d/zz-hostguard.conf"
    applied.run(f"cp -p {path} /tmp/before; sed -i /tcp_fin_timeout/d {path}")
    try:
        (boot,) = drifted(applied)["kernel.fin-timeout"]
        assert boot["what"] == "net.ipv4.tcp_fin_timeout: at boot is unset"
        assert boot["since"] == changed(applied, path)
        assert boot["by"] == f"not known ({path} is root's, of no package)"
    finally:
        applied.run(f"cp -p /tmp/before {path}")


def test_a_unit_by_a_drop_in_of_a_package(applied: Host) -> None:
    """The package is built with dpkg-deb, and what it holds is what `dpkg -S` says."""
    path = f"{UNIT}/envoy.service.d/zzz.conf"
    build = "/tmp/tuner"
    applied.write(build + path, "[Service]\nLimitNOFILE=512\n")
    applied.write(
        build + "/DEBIAN/control",
        "Package: tuner\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.com>\nDescription: a tuner\n",
    )
    applied.run(f"dpkg-deb --build {build} /tmp/tuner.deb && dpkg -i /tmp/tuner.deb && systemctl daemon-reload")
    try:
        assert applied.out(f"dpkg -S {path}") == f"tuner: {path}"
        found = drifted(applied)
        assert list(found) == ["limits.units"]
        assert {each["what"].partition(" is ")[0] for each in found["limits.units"]} == {
            "envoy.service: LimitNOFILE", "envoy.service: LimitNOFILESoft",
        }  # fmt: skip
        for each in found["limits.units"]:
            assert each["since"] == changed(applied, path)
            assert each["by"] == f"{path} (root's, of the package tuner)"
    finally:
        applied.run("dpkg -P tuner; systemctl daemon-reload")


def test_the_defaults_of_systemd(applied: Host) -> None:
    path = "/etc/systemd/system.conf.d/zzz.conf"
    applied.write(path, "[Manager]\nDefaultLimitNOFILE=777\n")
    applied.run("systemctl daemon-reexec")
    try:
        found = drifted(applied)
        assert {each["by"] for each in found["limits.systemd-default"]} == {f"{path} (root's, of no package)"}
    finally:
        applied.run(f"rm {path}; systemctl daemon-reexec")


def test_a_slice_at_run_time(applied: Host) -> None:
    applied.run("systemctl set-property --runtime hostguard-egress.slice TasksMax=9")
    try:
        path = "/run/systemd/system.control/hostguard-egress.slice.d/50-TasksMax.conf"
        found = drifted(applied)
        assert list(found) == ["slices.limits"]
        assert {each["by"] for each in found["slices.limits"]} == {f"{path} (root's, of no package)"}
    finally:
        applied.run("rm -r /run/systemd/system.control/hostguard-egress.slice.d; systemctl daemon-reload")


def test_a_rule_and_who_may_have_written_it(applied: Host) -> None:
    """That a service was started since is certain; that it wrote the rule is not, and is not said."""
    applied.run("iptables -I OUTPUT -d 192.0.2.1 -j ACCEPT")
    try:
        (jump,) = drifted(applied)["egress.output"]
        assert jump["what"].startswith("ipv4 HOSTGUARD-OUTPUT: jump is at 2, behind: -d 192.0.2.1/32")
        assert (jump["since"], jump["by"]) == ("", "not known")
        applied.write(f"{UNIT}/fail2ban.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")
        applied.run("systemctl daemon-reload; systemctl start fail2ban")
        started = applied.out("TZ=UTC systemctl show --value -p ActiveEnterTimestamp fail2ban").split()
        (jump,) = drifted(applied)["egress.output"]
        assert jump["by"] == f"not known; started since the apply: fail2ban.service ({started[1]}T{started[2]}Z)"
    finally:
        applied.run("iptables -D OUTPUT 1; systemctl stop fail2ban; rm -f /etc/systemd/system/fail2ban.service")


def test_what_was_put_back_is_no_drift(applied: Host) -> None:
    assert drifted(applied) == {}


def test_without_a_generation_there_is_nothing_to_compare_with(lab_host: MakeHost) -> None:
    done = lab_host("never-applied").hostguard("audit", "--drift")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no generation is in force" in done.stderr
