"""A host looked at from elsewhere: the same verdicts by every way, and of an image what its files can tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab
from tests.lab.fleet import SSH, Fleet
from tests.lab.host import PODMAN, Host
from tests.lab.network import inside
from tests.witness import policy

pytestmark = pytest.mark.needs("lab")

HOSTGUARD = (sys.executable, "-m", "hostguard", "audit", "--format", "json")
NEEDS_A_KERNEL = "an image does not tell it: needs a host that runs"


@pytest.fixture(scope="module")
def fleet(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    fleet = Fleet(lab, tmp_path_factory.mktemp("targets"), ["target"])
    host = fleet.hosts["target"]
    policy.install(host)
    (fleet.folder / "policy.yml").write_text(policy.example())
    assert host.hostguard("apply", "--yes", "--restart", "--confirm-within", "0").returncode == 0
    # What a user has in ~/.ssh/config: how to log in, and which keys are known.
    settings = [f"{key} {said}" for key, said in (pair.split("=", 1) for pair in SSH if "=" in pair)]
    (fleet.folder / "ssh_config").write_text("\n".join([f"IdentityFile {fleet.key}", *settings]) + "\n")
    return fleet


@pytest.fixture(scope="module")
def host(fleet: Fleet) -> Host:
    return fleet.hosts["target"]


def audit(fleet: Fleet, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """From the controller, with its settings of ssh: a mount that nobody else sees."""
    settings = f'mount --bind {fleet.folder}/ssh_config /etc/ssh/ssh_config && exec "$@"'
    argv = [*inside(fleet.lab.world.name), "unshare", "--mount", "--propagation", "private", "sh", "-c", settings, "sh"]
    argv += [*HOSTGUARD, "-p", str(fleet.folder / "policy.yml"), *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["hosts"]


def statuses(results: list[dict[str, str]]) -> dict[str, str]:
    return {result["id"]: result["status"] for result in results}


def own(host: Host) -> dict[str, str]:
    return statuses(json.loads(host.hostguard("audit", "--format", "json").stdout)["hosts"][0]["results"])


def test_over_ssh_and_by_podman_a_host_is_what_it_says_itself(fleet: Fleet, host: Host) -> None:
    code, (by_ssh,) = audit(fleet, "--host", f"ssh://root@{host.address.ipv4}")
    assert (code, by_ssh["host"], statuses(by_ssh["results"])) == (0, host.address.ipv4, own(host))
    done = subprocess.run(
        [*HOSTGUARD, "-p", str(fleet.folder / "policy.yml"), "--host", f"podman://{host.container}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (by_podman,) = json.loads(done.stdout)["hosts"]
    assert (by_podman["host"], statuses(by_podman["results"])) == (host.container, own(host))


def test_why_tells_the_rule_of_a_host_elsewhere(fleet: Fleet, host: Host) -> None:
    argv = [sys.executable, "-m", "hostguard", "why", "-p", str(fleet.folder / "policy.yml"), "--format", "json"]
    argv += ["--host", f"podman://{host.container}"]

    def told(*words: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run([*argv, *words], capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)["host"]

    code, found = told("envoy", "203.0.113.5")
    assert (code, found["may"], found["agrees"], found["name"]) == (0, True, True, host.container), found
    assert found["addresses"][0]["set"] == "hostguard-4-envoy", found
    code, found = told("root", "203.0.113.5")
    assert (code, found["may"], found["agrees"]) == (1, False, True), found
    assert found["addresses"][0]["rule"] == "filter HOSTGUARD-OUTPUT -j DROP"


def test_nothing_of_us_is_left_on_a_host_that_was_asked(fleet: Fleet, host: Host) -> None:
    host.run("touch /root/before; sleep 0.01")
    audit(fleet, "--host", f"ssh://root@{host.address.ipv4}")
    newer = host.out("find / -xdev -newer /root/before -not -path '/proc/*' -not -path '/sys/*' -type f")
    assert [path for path in newer.splitlines() if not path.startswith(("/var/log/", "/root/before"))] == []


def test_another_account_sees_less_and_sudo_is_asked_for(fleet: Fleet, host: Host) -> None:
    host.run(
        "useradd --create-home --shell /bin/sh guest; cp -r /root/.ssh /home/guest; chown -R guest /home/guest/.ssh"
    )
    code, (seen,) = audit(fleet, "--host", f"ssh://guest@{host.address.ipv4}")
    found = statuses(seen["results"])
    assert (code, found["egress.output"], found["platform.kernel"]) == (3, "unknown", "pass")
    assert "fail" not in found.values()
    host.run("echo 'guest ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/guest")
    code, (seen,) = audit(fleet, "--host", f"ssh://guest@{host.address.ipv4}", "--sudo")
    assert (code, statuses(seen["results"])) == (0, own(host))


def test_one_that_is_not_there_holds_up_nobody(fleet: Fleet, host: Host) -> None:
    gone = "ssh://root@10.77.0.251"
    host.run("systemctl stop envoy")  # something else that is no failure
    try:
        code, (first, second) = audit(fleet, "--host", gone, "--host", f"ssh://root@{host.address.ipv4}")
    finally:
        host.run("systemctl start envoy")
    assert code == 3
    assert (first["summary"]["pass"], first["summary"]["fail"]) == (0, 0)
    assert "10.77.0.251" in first["results"][0]["actual"]
    assert second["summary"]["unknown"] == 0


def image(host: Host) -> str:
    done = subprocess.run([*PODMAN, "inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", host.container],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout.strip()


def of_image(fleet: Fleet, host: Host) -> tuple[int, dict[str, dict[str, str]]]:
    code, (seen,) = audit(fleet, "--rootfs", image(host))
    return code, {result["id"]: result for result in seen["results"]}


def test_an_image_tells_what_its_files_say_and_no_more(fleet: Fleet, host: Host) -> None:
    code, found = of_image(fleet, host)
    assert code == 0
    passed = {name for name, result in found.items() if result["status"] == "pass"}
    assert {"egress.boot", "secrets.boot", "limits.pam", "platform.openssl"} <= passed
    for name in (
        "egress.output",
        "kernel.somaxconn",
        "slices.limits",
        "secrets.mount",
        "limits.running",
        "platform.aes",
    ):
        assert (found[name]["status"], found[name]["actual"]) == ("not_applicable", NEEDS_A_KERNEL)


@pytest.mark.parametrize(
    ("broken", "mended", "control"),
    [
        ("echo >> /etc/hostguard/egress/ipv4.rules", "sed -i '$d' /etc/hostguard/egress/ipv4.rules", "egress.boot"),
        ("systemctl disable run-secrets.mount", "systemctl enable run-secrets.mount", "secrets.boot"),
        ("systemctl mask --runtime hostguard-egress.service; mv /etc/systemd/system/hostguard-egress.service /root; "
         "ln -s /dev/null /etc/systemd/system/hostguard-egress.service",
         "mv /root/hostguard-egress.service /etc/systemd/system; systemctl unmask --runtime hostguard-egress.service",
         "egress.boot"),
        ("mkdir /usr/lib/systemd/system/run-secrets.mount.d; "
         "echo > /usr/lib/systemd/system/run-secrets.mount.d/a.conf",
         "rm -r /usr/lib/systemd/system/run-secrets.mount.d", "secrets.boot"),
        ("echo 'envoy - nofile 256' > /etc/security/limits.d/10-envoy.conf", "rm /etc/security/limits.d/10-envoy.conf",
         "limits.pam"),
        ("echo net.ipv4.tcp_fin_timeout=61 > /etc/sysctl.d/zzz.conf", "rm /etc/sysctl.d/zzz.conf",
         "kernel.fin-timeout"),
    ],
)  # fmt: skip
def test_what_is_broken_in_an_image_fails(fleet: Fleet, host: Host, broken: str, mended: str, control: str) -> None:
    host.run(broken)
    try:
        code, found = of_image(fleet, host)
    finally:
        host.run(mended)
    assert (code, [name for name, result in found.items() if result["status"] == "fail"]) == (1, [control])


def test_a_link_does_not_lead_out_of_an_image(fleet: Fleet, host: Host) -> None:
    ours = "/etc/sysctl.d/zz-hostguard.conf"
    outside = fleet.folder / "outside.conf"
    outside.write_text("net.ipv4.tcp_fin_timeout = 30\n")  # on this machine, which would make it well
    host.run(f"cp {ours} /root/ours; sed -i /tcp_fin_timeout/d {ours}; ln -s {outside} /etc/sysctl.d/zzz.conf")
    try:
        _, found = of_image(fleet, host)
    finally:
        host.run(f"mv /root/ours {ours}; rm /etc/sysctl.d/zzz.conf")
    assert found["kernel.fin-timeout"]["status"] == "fail"


def test_no_program_of_an_image_runs(fleet: Fleet, host: Host) -> None:
    host.run("cp /usr/bin/openssl /root/openssl; printf '#!/bin/sh\\ntouch /ran\\n' > /usr/bin/openssl")
    try:
        _, found = of_image(fleet, host)
        assert host.run("test -e /ran", check=False).returncode == 1
    finally:
        host.run("cp /root/openssl /usr/bin/openssl")
    assert found["platform.openssl"]["status"] in ("pass", "unknown")


def test_the_folder_must_be_one_and_the_account_root(fleet: Fleet, tmp_path: Path) -> None:
    rule = ["-p", str(fleet.folder / "policy.yml"), "--rootfs"]
    done = subprocess.run([*HOSTGUARD, *rule, str(tmp_path / "none")], capture_output=True, text=True, check=False)
    assert (done.returncode, "No such file" in done.stderr) == (2, True)
