"""The gateway's log, followed on a host: its end as it grows, what fails by kinds, and words for each."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hostguard.host import failures as host
from hostguard.host import follow
from hostguard.host.failures import Failures
from hostguard.host.follow import Follower
from hostguard.observe.attempts import failed
from hostguard.report import watch
from hostguard.response_flags import FLAGS
from tests.unit.test_hostile_listening import EVENTS


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "access.log"
    path.touch()
    return path


@pytest.fixture
def follower(log: Path) -> Iterator[Follower]:
    made = Follower(str(log))
    assert made.look() == []
    yield made
    made.close()


def add(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


# The end of a file


def test_what_was_there_before_is_not_told(log: Path) -> None:
    add(log, b"old\nold, and cut he")
    follower = Follower(str(log))
    assert follower.look() == []
    add(log, b"re\nnew\n")
    assert (follower.look(), follower.take_lost()) == ([b"new"], 0)


def test_a_line_is_told_when_it_is_whole(log: Path, follower: Follower) -> None:
    add(log, b"on")
    assert follower.look() == []
    add(log, b"e\ntwo\nth")
    assert follower.look() == [b"one", b"two"]
    add(log, b"ree\n")
    assert follower.look() == [b"three"]


def test_a_file_that_is_rotated_is_read_to_its_end_and_the_next_one_from_its_beginning(
    log: Path, follower: Follower
) -> None:
    add(log, b"one\n")
    log.rename(log.with_suffix(".log.1"))
    assert (follower.look(), follower.why) == ([b"one"], "")
    add(log.with_suffix(".log.1"), b"two\n")
    log.write_bytes(b"three\n")
    assert follower.look() == [b"two", b"three"]
    add(log, b"four\n")
    assert follower.look() == [b"four"]


def test_a_file_that_is_emptied_is_read_from_its_beginning(log: Path, follower: Follower) -> None:
    add(log, b"one\ntwo, and cut he")
    assert follower.look() == [b"one"]
    log.write_bytes(b"three\n")
    assert follower.look() == [b"three"]


def test_a_file_that_comes_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    follower = Follower(str(tmp_path / "later"))
    assert (follower.look(), follower.missing, follower.why) == ([], True, "No such file or directory")
    (tmp_path / "later").write_bytes(b"one\n")
    assert (follower.look(), follower.missing, follower.why) == ([b"one"], False, "")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), "Too many levels of symbolic links"),
        (os.mkfifo, "it is no plain file"),
        (os.mkdir, "it is no plain file"),
    ],
    ids=["a link", "a pipe", "a folder"],
)
def test_what_is_no_plain_file_is_not_read(tmp_path: Path, make: Callable[[Path], None], why: str) -> None:
    make(tmp_path / "log")
    follower = Follower(str(tmp_path / "log"))
    assert (follower.look(), follower.why, follower.missing) == ([], why, False)
    assert follower.look() == []


def test_a_line_without_end_is_not_kept(log: Path, follower: Follower) -> None:
    for _ in range(40):
        add(log, b"x" * (1 << 16))
        assert follower.look() == []
        assert len(follower._rest) <= follow.LONGEST_LINE
    add(log, b"\nnext\n")
    assert (follower.look(), follower.take_lost()) == ([b"next"], 1)


def test_a_long_line_that_comes_at_once_is_counted_as_lost(log: Path, follower: Follower) -> None:
    add(log, b"one\n" + b"x" * (follow.LONGEST_LINE + 1) + b"\ntwo\n")
    assert (follower.look(), follower.take_lost(), follower.take_lost()) == ([b"one", b"two"], 1, 0)


def test_more_than_can_be_looked_at_is_counted(log: Path, follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "AT_ONCE", 10)
    monkeypatch.setattr(follow, "COUNTED", 20)
    add(log, b"line\n" * 5)
    assert (follower.look(), follower.take_lost()) == ([b"line"] * 2, 3)
    add(log, b"line\n" * 5000)
    assert (follower.look(), follower.take_lost()) == ([b"line"], 5), "a part of a line, four that were counted, a rest"
    add(log, b"new\n")
    assert follower.look() == []


# What fails


LINE = {"at": "2026-11-26T15:43:34.939Z", "provider": "payments", "users": ["shop"], "status": 503, "flags": "UH",
        "detail": "no_healthy_upstream", "failure": None, "refused": None, "host": None, "tries": 1,
        "retry_after": None, "method": "GET", "id": "secret"}  # fmt: skip


@pytest.fixture
def looking(tmp_path: Path, log: Path) -> Iterator[Failures]:
    configuration = tmp_path / "lds.json"
    configuration.write_text(json.dumps({"path": str(log)}))
    made = Failures({"log": str(log), "listeners": str(configuration)}, itertools.count(7))
    assert [(each["is"], each["state"]) for each in made.look()] == [("gateway", "followed")]
    yield made
    made.close()


def say(log: Path, *changes: dict[str, Any]) -> None:
    add(log, b"".join(json.dumps({**LINE, **each}).encode() + b"\n" for each in changes))


def test_a_kind_of_failure_is_told_once_and_then_counted(log: Path, looking: Failures) -> None:
    say(log, {}, {}, {"provider": "letters"})
    first, second, again = looking.look()
    assert (first["is"], first["id"], first["provider"], first["users"], first["status"], first["flags"]) == (
        "failed", 7, "payments", ["shop"], 503, "UH",
    )  # fmt: skip
    assert first["at"] == 1795707814
    assert (second["id"], second["provider"]) == (8, "letters")
    assert (again["is"], again["id"], again["attempts"]) == ("again", 7, 1)
    say(log, {}, {}, {})
    assert [(each["is"], each["attempts"]) for each in looking.look()] == [("again", 3)]
    assert list(looking.look()) == []


def test_nothing_is_told_but_what_is_told_of_a_failure(log: Path, looking: Failures) -> None:
    say(log, {"path": "/v1/4111?key=secret", "authorization": "secret"})
    (told,) = looking.look()
    assert "secret" not in json.dumps(told)
    assert "4111" not in json.dumps(told)


def test_what_went_well_is_no_failure_however_slow(log: Path, looking: Failures) -> None:
    say(log, {"status": 200, "flags": "-", "ms": 9000}, {"status": 304, "flags": "-"}, {"status": 200, "flags": None})
    assert list(looking.look()) == []
    say(log, {"status": 200, "flags": "UPE"}, {"status": 0, "flags": "DC"})
    assert [each["status"] for each in looking.look()] == [200, 0]


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"{", b"[]", b"7", b'{"status": 503}', b'{"provider": 7, "status": 503}', b'{"provider": "p"}',
     b'{"provider": "p", "status": "503"}', b"[" * 60_000, b"\0" * 99],
)  # fmt: skip
def test_a_line_that_is_none_of_envoy_s_is_counted(log: Path, looking: Failures, line: bytes) -> None:
    add(log, line + b"\n")
    assert [(each["is"], each["why"], each["packets"]) for each in looking.look()] == [("lost", "odd", 1)]


def test_what_is_told_of_a_line_is_bounded(log: Path, looking: Failures) -> None:
    long = "x" * 3000
    texts = dict.fromkeys(("provider", "flags", "detail", "refused", "failure", "host", "retry_after", "at"), long)
    say(log, {**texts, "users": [long] * 9 + [7], "status": 10**9, "tries": -(10**9)})
    (told,) = looking.look()
    assert max(len(each) for each in told.values() if isinstance(each, str)) == host.LONGEST_WORD
    assert (told["status"], told["tries"], {len(each) for each in told["users"]}) == (999, 0, {host.LONGEST_WORD})


def test_as_many_kinds_as_can_be_kept(log: Path, looking: Failures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "MOST_KINDS", 3)
    say(log, *({"status": 500 + number} for number in range(9)))
    found = list(looking.look())
    assert [each["is"] for each in found] == ["failed"] * 3 + ["lost"]
    assert (found[-1]["why"], found[-1]["packets"]) == ("kinds", 6)


def test_a_host_without_a_gateway_says_nothing(tmp_path: Path) -> None:
    looking = Failures({"log": str(tmp_path / "log"), "listeners": str(tmp_path / "lds.json")}, itertools.count())
    (tmp_path / "log").write_text("")
    assert list(looking.look()) == []


def test_a_log_that_is_off_missing_or_unreadable_is_told_once(tmp_path: Path) -> None:
    log, configuration = tmp_path / "log", tmp_path / "lds.json"
    configuration.write_text("{}")
    looking = Failures({"log": str(log), "listeners": str(configuration)}, itertools.count())

    def states() -> list[str]:
        return [each["state"] for each in looking.look()]

    assert [states(), states()] == [["off"], []]
    configuration.with_suffix(".new").write_text(json.dumps([str(log)]))
    configuration.with_suffix(".new").rename(configuration)
    assert [states(), states()] == [["missing"], []]
    log.mkdir()
    assert [states(), states()] == [["unreadable"], []]
    log.rmdir()
    say(log, {})
    assert [each["is"] for each in looking.look()] == ["gateway", "failed"]


# In words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "no address of the provider was left: all are cut, or its name leads nowhere"),
        ({"flags": "URX", "detail": "via_upstream", "tries": 4}, "the provider's own answer, on try 4"),
        ({"flags": "", "detail": "via_upstream", "retry_after": "30"}, "the provider's own answer, Retry-After 30"),
        ({"flags": "URX,UF", "failure": "delayed_connect_error:_Connection_refused"},
         "no connection to the provider came about: delayed connect error: Connection refused"),
        ({"flags": "-", "detail": "request_payload_too_large"}, "the request is larger than payload.request_max"),
        ({"flags": "-", "detail": "failed_to_inject_credential"}, "its key is missing: nothing was sent"),
        ({"flags": "-", "detail": "via_upstream", "refused": "/a: too long"}, "its answer was refused: /a: too long"),
        ({"flags": "ZZ"}, "flag ZZ"),
        ({"flags": "-", "detail": "new_in_1_50"}, "new_in_1_50"),
    ],
)  # fmt: skip
def test_what_it_means(changes: dict[str, Any], words: str) -> None:
    assert watch.meaning(failed(event(**changes))) == words


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_has_a_meaning(flag: str) -> None:
    assert watch.meaning(failed(event(flags=flag))) == FLAGS[flag].words


def event(**changes: Any) -> dict[str, Any]:
    told = {key: value or "" for key, value in LINE.items() if key not in ("method", "id", "at")}
    return {"is": "failed", "id": 1, "at": 1.5, **told, **changes}


def test_a_person_sees_one_stream_and_at_the_end_a_table_that_fits() -> None:
    said, remarks = io.StringIO(), io.StringIO()
    lines = watch.Lines(Console(file=said, width=80), Console(file=remarks, width=80))
    lines.hear({"is": "gateway", "at": 1.5, "state": "off", "why": "", "log": "/var/log/access.log"})
    lines.hear(event(host="api.provider.com"))
    lines.hear(event(id=2, provider="letters", users=["mail", "newsletter"], status=0, flags="DC", detail=""))
    lines.hear({"is": "again", "id": 1, "at": 2.5, "attempts": 1233, "packets": 0})
    lines.end()
    assert "shop → payments (api.provider.com) 503 UH: no address of the provider" in said.getvalue()
    table = said.getvalue().partition("At the gateway:")[2].splitlines()
    assert all(len(line.rstrip()) <= 80 for line in table)
    assert [line.split()[:4] for line in table if line[:1].islower()] == [
        ["letters", "mail,", "newsletter", "1"], ["payments", "shop", "1,234", "503"],
    ]  # fmt: skip
    assert "the gateway's failures are not shown: gateway.log is off" in remarks.getvalue()
    assert "1,235 requests failed at the gateway" in remarks.getvalue()


def test_a_program_gets_an_object_a_line() -> None:
    said: list[str] = []
    lines = watch.JsonLines(said.append)
    lines.hear(event(flags="URX,UF", failure="x", users=["shop"]))
    lines.hear({"is": "again", "id": 1, "at": 2.5, "attempts": 3, "packets": 0})
    first, again = map(json.loads, said)
    assert first == {
        "event": "failed", "time": "1970-01-01T00:00:01.500+00:00", "id": 1, "provider": "payments",
        "accounts": ["shop"], "status": 503, "flags": ["URX", "UF"],
        "means": "no connection to the provider came about: x", "host": None, "tries": 1, "retry_after": None,
    }  # fmt: skip
    assert (again["event"], again["id"], again["attempts"], again["count"]) == ("again", 1, 3, 4)


def test_the_page_lists_every_event_with_its_keys() -> None:
    page = (Path(__file__).parents[2] / "docs/observe.md").read_text(encoding="utf-8")
    rows = {row[0]: set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row[1]))) for row in re.findall(
        r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|$", page, re.MULTILINE)}  # fmt: skip
    said: list[str] = []
    lines = watch.JsonLines(said.append)
    for each in EVENTS:
        lines.hear(each)
    assert {told.pop("event"): told.keys() - {"time"} for told in map(json.loads, said)} == rows
