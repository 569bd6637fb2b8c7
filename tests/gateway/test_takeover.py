"""One Envoy takes over from another, as an ordinary account and without systemd."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hostguard.host import envoy_admin, takeover
from tests.gateway import minimal
from tests.gateway.minimal import cluster, listener, text
from tests.patience import until, whole
from tests.programs import ENVOY

pytestmark = [pytest.mark.needs("envoy"), pytest.mark.alone]


@dataclass
class Place:
    folder: Path
    port: int

    @property
    def admin(self) -> str:
        return f"{self.folder}/run/admin/admin.sock"

    @property
    def socket(self) -> str:
        return f"{self.folder}/run/payments/http.sock"

    @property
    def bound(self) -> str:
        return f"{self.folder}/run/payments/.http.sock"

    @property
    def bootstrap(self) -> Path:
        return self.folder / "bootstrap.json"

    def write(self, **more: object) -> None:
        self.bootstrap.write_text(minimal.bootstrap(self.admin, f"{self.folder}/xds", **more))

    def arguments(self, *more: str) -> list[str]:
        return ["--program", str(ENVOY), "--bootstrap", str(self.bootstrap), "--admin", self.admin, "--drain", whole(1),
                "--pid-file", f"{self.folder}/run/pid", "--workers", "1", *more]  # fmt: skip

    def take_over(self, *more: str) -> subprocess.CompletedProcess[str]:
        said = self.arguments(*more)
        with (self.folder / "log").open("w", encoding="utf-8") as log:  # what it starts keeps it open
            done = subprocess.run([sys.executable, "-I", takeover.__file__, *said], stderr=log, check=False, timeout=90)
        return subprocess.CompletedProcess(said, done.returncode, "", (self.folder / "log").read_text())

    def pid(self) -> int:
        return int((self.folder / "run" / "pid").read_text())

    def sockets(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.glob("run/*/*"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    for name in ("xds", "run/admin", "run/payments"):
        (tmp_path / name).mkdir(parents=True)
    with minimal.provider() as provider:
        found = Place(tmp_path, minimal.free_port())
        (tmp_path / "xds" / "cds.json").write_text(text(cluster("a", provider)))
        listeners = text(listener("tcp", found.port, "a"), listener("socket", found.bound, "a"))
        (tmp_path / "xds" / "lds.json").write_text(listeners)
        found.write()
        try:
            yield found
        finally:
            for pid in takeover.running(str(found.bootstrap)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_it_is_over_once_envoy_is_ready(place: Place) -> None:
    assert place.take_over().returncode == 0
    assert envoy_admin.ask(place.admin, "/ready") == "LIVE\n"
    assert takeover.running(str(place.bootstrap)) == [place.pid()]


def test_no_request_fails_while_one_takes_over_from_the_other(place: Place) -> None:
    place.take_over()
    with minimal.load([place.port, place.socket]) as got:
        for _ in range(2):
            before = place.pid()
            minimal.wait_for_more(got)
            assert place.take_over().returncode == 0
            assert takeover.running(str(place.bootstrap)) == [place.pid()]
            assert place.pid() != before
        minimal.wait_for_more(got)
    assert set(got) == {"200"}, got


def test_the_path_that_applications_know_is_the_old_one_s_until_the_new_one_listens(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.take_over()
    before, publish, seen = place.pid(), takeover.publish, []

    def watched(folder: str) -> None:
        seen.append(answers(place.socket))
        publish(folder)
        seen.append(answers(place.socket))

    monkeypatch.setattr(takeover, "publish", watched)
    assert takeover.main(place.arguments()) == 0
    assert seen == [before, place.pid()]
    assert place.sockets() == ["run/admin/admin.sock", "run/payments/.http.sock", "run/payments/http.sock"]


def answers(path: str) -> int:
    """The process that listens there; 0 where none does."""
    with socket.socket(socket.AF_UNIX) as wire:
        if wire.connect_ex(path):
            return 0
        peer = wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, takeover.CREDENTIALS.size)
    return int(takeover.CREDENTIALS.unpack(peer)[0])


def test_one_that_does_not_start_leaves_the_other_as_it_was(place: Place) -> None:
    place.take_over()
    before, sockets = place.pid(), place.sockets()
    place.write(static_resources={"clusters": [{"name": "x"}, {"name": "x"}]})
    with minimal.load([place.port, place.socket]) as got:
        minimal.wait_for_more(got)
        done = place.take_over()
        minimal.wait_for_more(got)
    assert done.returncode == 1
    assert "ended with code 1: the one before it goes on" in done.stderr
    assert set(got) == {"200"}, got
    assert (place.pid(), place.sockets()) == (before, sockets)
    assert envoy_admin.ask(place.admin, "/ready") == "LIVE\n"


def test_one_that_took_the_sockets_and_never_became_ready_gives_them_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.take_over()
    before, sockets = place.pid(), place.sockets()
    monkeypatch.setattr(takeover, "READY", 1.0)
    monkeypatch.setattr(takeover, "_is_ready", lambda *_: False)
    assert takeover.main(place.arguments()) == 1
    assert (place.pid(), place.sockets()) == (before, sockets)
    assert minimal.call(place.socket)[0] == "200"
    assert envoy_admin.ask(place.admin, "/ready") == "LIVE\n"


def test_all_that_earlier_takeovers_left_is_ended(place: Place) -> None:
    place.take_over()
    argv = [str(ENVOY), "-c", str(place.bootstrap), "--disable-hot-restart", "-l", "off"]
    with subprocess.Popen(argv) as left:
        until(lambda: answers(place.admin) == left.pid, "it is the one that is asked")
        assert place.take_over().returncode == 0
        assert left.wait(30) is not None
    assert takeover.running(str(place.bootstrap)) == [place.pid()]


def test_another_file_than_the_pinned_one_is_not_started(place: Place) -> None:
    done = place.take_over("--sha256", "0" * 64)
    assert (done.returncode, takeover.running(str(place.bootstrap))) == (1, [])
    assert "is not the file that the policy's gateway.sha256 names" in done.stderr
    assert place.take_over("--sha256", takeover._sha256(str(ENVOY))).returncode == 0
