"""The kind `xds` with the real Envoy: what it says that it has is what counts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostguard import answer
from hostguard.host import envoy_admin
from hostguard.host.kinds import xds
from hostguard.host.resource import HostError, Observation, value
from tests.gateway import minimal
from tests.gateway.minimal import cluster, listener, text
from tests.patience import until, whole
from tests.programs import ENVOY

pytestmark = [pytest.mark.needs("envoy", "root"), pytest.mark.alone]


@pytest.fixture
def port() -> Iterator[int]:
    with minimal.provider() as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "xds").mkdir()
    for name in xds.NAMES.values():
        (tmp_path / "xds" / name).write_text("{}")
    bootstrap = minimal.bootstrap(f"{tmp_path}/admin.sock", f"{tmp_path}/xds")
    (tmp_path / "bootstrap.json").write_text(bootstrap)
    return tmp_path


@pytest.fixture
def envoy(folder: Path) -> Iterator[Path]:
    argv = [str(ENVOY), "-c", f"{folder}/bootstrap.json", "--disable-hot-restart", "--concurrency", "1", "-l", "error",
            "--drain-time-s", whole(1), "--drain-strategy", "immediate"]  # fmt: skip
    with subprocess.Popen(argv) as running:
        try:
            until(lambda: envoy_admin.ask(f"{folder}/admin.sock", "/ready") is not None, "Envoy runs")
            until(lambda: ready(folder), "Envoy is ready")
            yield folder
        finally:
            running.kill()


def ready(folder: Path) -> bool:
    try:
        return envoy_admin.ask(f"{folder}/admin.sock", "/ready") == "LIVE\n"
    except HostError:
        return False


def resource(folder: Path, clusters: str, listeners: str) -> dict[str, Any]:
    return {"id": "xds:x", "kind": "xds", "control": "c", "folder": f"{folder}/xds", "admin": f"{folder}/admin.sock",
            "user": str(os.getuid()), "drain": 60, "clusters": clusters, "listeners": listeners}  # fmt: skip


def look(wanted: dict[str, Any]) -> list[tuple[str, str]]:
    """How it differs; by way of the controller's door, as an audit has it."""
    said = json.loads(json.dumps(xds.read([wanted])[wanted["id"]]))
    seen = answer.observed(wanted, said, image=False)
    assert seen == Observation(*said), seen
    xds.seen_as(wanted, seen)
    return [(each.field, each.have) for each in xds.differ(wanted, seen)]


def write(wanted: dict[str, Any]) -> None:
    xds.write([wanted], xds.read([wanted]))


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "xds").iterdir()}


def test_it_is_reached_and_then_nothing_differs(envoy: Path, port: int) -> None:
    at = minimal.free_port()
    wanted = resource(envoy, text(cluster("a", port)), text(listener("a", at, "a")))
    assert [field for field, _ in look(wanted)] == [
        "clusters on disk: content", "listeners on disk: content", "clusters in force", "cluster a",
        "listeners in force", "listener a",
    ]  # fmt: skip
    write(wanted)
    assert look(wanted) == []
    assert minimal.call(at)[0] == "200"


def test_changes_under_load_fail_no_request(envoy: Path, port: int) -> None:
    at, path = minimal.free_port(), str(envoy / "s")
    first = resource(envoy, text(cluster("a", port)), text(listener("a", at, "a"), listener("b", path, "a")))
    second = resource(
        envoy, text(cluster("b", port)), text(listener("a", at, "b", "4s"), listener("b", path, "b", "4s"))
    )
    write(first)
    captured = xds.capture([first])
    with minimal.load([at, path]) as got:
        for _ in range(2):
            for wanted in (second, first):
                minimal.wait_for_more(got)
                write(wanted)
                assert look(wanted) == []
        write(second)
        minimal.wait_for_more(got)
        xds.restore([second], captured)
        minimal.wait_for_more(got)
    assert look(first) == []
    assert set(got) == {"200"}, got


def test_what_is_refused_fails_and_goes_back(envoy: Path, port: int) -> None:
    at = minimal.free_port()
    first = resource(envoy, text(cluster("a", port)), text(listener("a", at, "a")))
    write(first)
    before, captured = files(envoy), xds.capture([first])
    refused = resource(envoy, text(cluster("a", port)), text(listener("a", at, "a", "3s"), listener("b", 9, "none")))
    with pytest.raises(HostError, match=r"refuses the listeners of .*b: route: unknown cluster 'none'"):
        write(refused)
    assert ("listener b", "route: unknown cluster 'none'") in look(refused)
    xds.restore([refused], captured)
    assert files(envoy) == before
    assert look(first) == []
    now = xds.capture([first])
    assert xds.as_before(first, captured["xds:x"], now["xds:x"])


@pytest.mark.parametrize("odd", ['{"version_info": "7", "resources": [', "[]", '{"resources": [{"name": "x"}]}'])
def test_what_was_refused_behind_our_back_is_seen_and_mended(envoy: Path, port: int, odd: str) -> None:
    wanted = resource(envoy, text(cluster("a", port)), text(listener("a", minimal.free_port(), "a")))
    write(wanted)
    (envoy / "new").write_text(odd)
    (envoy / "new").rename(envoy / "xds" / "cds.json")
    assert ("clusters on disk: content", odd) in look(wanted)
    write(wanted)
    assert look(wanted) == []


def test_a_taken_port_is_seen_though_the_rest_is_in_force(envoy: Path, port: int) -> None:
    at, taken = minimal.free_port(), socket.create_server(("127.0.0.1", 0))
    with taken:
        half = text(listener("a", at, "a"), listener("b", taken.getsockname()[1], "a"))
        wanted = resource(envoy, text(cluster("a", port)), half)
        captured = xds.capture([wanted])
        with pytest.raises(HostError, match=r"refuses the listeners of .*b: cannot bind .*: Address already in use"):
            write(wanted)
        assert minimal.call(at)[0] == "200"
        xds.restore([wanted], captured)
    assert files(envoy) == {"cds.json": "{}", "lds.json": "{}"}


def test_the_socket_of_a_listener_that_is_gone_goes_too(envoy: Path, port: int) -> None:
    for name in ("a", "b"):
        (envoy / name).mkdir()
    stays, goes = envoy / "a" / "http.sock", envoy / "b" / "http.sock"
    bound = {path: str(path.with_name(".http.sock")) for path in (stays, goes)}
    clusters, first = text(cluster("a", port)), listener("a", bound[stays], "a")
    write(resource(envoy, clusters, text(first, listener("b", bound[goes], "a"))))
    assert minimal.call(str(goes))[0] == "200"
    assert stays.is_socket()
    assert goes.is_socket()
    write(resource(envoy, clusters, text(first)))
    assert stays.is_socket()
    assert not goes.parent.exists()


def test_without_a_process_there_are_the_files_and_a_start_takes_them(folder: Path, port: int) -> None:
    for path in (folder / "xds").iterdir():
        path.unlink()
    (folder / "xds").rmdir()
    at = minimal.free_port()
    wanted = resource(folder, text(cluster("a", port)), text(listener("a", at, "a")))
    captured = xds.capture([wanted])
    write(wanted)
    assert look(wanted) == []
    xds.restore([wanted], captured)
    assert not (folder / "xds").exists()
    assert xds.as_before(wanted, captured["xds:x"], xds.capture([wanted])["xds:x"])


def test_an_admin_that_does_not_make_sense_is_no_proof_of_anything() -> None:
    wanted = {"clusters": text(cluster("a", 1)), "listeners": text(), "folder": "/x"}
    nothing = {"version": "", "active": [], "warming": ["a"], "errors": {}}
    running = {"clusters": nothing, "listeners": nothing}
    same = {which: ["value", {"type": "file", "content": wanted[which], "mode": "0644", "owner": "root",
                              "group": "root"}, ""] for which in xds.NAMES}  # fmt: skip
    found = xds.differ(wanted, value({"files": same, "running": running}))
    assert [each.field for each in found] == ["clusters in force", "cluster a", "listeners in force"]
