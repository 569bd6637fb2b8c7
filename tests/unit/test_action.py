"""The action on a host that answers as it likes: what is said of it, and how long it is waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from hostguard.ansible.actions import task, transaction
from hostguard.ansible.actions.host import Host
from hostguard.ansible.inventory import Inventory
from hostguard.cli import waves
from hostguard.fleet import asking, engine
from hostguard.fleet.engine import Event, Target
from hostguard.host import arrival, lock, program_main, store
from hostguard.target.bounded import Limits
from tests.patience import slowness, whole
from tests.unit import hostile

pytestmark = pytest.mark.alone
FAILED = {"outcome": "failed", "generation": 4, "error": "written, but not seen: a", "trouble": []}


def host(answer: dict[str, Any] | str, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> Host:
    """The action of a host that says this to whatever it is asked."""
    made = Inventory(["a,"]).host("a")._action
    said = answer if isinstance(answer, str) else f"\n{arrival.MARK}{json.dumps(answer)}\n"
    result = {"rc": code, "stdout": said, "stderr": "", "stdout_lines": []}
    monkeypatch.setattr(made, "_low_level_execute_command", lambda *_, **__: result)
    return made


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ([], "failed: written, but not seen: a; this host is as it was before"),
        (["file: no room"], "failed: written, but not seen: a; the way back failed too: file: no room; this host goes "
                            "on trying"),
    ],
)  # fmt: skip
def test_a_transaction_that_failed_is_not_one_that_was_refused(
    trouble: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer has an error, as a refusal has: but it tells what became of it."""
    answer = host({**FAILED, "trouble": trouble}, monkeypatch).ask({"do": "apply"}, "")
    told = transaction.told(answer)
    assert (told["outcome"], told["failed"], told["generation"], told["msg"]) == ("failed", True, 4, words)


def test_a_refusal_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(task.HostRefused, match="wait") as raised:
        host({"error": "wait"}, monkeypatch).ask({"do": "apply"}, "")
    assert not raised.value.late


def test_a_confirm_that_comes_too_late_is_told_from_one_that_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of the one the trouble is the way in, of the other one who asks."""
    for name in ("FOLDER", "GENERATIONS", "PENDING"):
        monkeypatch.setattr(store, name, str(tmp_path / name))
    monkeypatch.setattr(lock, "LOCK", str(tmp_path / "lock"))
    (tmp_path / "FOLDER").mkdir()
    said = program_main.answer_or_error({"do": "confirm"})
    with pytest.raises(task.HostRefused, match="nothing waits") as raised:
        host(said, monkeypatch).ask({"do": "confirm"}, "")
    assert raised.value.late


@pytest.mark.parametrize("answer", [{"outcome": "fine"}, {"outcome": "applied"}, {"records": 7}, "nothing of ours"])
def test_what_makes_no_sense_is_no_answer(answer: dict[str, Any] | str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(task.NoAnswer):
        host(answer, monkeypatch).ask({"do": "apply"}, "")


def test_a_host_without_python_was_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleActionFail) as raised:
        host("", monkeypatch, code=127).ask({"do": "apply"}, "")
    assert not isinstance(raised.value, task.NoAnswer)


@pytest.mark.parametrize("watched", [True, False])
def test_what_became_of_it_is_not_known(watched: bool) -> None:
    said = transaction.told({"outcome": "no answer", "error": "no answer within 3 s", "watched": watched})["msg"]
    assert "nothing was touched" not in said
    assert "the outcome is not known" in said
    assert ("goes back by itself" in said) == watched


STALLS = 'while [ -e "$0" ]; do sleep 0.2; done'
FLOODS = "exec yes x"
STAYS = f"({STALLS}) & exit 0"  # the program has ended, and its child keeps the pipe


def limits() -> Limits:
    """As short as this machine can be: one that floods must get to its size within that time."""
    return Limits(seconds=float(whole(4)), size=1 << 20)


@pytest.fixture(autouse=True)
def over(tmp_path: Path) -> Iterator[None]:
    """Who is still waiting at the end of a test waits no more."""
    yield
    for each in filter(Path.is_file, tmp_path.iterdir()):
        each.unlink()


def as_interpreter(folder: Path, name: str, script: str) -> dict[str, Any]:
    """A host on which this is what there is of Python."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"ansible_connection": "local", "ansible_python_interpreter": str(program)}


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Path]:
    of = {name: as_interpreter(tmp_path, name, script) for name, script in
          (("stalls", STALLS), ("floods", FLOODS), ("stays", STAYS))}  # fmt: skip
    of["well"] = {"ansible_connection": "local", "ansible_python_interpreter": "python3"}
    place = tmp_path / "inventory.json"
    place.write_text(json.dumps({"all": {"hosts": of}}))
    return place


def test_each_host_has_its_own_clock_and_its_own_size(hosts: Path) -> None:
    begun = time.monotonic()
    request = {"do": "read", "bundle": {"resources": [], "areas": None, "evidence": {}}}
    limited = limits()
    events = asking.ask(Target((str(hosts),), limits=limited), lambda _: request)
    found: dict[str, Event] = {event.host: event for event in events if event.status not in ("hosts", "started")}
    said = {name: (event.status, event.result.get("msg", "")) for name, event in found.items()}
    late = f"no answer within {limited.seconds:g} s (--answer-within)"
    long = "an answer of more than 1048576 bytes (--answer-size)"
    assert said == {"well": ("ok", ""), "floods": ("unreachable", long), "stalls": ("unreachable", late),
                    "stays": ("unreachable", late)}  # fmt: skip
    assert time.monotonic() - begun < limited.seconds + 40 * slowness()


def test_a_connection_that_never_comes_back_is_given_up(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "GRACE", 0.5)
    monkeypatch.setattr(
        asking.InventoryHost, "ask", lambda host, *_: time.sleep(3600) if host.name == "stalls" else {"x": 1}
    )
    target = Target((str(hosts),), limits=Limits(seconds=slowness()))
    found = {event.host: event.status for event in asking.ask(target, lambda _: {})}
    assert (found["stalls"], found["well"]) == ("unreachable", "ok")


def test_whatever_one_host_is_the_others_are_told_of(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(host: Any, *_: Any) -> dict[str, Any]:
        if host.name == "stalls":
            raise RecursionError("odd")
        return {"x": 1}

    monkeypatch.setattr(asking.InventoryHost, "ask", ask)
    found = {event.host: event for event in asking.ask(Target((str(hosts),)), lambda _: {})}
    assert (found["stalls"].status, found["well"].status) == ("failed", "ok")
    assert "odd" in found["stalls"].result["msg"]


def test_who_sets_ssh_options_of_his_own_keeps_them(tmp_path: Path) -> None:
    place = tmp_path / "inventory.json"
    own = {"ansible_connection": "ssh", "ansible_ssh_args": "-o ControlMaster=no"}
    place.write_text(json.dumps({"all": {"hosts": {"ours": {"ansible_connection": "ssh"}, "own": own}}}))
    inventory = Inventory([str(place)])
    found = {}
    for name in inventory.names:
        made = inventory.host(name)._action
        made._keep_alive()
        found[name] = made._connection.get_option("ssh_args")
    assert found == {"ours": f"{task.SSH_ARGS} {task.KEEPALIVE}", "own": "-o ControlMaster=no"}


def as_ssh(folder: Path, name: str, script: str) -> dict[str, Any]:
    """A host whose ssh does this."""
    program = folder / f"ssh-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"ansible_connection": "ssh", "ansible_ssh_executable": str(program), "ansible_host": "127.77.0.1"}


def test_so_it_is_with_ssh(tmp_path: Path) -> None:
    """Whose plugin reads by itself, and waits for ever once it has logged in."""
    listens = f"exec 3<&0; cat <&3 >/dev/null & {FLOODS}"  # the plugin sends first, and reads then
    of = {name: as_ssh(tmp_path, name, script) for name, script in
          (("stalls", STALLS), ("floods", listens), ("stays", STAYS))}  # fmt: skip
    place = tmp_path / "inventory.json"
    place.write_text(json.dumps({"all": {"hosts": of}}))
    begun = time.monotonic()
    large = {"do": "history", "padding": [hex(number * 7919) for number in range(300_000)]}  # more than a pipe holds
    limited = limits()
    events = asking.ask(Target((str(place),), limits=limited), lambda _: large)
    said = {
        event.host: (event.status, event.result.get("msg", "")) for event in events if event.status == "unreachable"
    }
    assert said.keys() == of.keys()
    assert "bytes (--answer-size)" in said["floods"][1]
    assert f"no answer within {limited.seconds:g} s" in said["stalls"][1]
    assert time.monotonic() - begun < limited.seconds + 60 * slowness()


def answering(folder: Path, name: str, answer: dict[str, Any]) -> dict[str, Any]:
    """A host that says this to whatever it is asked."""
    (folder / f"{name}.answer").write_bytes(f"\n{arrival.MARK}{json.dumps(answer)}\n".encode())
    return as_interpreter(folder, name, f"cat >/dev/null; cat {folder / f'{name}.answer'}")


def test_an_apply_goes_on_without_who_does_not_answer(tmp_path: Path) -> None:
    of = {
        "failed": answering(tmp_path, "failed", {**FAILED, "trouble": ["file: no room"]}),
        "stalls": as_interpreter(tmp_path, "stalls", STALLS),
        "unchanged": answering(tmp_path, "unchanged", {"outcome": "unchanged", "changes": [], "owed": []}),
    }
    place = tmp_path / "inventory.json"
    place.write_text(json.dumps({"all": {"hosts": of}}))
    limited = limits()
    target = Target((str(place),), limits=limited)
    options = {"hostguard_policy_file": str(hostile.EXAMPLE), "hostguard_confirm_within": "60s",
               "hostguard_restart": False, **waves._limits(limited, "60s")}  # fmt: skip
    found = {e.host: e for e in engine.play("apply", target, options) if e.status not in ("hosts", "started")}
    assert {name: waves.state_of(event)[0] for name, event in found.items()} == {
        "failed": "failed", "stalls": "no answer", "unchanged": "unchanged",
    }  # fmt: skip
    assert "the way back failed too: file: no room; this host goes on trying" in waves.state_of(found["failed"])[1]


WORD = hostile.HOSTILE_WORD
TRUE = hostile.true_answer(hostile.asked())
RECORD = {"number": 1, "created": WORD, "status": WORD, "by": WORD, "changes": 2,
          "policy": {"path": WORD, "sha256": WORD}}  # fmt: skip
EVERYTHING: dict[str, Any] = {
    **TRUE,
    # Every value another one than wanted, in a hostile word.
    "observations": {
        identity: ["value", {key: WORD if isinstance(said, str) else said for key, said in seen[1].items()}, WORD]
        for identity, seen in TRUE["observations"].items()
    },
    "evidence": {name: {"unreadable": WORD} for name in TRUE["evidence"]},
    "leftovers": [{"id": WORD, "kind": WORD, "control": WORD}],
    "records": [RECORD],
}
CHANGING = ("confirm", "rollback", "apply")
FAILURE = {"outcome": "failed", "generation": 1, "error": WORD, "trouble": [WORD]}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("history",), 3),
        (("confirm",), 1),
        (("rollback", "--yes"), 1),
        (("plan", "--policy", str(hostile.EXAMPLE)), 3),
        (("audit", "--policy", str(hostile.EXAMPLE)), 1),
        (("audit", "--policy", str(hostile.EXAMPLE), "--format", "markdown"), 1),
        (("apply", "--yes", "--policy", str(hostile.EXAMPLE)), 1),
    ],
    ids=lambda said: " ".join(said[::3]) if isinstance(said, tuple) else "",
)
def test_no_word_of_a_host_is_obeyed(arguments: tuple[str, ...], code: int, tmp_path: Path) -> None:
    place = tmp_path / "inventory.json"
    hosts = {
        "a": answering(tmp_path, "a", FAILURE if arguments[0] in CHANGING else EVERYTHING),
        "b": answering(tmp_path, "b", {"error": WORD}),
    }
    place.write_text(json.dumps({"all": {"hosts": hosts}}))
    done = subprocess.run(
        [sys.executable, "-m", "hostguard", *arguments, "-i", str(place)], capture_output=True, check=False,
        cwd=hostile.EXAMPLE.parents[1], env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )  # fmt: skip
    text = done.stdout.decode() + done.stderr.decode()
    assert "owned" in text
    assert "Traceback" not in text
    assert not [letter for letter in text if not letter.isprintable() and letter != "\n"], text
    assert not [line for line in text.splitlines() if line.lstrip().startswith("::")], text
    assert "##[" not in text
    assert done.returncode == code, text
