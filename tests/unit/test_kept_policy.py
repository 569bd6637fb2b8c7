"""The policy that a host keeps: of this host it is taken where no file is, and of no other one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from hostguard.host import store
from tests.lab.process import call

pytestmark = pytest.mark.needs("namespaces")

SERVICE = {"cidrs": ["192.0.2.0/24"], "protocol": "udp", "ports": [123], "users": ["root"]}
POLICY = {"version": 1, "egress": {"mode": "observe", "via": "direct", "services": {"time": SERVICE}}}
RECORD = {"number": 3, "status": store.APPLIED, "policy": {"path": "p", "sha256": "0" * 64, "document": POLICY}}
KEPT = "generation 3, applied to this host last"


def said(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command on a host that keeps a policy, in a folder without one."""
    (folder / "record").write_text(json.dumps(RECORD), encoding="utf-8")
    (folder / "hosts").write_text("web\n", encoding="utf-8")
    host = f"mount -t tmpfs none /var/lib && mkdir -p {store.GENERATIONS} && cp record {store.GENERATIONS}/000003.json"
    fence = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--", "sh", "-ec", f'{host} && exec "$@"', "-"]
    done = call([*fence, sys.executable, "-m", "hostguard", *arguments], cwd=folder, check=False, timeout=60,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    return done.returncode, done.stderr


def test_it_is_this_host_s(tmp_path: Path) -> None:
    _, errors = said(tmp_path, "plan")
    assert f"policy of {KEPT}" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "-i", "hosts"],
        ["apply", "-i", "hosts", "--yes"],
        ["audit", "-i", "hosts"],
        ["audit", "--host", "podman://web"],
        ["audit", "--rootfs", "."],
        ["diagnose", "-i", "hosts"],
        ["prove", "--host", "podman://web"],
        ["why", "192.0.2.1:443", "--host", "podman://web"],
        ["learn", "--for", "1s"],
    ],
    ids=" ".join,
)
def test_it_is_no_other_host_s(tmp_path: Path, arguments: list[str]) -> None:
    code, errors = said(tmp_path, *arguments)
    assert (code, KEPT in errors, "hostguard.yml" in errors) == (2, False, True), errors
