"""A hardened host, broken one way at a time: the audit must turn exactly the control that the break is about."""

from __future__ import annotations

import json

import pytest

from tests.breaks import BREAKS, Break
from tests.lab import Host
from tests.lab.fixture import MakeHost
from tests.witness import policy


def failing(host: Host) -> dict[str, str]:
    report = json.loads(host.hostguard("audit", "--format", "json").stdout)["hosts"][0]["results"]
    return {r["id"]: r["actual"] for r in report if r["status"] not in ("pass", "not_applicable")}


@pytest.fixture(scope="module")
def hardened(lab_host: MakeHost) -> Host:
    host = lab_host("hardened")
    policy.install(host)
    assert host.hostguard("apply", "--yes", "--restart", "--confirm-within", "0").returncode == 0
    assert failing(host) == {}
    return host


@pytest.mark.parametrize("done", BREAKS, ids=lambda done: done.name)
def test_the_audit_notices(hardened: Host, done: Break) -> None:
    hardened.run(done.broken)
    try:
        assert list(failing(hardened)) == [done.control]
    finally:
        hardened.run(done.mended)


def test_what_was_mended_is_seen_to_be(hardened: Host) -> None:
    assert failing(hardened) == {}


def test_without_root_nothing_passes_that_was_not_seen(hardened: Host) -> None:
    hardened.run("chmod 755 /opt/hostguard-lib /opt/hostguard-src", check=False)
    done = hardened.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "python3", "-m", "hostguard", "audit",
         "--format", "json"],
        check=False, env={"PYTHONPATH": "/opt/hostguard-lib:/opt/hostguard-src", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    found = {r["id"]: r["status"] for r in json.loads(done.stdout)["hosts"][0]["results"]}
    assert "fail" not in found.values()
    for control in ("egress.output", "egress.destinations", "secrets.permissions", "platform.openssl-running"):
        assert found[control] == "unknown", control
