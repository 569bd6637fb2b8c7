"""A host that is broken or hostile: nothing of it passes that was not seen, and nothing of it hurts who asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostguard import answer as answers
from hostguard import drift, verdict
from hostguard.cli import fleet
from hostguard.controls import CATALOGUE
from hostguard.host.resource import HostError
from hostguard.report import NAMES, render
from hostguard.result import HostReport, Report
from hostguard.seen import Seen
from hostguard.status import Exit, Status
from hostguard.target import rootfs
from hostguard.target.bounded import Limits
from hostguard.target.remote import Remote
from hostguard.visible import visible
from tests.patience import slowness, whole
from tests.unit import hostile

pytestmark = pytest.mark.alone
COMPILED = hostile.asked()
BUNDLE = COMPILED.bundle()
TRUE = hostile.true_answer(COMPILED)
MAY_BE_NULL = ("live", "boot", "boot_from", "later", "rules", "canonical", "mark", "chains", "binary", "library",
               "ipv6", "tcp", "tcp6", "udp", "udp6", "said", "envoy", "vault-agent")  # fmt: skip
NOBODY_ASKS = ("leftovers",)


def judged(answer: Any) -> HostReport:
    """The verdict on what came as an answer; a host that makes no sense is one that was not reached."""
    try:
        seen = Seen.of(BUNDLE, answers.checked("read", answer))
    except HostError as error:
        return verdict.unreached(COMPILED, "h", str(error))
    return verdict.judge(COMPILED, "h", seen)


def statuses(host: HostReport) -> dict[str, Status]:
    return {result.control.id: result.status for result in host.results}


IN_TRUTH = statuses(judged(TRUE))


def owner(at: hostile.Path_) -> str:
    """The control that a node of the true answer is for; "" where it is for all of them or for none."""
    if len(at) < 2 or at[0] not in ("resources", "observations", "evidence"):
        return ""
    if at[0] == "evidence":
        return str(at[1]).partition("/")[0]
    by_id = {r["id"]: r["control"] for r in TRUE["resources"]}
    return str(TRUE["resources"][at[1]]["control"] if at[0] == "resources" else by_id[at[1]])


def of_another_type(at: hostile.Path_, new: Any) -> bool:
    """Whether an odd value is none that a host could have meant, by JSON's own types alone."""
    old = hostile.get(TRUE, at)
    if old is None or (new is None and at and (at[-1] in MAY_BE_NULL or free(at))):
        return False
    return type(old) is not type(new)


def free(at: hostile.Path_) -> bool:
    """Whether a node stands in a mapping whose keys only the host knows: files, processes, devices of swap."""
    if at[3:4] == ("iptables",):
        return len(at) > 5  # tables and chains
    if at[-2:-1] in (("kinds",), ("packets",), ("accounts",)):
        return True
    return bool(at[0] == "evidence" and at[1:2] and str(at[1]).endswith(NAMED_BY_IT))


NAMED_BY_IT = ("/processes", "/files", "/environment", "/settings", "/brokers")
ODD = (None, {}, "x\n::error::y\x1b[2J", True, 10**24, [], hostile.deep(200))


def test_the_true_answer_passes() -> None:
    nothing = 7 + sum(control.area not in COMPILED.loaded.policy.sections for control in CATALOGUE)
    assert Counter(IN_TRUTH.values()) == {"pass": len(IN_TRUTH) - nothing, "not_applicable": nothing}
    assert Report("", "", "", (judged(TRUE),)).exit() == Exit.WELL


def test_no_answer_passes_that_is_none(record_property: Callable[[str, object], None]) -> None:
    """One node at a time: every one gone, and every one another than it may be."""
    count = 0
    for at in hostile.nodes(TRUE):
        # How long a list is only the host knows; but what was seen is a list of three.
        counts = at and (isinstance(at[-1], str) or (at[0] == "observations" and len(at) == 3)) and not free(at)
        made = [("gone", hostile.without(TRUE, at), bool(counts))] if at else []
        for odd in ODD[:3] if at[:1] == ("resources",) else ODD:
            made.append((repr(odd)[:30], hostile.changed(TRUE, at, odd), of_another_type(at, odd)))
        for what, answer, wrong in made:
            count += 1
            found = statuses(judged(answer))
            better = {c for c, s in found.items() if s in ("pass", "not_applicable") and s != IN_TRUTH[c]}
            assert not better, (at, what)
            if wrong and at[:1] not in [(each,) for each in NOBODY_ASKS] and at[-1:] != (2,):
                assert found.get(owner(at)) != "pass", (at, what)
    record_property("answers", count)
    assert count > 3000


def test_odd_answers_are_judged_and_rendered() -> None:
    """Deterministic, and of every kind: keys too many, lists twice, values of every oddity."""
    count = 0
    for what, answer in hostile.mutations(TRUE, each=2):
        count += 1
        host = judged(answer)
        assert {c for c, s in statuses(host).items() if s == "not_applicable"} <= {
            c for c, s in IN_TRUTH.items() if s == "not_applicable"
        }, what
        if count % 60 == 0:
            for name in NAMES:
                text = render(name, Report("2026-11-26T12:00:00Z", "p", "s", (host,)), colour=False, width=80)
                assert len(text) < 1_000_000, (what, name)
                nothing_obeys(text)
    assert count > 1000


def test_bytes_that_are_no_answer() -> None:
    raw = json.dumps(TRUE).encode()
    count = longest = 0
    for damaged in hostile.damaged(raw, 200):
        count += 1
        try:
            answer = answers.read("read", damaged)
        except HostError as error:
            longest = max(longest, len(str(error)))
            continue
        found = statuses(judged(answer))
        assert not {c for c, s in found.items() if s == "pass" and IN_TRUTH[c] != "pass"}
    assert count == 600
    assert 0 < longest < 1000


def nothing_obeys(text: str) -> None:
    assert not [letter for letter in text if not letter.isprintable() and letter not in "\n\t"], text[:500]
    assert not [line for line in text.splitlines() if line.lstrip().startswith("::")]
    assert "##[" not in text


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "expected JSON"),
        (b"{}", "there is no 'records', expected a list"),
        (b"[]", "found a list of 0, expected a mapping"),
        (b'{"records": [{"number": 1}]}', r"records\[0\]: there is no"),
        (b'{"records": []' + b" " * 9, "expected JSON"),
        (b'{"records": [], "x": NaN}', "found NaN"),
        (b'{"records": [], "x": 1e999}', "found 1e999"),
        (b'{"records": [], "x": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
        (b'{"records": [], "x": ' + b"[" * 100_000, "too deep"),
        (b'{"records": [], "records": []}', "'records' is there twice"),
        (b'{"records": "\xff"}', "utf-8"),
        (b'{"error": 7}', "at error: found 7, expected text"),
        (b'{"error": ["x"], "records": []}', "expected text"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_answer_is_said(raw: bytes, words: str) -> None:
    with pytest.raises(HostError, match=words):
        answers.read("history", raw)


@pytest.mark.parametrize(
    ("do", "answer"),
    [
        ("history", {"records": [{"number": 1, "created": "c", "status": "applied", "by": "b", "changes": 2, "to": None,
                                  "policy": {"path": "p", "sha256": "s"}}]}),
        ("confirm", {"outcome": "applied", "generation": 3}),
        ("rollback", {"outcome": "rolled back", "generation": 0, "to": 0, "changes": [], "undone": [1],
                      "owed": ["a.service"]}),
        ("rollback", {"outcome": "failed", "generation": 3, "trouble": ["x"]}),
        ("apply", {"outcome": "unconfirmed", "generation": 3, "owed": [], "changes": [["a", "b", "", "d", "", ""]]}),
        ("apply", {"outcome": "failed", "generation": 3, "error": "e", "trouble": ["t"]}),
        ("apply", {"outcome": "blocked", "obstacles": ["o"]}),
        ("prove", {"results": [{"status": "held", "evidence": "seen"}]}),
        ("login", {"files": {"/etc/vault-agent/role-id": "written"}}),
        ("observe", {"is": "lost", "at": 1.5, "packets": 3, "why": "flood"}),
        ("observe", {"is": "attempt", "id": 1, "at": 1.5, "account": "", "process": {}, "verdict": "deny", "hook": "o",
                     "answer": False, "protocol": "tcp", "from": "::1", "from_port": 1, "to": "::1", "port": 2,
                     "refusal": False, "ending": False}),
        ("drift", {"generation": {"number": 1, "created": "c", "policy": {"path": "p", "sha256": "s"}},
                   "resources": [{"id": "p", "kind": "sysctl", "control": "kernel.x", "key": "k"}], "evidence": {},
                   "observations": {"p": ["value", 1, ""]}, "leftovers": [],
                   "traces": {"setters": {"p": {"live": "f:1"}}, "started": {},
                              "files": {"f": {"changed": "c", "owner": "o", "package": None}}}}),
    ],
)  # fmt: skip
def test_every_question_has_a_schema(do: str, answer: dict[str, Any]) -> None:
    """Whatever comes is taken, or refused in words; whatever is taken has all of its keys."""
    assert answers.checked(do, answer) == answer
    for what, odd in hostile.mutations(answer, each=12):
        try:
            found = answers.checked(do, odd)
        except HostError:
            continue
        assert "error" in found or found.keys() >= answer.keys() - {"error"} or "outcome" in found, what
        if do == "drift" and "error" not in found:
            assert drift.judge("h", found).results


def test_the_host_does_not_say_what_was_asked() -> None:
    assert Report("", "", "", (judged({**TRUE, "resources": []}),)).exit() == Exit.UNSEEN
    invented = {"id": "sysctl:x", "kind": "sysctl", "control": "kernel.custom", "key": "x", "value": "1",
                "compare": "equal"}  # fmt: skip
    more = {**TRUE, "resources": [*TRUE["resources"], invented]}
    assert statuses(judged(more)) == IN_TRUTH
    of_two = json.loads(json.dumps(TRUE).replace("--uid-owner 101", "--uid-owner 0", 1))
    assert {s for c, s in statuses(judged(of_two)).items() if c.startswith("egress.")} >= {"unknown"}
    of_none = json.loads(json.dumps(TRUE).replace("--uid-owner 101", "--uid-owner 0x65"))
    assert statuses(judged(of_none))["egress.output"] == "unknown"


@pytest.mark.parametrize("state", ["value", "absent", "fine", "not_applicable", "not_running", "unreadable", "VALUE"])
def test_no_state_alone_makes_a_host_well(state: str) -> None:
    """Not even one that is legitimate for some kinds, where it is not said why."""
    answer = {**TRUE, "observations": {i: [state, None, ""] for i in TRUE["observations"]}, "evidence": {}}
    host = judged(answer)
    assert Report("", "", "", (host,)).exit() in (Exit.UNSEEN, Exit.FAILED)
    assert "pass" not in statuses(host).values()


def test_only_an_image_may_leave_it_to_a_host_that_runs() -> None:
    answer = {**TRUE, "observations": {i: ["not_running", None, "an image"] for i in TRUE["observations"]}}
    assert statuses(judged(answer))["egress.output"] == "unknown"
    seen = Seen.of(BUNDLE, answer, image=True)
    assert statuses(verdict.judge(COMPILED, "h", seen))["egress.output"] == "not_applicable"


def test_a_word_as_long_as_an_answer_is_cut() -> None:
    long = "x" * (1 << 20)
    assert len(answers.read("read", json.dumps({"error": long}))["error"]) < 5000
    seen = {i: ["unreadable", None, long] for i in TRUE["observations"]}
    said = {name: {"unreadable": long} for name in TRUE["evidence"]}
    for answer in ({**TRUE, "observations": seen}, {**TRUE, "evidence": said}):
        host = judged(answer)
        assert max(len(result.actual) for result in host.results) < 20_000
        assert len(render("json", Report("", "p", "s", (host,)), colour=False, width=80)) < 1_000_000


def test_more_than_anybody_reads_is_no_answer() -> None:
    record = {
        "number": 1,
        "created": "c",
        "status": "s",
        "by": "b",
        "changes": 1,
        "to": None,
        "policy": {"path": "", "sha256": ""},
    }
    with pytest.raises(HostError, match="at records: found 20000, expected at most 10000"):
        answers.checked("history", {"records": [record] * 20_000})
    assert Report("", "", "", (judged({**TRUE, "resources": TRUE["resources"] * 1000}),)).exit() == Exit.UNSEEN


def test_a_list_of_ports_that_fills_the_memory() -> None:
    many = "0-1999999"  # some that would fit, so that a test without the limit ends
    answer = {**TRUE, "evidence": {**TRUE["evidence"], "kernel.listening-ports/reserved": {"said": many}}}
    assert statuses(judged(answer))["kernel.listening-ports"] == "unknown"
    reserved = {"id": "r", "kind": "sysctl", "control": "kernel.reserved-ports", "key": "k", "value": "22",
                "compare": "ports"}  # fmt: skip
    known = {"boot_from": None, "later": None, "trouble": "", "foreign": False}
    for live, boot, state in (("22", "22", "value"), (many, "22", "unreadable"), ("22", many, "unreadable"),
                              ("22", ",".join(["0-65535"] * 99), "unreadable")):  # fmt: skip
        assert (
            answers.observed(reserved, ["value", {"live": live, "boot": boot, **known}, ""], image=False).state == state
        )


@pytest.mark.parametrize("text", [hostile.HOSTILE_WORD, "::error::x", "a\n::stop-commands::x", "\u2066x", "##vso[x]"])
def test_what_a_host_says_is_obeyed_by_nobody(text: str) -> None:
    nothing_obeys(visible(text))
    nothing_obeys(visible(text, "\n\t"))


@pytest.mark.parametrize("text", ["2001:db8::a tcp 443, 2001:db8::bad", "::1", "::/0", "fe80::face:1", "## heading"])
def test_addresses_stay_what_they_are(text: str) -> None:
    assert visible(text) == text


def test_a_fleet_is_told_in_lines_that_nobody_obeys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    word = hostile.HOSTILE_WORD
    said: list[tuple[str, dict[str, Any]]] = [
        ("a", {"error": word, "unreachable": True}),
        ("b", {"outcome": "failed", "generation": 1, "error": word, "trouble": [word]}),
        ("c", {"outcome": "rolled back", "generation": 1, "undone": [1], "owed": [word]}),
        ("d", {"outcome": "unchanged"}),
    ]
    monkeypatch.setattr(fleet, "ask", lambda *_: iter(said))
    words = "at generation {generation}; undone: {undone}; restarts owed: {owed}"
    assert fleet.tell(None, {"do": "rollback"}, words) == Exit.FAILED  # type: ignore[arg-type]
    out = capsys.readouterr().out
    nothing_obeys(out)
    assert len(out.splitlines()) == len(said)


HOST = "import sys; sys.stdin.buffer.read(100000); out = sys.stdout.buffer; "
FLOOD = HOST + "\nwhile True: out.write(b'x' * 65536)"
FLOOD_ERRORS = HOST + "\nwhile True: sys.stderr.buffer.write(b'x' * 65536)"
STALL = "import time; time.sleep(600)"
DRIBBLE = HOST + "import time\nwhile True: out.write(b'.'); out.flush(); time.sleep(0.05)"
LEAVES_CHILD = "import subprocess; subprocess.Popen(['sleep', '600']); print('gone')"
CLOSES = "import sys; sys.stdin.close(); sys.exit(3)"
SAYS_NOTHING = HOST + "out.close(); import os; os.close(1); os.close(2); import time; time.sleep(600)"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (FLOOD, "more than 8388608 bytes"),
        (FLOOD_ERRORS, "complaints of more than"),
        (STALL, "no answer within {} s"),
        (DRIBBLE, "no answer within {} s"),
        (LEAVES_CHILD, "no answer within {} s"),
        (CLOSES, "ended with 3"),
        (SAYS_NOTHING, "no answer within {} s"),
    ],
    ids=["flood", "flood of errors", "stall", "dribble", "a child that stays", "closes", "says nothing"],
)  # fmt: skip
def test_a_host_of_its_own_mind(program: str, words: str) -> None:
    begun = time.monotonic()
    seconds = whole(3)  # one that floods must get to its size within that time
    with pytest.raises(HostError, match=words.format(seconds)):
        Remote("h", (sys.executable, "-c", program), limits=Limits(float(seconds), size=8 << 20)).ask(BIG)
    assert time.monotonic() - begun < float(seconds) + 20 * slowness()


def test_a_host_that_has_answered_is_not_waited_for() -> None:
    """A clock of its own for each, and none of them goes on: a thousand hosts would be a thousand threads."""
    before = threading.enumerate()
    for _ in range(5):
        with pytest.raises(HostError, match="ended with 3"):
            Remote("h", (sys.executable, "-c", CLOSES)).ask({"do": "history"})
    ours = [thread for thread in threading.enumerate() if thread not in before]
    for clock in [thread for thread in ours if isinstance(thread, threading.Timer)]:
        clock.join(20 * slowness())
        assert not clock.is_alive()


BIG = {"do": "history", "padding": [hex(number * 7919) for number in range(300_000)]}
"""More than a pipe holds, for who does not read it."""

ASKER = r"""
import re, sys
from pathlib import Path
from hostguard.host.resource import HostError
from hostguard.target import rootfs
from hostguard.target.bounded import Limits
from hostguard.target.remote import Remote
def most():  # of this program alone: ru_maxrss begins with what its parent had
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
before = most()
try:
    Remote("h", (sys.executable, "-c", sys.argv[1]), limits=Limits(60.0, 64 << 20)).ask({"do": "history"})
except HostError as error:
    print(most() - before, error)
"""
GIGABYTE = HOST + "\nfor _ in range(1 << 14): out.write(b'x' * 65536)"
ROOM = 4 * (64 << 10)
"""KiB: some copies of as much as a host may answer."""


@pytest.mark.parametrize("program", [GIGABYTE, GIGABYTE.replace("out.write", "sys.stderr.buffer.write")])
def test_a_gigabyte_of_answer_stays_out_of_memory(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKER, program], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    grown, _, words = done.stdout.partition(" ")
    print(f"{int(grown) >> 10} MiB of memory for 1 GiB of answer: {words}")
    assert int(grown) < ROOM


@pytest.mark.needs("root")
def test_an_image_with_a_pipe_in_the_place_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opens it for reading waits for one who writes."""
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    monkeypatch.setattr(rootfs, "USUAL", Limits(seconds=1.0))
    with pytest.raises(HostError, match="could not be read within 1 s"):
        rootfs.read(tmp_path, BUNDLE)
