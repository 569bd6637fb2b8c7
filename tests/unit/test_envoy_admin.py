"""Envoy's admin may say anything, for ever, or be somebody else: it is asked within bounds."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostguard.host import envoy_admin
from hostguard.host.resource import HostError

Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(path: Path, serve: Serve) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def run() -> None:
            with contextlib.suppress(OSError):  # who asked is gone
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1 << 16)
                    serve(connection)

        threading.Thread(target=run, daemon=True).start()
        yield str(path)


def saying(*parts: bytes) -> Serve:
    return lambda connection: [connection.sendall(part) for part in parts] and None


def on_and_on(part: bytes, pause: float) -> Serve:
    def serve(connection: socket.socket) -> None:
        while True:
            connection.sendall(part)
            time.sleep(pause)

    return serve


HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def test_a_body_comes_whole_whatever_its_pieces(tmp_path: Path) -> None:
    with serving(tmp_path / "s", saying(HEAD[:20], HEAD[20:], b'5\r\n{"a":\r', b"\n4\r\n 17}\r\n0\r\n\r\n")) as admin:
        assert envoy_admin.ask_json(admin, "/config_dump", os.getuid()) == {"a": 17}


def test_counters_and_texts_are_told_apart_from_the_rest(tmp_path: Path) -> None:
    body = b'a.b_c: 7\nd.version_text: "x"\nhistogram: No recorded values\n<script>: 1\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    with serving(tmp_path / "s", saying(head, body)) as admin:
        assert envoy_admin.stats(admin, "x") == {"a.b_c": "7", "d.version_text": "x"}


def test_nobody_there_is_no_error(tmp_path: Path) -> None:
    assert envoy_admin.ask(str(tmp_path / "none"), "/ready") is None
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "left"))
    assert envoy_admin.ask(str(tmp_path / "left"), "/ready") is None


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), "no HTTP"),
        (saying(), "no HTTP"),
        (saying(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}"), "no HTTP"),
        (saying(HEAD + b"zz\r\n"), "no HTTP"),
        (saying(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"), "answered with 403: no"),
        (saying(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n[17]"), "no object in JSON"),
        (saying(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b"[" * 100000), "no object in JSON"),
        (on_and_on(HEAD, 0.01), "did not answer GET /x within"),
        (lambda _: time.sleep(9), "did not answer GET /x within"),
        (on_and_on(bytes(1 << 20), 0), "says more than 2 MiB"),
    ],
)
def test_what_makes_no_sense_is_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve, said: str
) -> None:
    monkeypatch.setattr(envoy_admin, "MOST", 2 << 20)
    monkeypatch.setattr(envoy_admin.ask, "__defaults__", (None, 0.5 if "did not answer" in said else 60.0))
    with serving(tmp_path / "s", serve) as admin, pytest.raises(HostError, match=said):
        envoy_admin.ask_json(admin, "/x")


def test_another_account_s_answer_is_none(tmp_path: Path) -> None:
    with serving(tmp_path / "s", saying(HEAD)) as admin, pytest.raises(HostError, match="is served by the account"):
        envoy_admin.ask(admin, "/x", os.getuid() + 1)
