"""A host that is listened to and tells what it likes: `watch` and `learn` end in words."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hostguard.cli import listening
from hostguard.cli.failure import Stop
from hostguard.cli.output import CantWrite
from hostguard.host import arrival
from hostguard.host.resource import HostError
from hostguard.observe.attempts import MOST, MOST_OF_ONE, Names
from hostguard.report import watch
from hostguard.target import local, remote
from hostguard.target.bounded import Limits
from hostguard.target.remote import Remote
from tests.patience import slowness
from tests.unit import hostile

READY = {"is": "ready", "at": 1.5, "mode": "enforce", "no_names": ""}
ATTEMPT = {"is": "attempt", "id": 1, "at": 1.5, "account": "envoy", "process": {"pid": 7, "command": "envoy"},
           "verdict": "deny", "hook": "output", "answer": False, "protocol": "tcp", "from": "192.0.2.1", "from_port": 9,
           "to": "192.0.2.2", "port": 443, "refusal": False, "ending": False}  # fmt: skip
AGAIN = {"is": "again", "id": 1, "at": 2.5, "attempts": 3, "packets": 3}
LOST = {"is": "lost", "at": 2.5, "packets": 3, "why": "crowd"}
NAME = {"is": "answer", "message": "AAAA"}
OF_GATEWAY = {"is": "gateway", "at": 1.5, "state": "unreadable", "why": "no right to", "log": "/var/log/access.log"}
FAILED = {"is": "failed", "id": 2, "at": 1.5, "provider": "payments", "users": ["shop"], "status": 503, "flags": "UF",
          "detail": "x", "refused": "", "failure": "refused", "host": "api.provider.com", "tries": 4,
          "retry_after": ""}  # fmt: skip
FAILED_AGAIN, BEAT = {**AGAIN, "id": 2}, {"is": "beat"}
EVENTS: list[dict[str, Any]] = [READY, OF_GATEWAY, ATTEMPT, AGAIN, NAME, FAILED, FAILED_AGAIN, LOST, BEAT]


def tells(*lines: str) -> str:
    return "import sys, time\n" + "".join(f"print({line!r}, flush=True)\n" for line in lines)


def heard(program: str, limits: Limits = Limits(60.0, 1 << 20)) -> list[dict[str, Any]]:  # noqa: B008 - it is frozen
    asked, ask = os.pipe()
    try:
        with closing(
            Remote("h", (sys.executable, "-c", program), limits=limits).listen({"do": "observe"}, asked)
        ) as told:
            return list(told)
    finally:
        os.close(asked)
        os.close(ask)


def test_what_a_host_tells_is_heard() -> None:
    lines = [arrival.MARK + json.dumps(event) for event in EVENTS]
    assert heard(tells("Welcome", *lines)) == EVENTS


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (tells(arrival.MARK + '{"is": "dance"}'), "expected one of ready, evidence"),
        (tells(arrival.MARK + "[1]"), "expected a mapping"),
        (tells(arrival.MARK + "{"), "expected JSON"),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "more than 1048576 bytes"),
        ("import time; time.sleep(600)", "no word of it within 1 s"),
        ("import sys; sys.exit('out of cheese')", "out of cheese"),
        ("import os, time; os.close(1); os.close(2); time.sleep(600)", "does not end"),
    ],
    ids=["no event", "a list", "no JSON", "floods", "silent", "ends", "says nothing"],
)  # fmt: skip
def test_what_is_no_event_ends_it(program: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LAST_WORDS", slowness())
    seconds = 1.0 if "no word" in words else 20 * slowness()
    with pytest.raises(HostError, match=words):
        heard(program, Limits(seconds, 1 << 20))


def test_a_host_that_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENCE", 1.0)
    with pytest.raises(HostError, match="no word of it within 1 s"):
        heard(tells(arrival.MARK + json.dumps(READY)) + "time.sleep(600)")


def test_stop_ends_who_never_read_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LAST_WORDS", 1.0)
    asked, ask = os.pipe()
    threading.Timer(0.5, lambda: os.write(ask, b".")).start()
    begun = time.monotonic()
    large = {"do": "observe", "padding": [hex(number * 7919) for number in range(300_000)]}
    with (
        pytest.raises(HostError),
        closing(Remote("h", (sys.executable, "-c", "import time; time.sleep(600)")).listen(large, asked)) as told,
    ):
        list(told)
    assert time.monotonic() - begun < 30 * slowness()


def watched(events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(*_: Any) -> Iterator[dict[str, Any]]:
        yield from events

    monkeypatch.setattr(local, "listen", listen)
    for writer in (watch.JsonLines(print), _lines()):
        with listening.events(1.0, None, sudo=False, evidence={}) as told:
            for event in told:
                writer.hear(event)
        writer.end()


def _lines() -> watch.Lines:
    from hostguard.cli import screen

    return watch.Lines(screen._console(sys.stdout), screen._console(sys.stderr))


def test_odd_events_end_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the schema's types, and senseless all the same."""
    count = 0
    for what, odd in ((at, each) for at in range(len(EVENTS)) for each in hostile.mutations(EVENTS[at], each=12)):
        try:
            remote.payload.answers.checked("observe", odd[1])
        except HostError:
            continue
        count += 1
        events = [*EVENTS[:what], odd[1], *EVENTS[what + 1 :]]
        with contextlib.suppress(Stop):
            watched(events, monkeypatch)
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert not [letter for letter in text if not letter.isprintable() and letter != "\n"]
        assert not [line for line in text.splitlines() if line.lstrip().startswith("::")]
    assert count > 50


def test_a_result_that_can_not_be_written_is_no_fault_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: str) -> None:
        raise CantWrite(BrokenPipeError(32, "Broken pipe"))

    def listen() -> None:
        with listening.events(1.0, None, sudo=False, evidence={}) as told:
            for event in told:
                watch.JsonLines(write).hear(event)

    monkeypatch.setattr(local, "listen", lambda *_: (each for each in (READY, ATTEMPT)))
    with pytest.raises(CantWrite):
        listen()


def test_as_many_destinations_as_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST", 10)
    with pytest.raises(Stop, match="more than 10 destinations"):
        watched([READY, *({**ATTEMPT, "id": number} for number in range(20))], monkeypatch)


def test_as_many_names_as_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from hostguard.observe import attempts

    names = Names()
    monkeypatch.setattr(attempts, "MOST", 5)
    monkeypatch.setattr(attempts, "MOST_OF_ONE", 3)
    said = [(f"n{number}", address) for address in range(9) for number in range(9)]
    monkeypatch.setattr(attempts, "addresses", lambda _: said)
    names.hear("AAAA")
    assert len(names.seen) == 5
    assert {len(each) for each in names.seen.values()} == {3}
    assert (MOST, MOST_OF_ONE) == (65_536, 64)


def test_watch_of_a_host_ends_in_words(tmp_path: Path) -> None:
    program = tmp_path / "ssh"
    lines = "".join(f"echo '{arrival.MARK}{json.dumps(event)}'\n" for event in (READY, {**ATTEMPT, "to": "nowhere"}))
    program.write_text(f"#!/bin/sh\n{lines}sleep 1\n")
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "hostguard", "watch", "--host", "ssh://h", "--for", "2s"], capture_output=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, cwd=hostile.EXAMPLE.parents[1], check=False,
        text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert (done.returncode, "makes no sense" in done.stderr) == (3, True), done.stderr
