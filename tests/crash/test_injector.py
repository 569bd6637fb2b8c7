"""The injector itself: a program that makes known calls suffers each fault, at the call that was named."""

from __future__ import annotations

import json

import pytest

from tests.crash import injector
from tests.crash.stage import Stage
from tests.lab.lab import Lab

pytestmark = pytest.mark.needs("lab")

FAKE = "/opt/crash/fake.py"
PROGRAM = """\
import os, subprocess, sys, tempfile
told = open("/tmp/told", "w")
def tell(word): told.write(word + "\\n"); told.flush()
def attempt(word, call, *rest):
    try:
        call(*rest)
        tell(word)
    except OSError as error:
        tell("%s: %s" % (word, error.strerror))
def write():
    with open("/etc/fake.new", "w") as file:
        file.write("text")
        file.flush()
        os.fsync(file.fileno())
def look():
    child = os.fork()
    if child == 0:
        try:
            subprocess.run(["true", "--since=2026-11-27 16:07:10", tempfile.mkdtemp(prefix="hostguard-")])
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise OSError(0, "the child failed")
attempt("mkdir", os.mkdir, "/etc/fake.d")
attempt("write", write)
attempt("rename", os.rename, "/etc/fake.new", "/etc/fake")
attempt("chmod", os.chmod, "/etc/fake", 0o600)
attempt("parameter", lambda: open("/proc/sys/net/ipv4/tcp_fin_timeout", "w").close())
attempt("read", lambda: open("/etc/fake").read())
attempt("elsewhere", lambda: open("/tmp/elsewhere", "w").close())
attempt("program", lambda: subprocess.run(["sh", "-c", "sleep 0.2; touch /tmp/ran"], check=True))
attempt("look", look)
attempt("remove", os.remove, "/etc/fake")
attempt("rmdir", os.rmdir, "/etc/fake.d")
tell(sys.executable)
"""
POINTS = [
    ["mkdir", "/etc/fake.d"],
    ["open", "/etc/fake.new"],
    ["write", "/etc/fake.new"],
    ["fsync", "/etc/fake.new"],
    ["rename", "/etc/fake"],
    ["chmod", "/etc/fake"],
    ["open", "/proc/sys/net/ipv4/tcp_fin_timeout"],
    ["program", "sh -c sleep 0.2; touch /tmp/ran"],
    ["program", "true --since=… /tmp/hostguard-…"],
    ["remove", "/etc/fake"],
    ["rmdir", "/etc/fake.d"],
]
WORDS = ["mkdir", "write", "rename", "chmod", "parameter", "read", "elsewhere", "program", "look", "remove", "rmdir"]
IN_A_CHILD = 9


class Fake(Stage):
    """A host on which the fake program is run, from its beginning."""

    def suffer(self, fault: str, *, process: str = "go", **more: float | str | bool) -> tuple[int, list[str]]:
        """The exit code and what the program tells of its calls."""
        self.there.run("rm -rf /etc/fake* /tmp/told /tmp/ran /tmp/elsewhere")
        self.plan(process, fault, **more)
        done = self.there.run([injector.PYTHON, FAKE, "go"], check=False)
        return done.returncode, self.there.run("cat /tmp/told", check=False).stdout.splitlines()


@pytest.fixture(scope="module")
def stage(lab: Lab) -> Fake:
    stage = Fake(lab, "injector")
    stage.furnish()
    stage.there.write(FAKE, PROGRAM)
    return stage


def test_every_changing_call_is_counted_and_no_other(stage: Fake) -> None:
    code, told = stage.suffer("", record=True)
    assert (code, told) == (0, [*WORDS, injector.PYTHON]), "nothing is changed by counting"
    assert [list(point) for point in stage.points()] == POINTS
    assert stage.fired() == ""


def test_another_process_is_left_alone(stage: Fake) -> None:
    assert stage.suffer("kill", process="expire", at=1) == (0, [*WORDS, injector.PYTHON])
    assert stage.fired() == ""


@pytest.mark.parametrize("at", [at for at in range(1, len(POINTS) + 1) if at != IN_A_CHILD])
def test_killed_just_before_each_call(stage: Fake, at: int) -> None:
    code, told = stage.suffer("kill", at=at)
    assert code == 137
    assert stage.fired() == " ".join(POINTS[at - 1])
    # Opening, writing and syncing are one word's, and so three points end at the same one.
    before = [0, 1, 1, 1, 2, 3, 4, 7, 8, 9, 10][at - 1]
    assert told == WORDS[:before]
    there = stage.there.run("ls -d /etc/fake*", check=False).stdout.split()
    assert there == [[], ["/etc/fake.d"], ["/etc/fake.d", "/etc/fake.new"], ["/etc/fake", "/etc/fake.d"],
                     ["/etc/fake.d"]][(at > 1) + (at > 2) + (at > 5) + (at > 10)]  # fmt: skip


def test_killed_while_its_program_runs(stage: Fake) -> None:
    code, told = stage.suffer("kill-after", at=8)
    assert (code, told) == (137, WORDS[:7])
    stage.there.run("until [ -e /tmp/ran ]; do sleep 0.05; done", timeout=10)


@pytest.mark.parametrize(("fault", "said"), [("enospc", "No space left on device"), ("eio", "Input/output error"),
                                             ("erofs", "Read-only file system")])  # fmt: skip
def test_a_call_fails_once(stage: Fake, fault: str, said: str) -> None:
    code, told = stage.suffer(fault, at=1)
    assert (code, told[0], told[1:10]) == (0, f"mkdir: {said}", WORDS[1:10])
    assert stage.fired() == "mkdir /etc/fake.d"


@pytest.mark.parametrize("at", [3, 4])
def test_a_disk_fills_up_after_a_file_was_opened(stage: Fake, at: int) -> None:
    told = stage.suffer("enospc", at=at)[1]
    assert told[:3] == ["mkdir", "write: No space left on device", "rename"]


def test_a_program_that_cannot_be_started(stage: Fake) -> None:
    told = stage.suffer("eio", at=8)[1]
    assert told == [*WORDS[:7], "program: Input/output error", *WORDS[8:], injector.PYTHON]


def test_a_call_of_a_child_fails(stage: Fake) -> None:
    told = stage.suffer("eio", at=IN_A_CHILD)[1]
    assert told == [*WORDS[:8], "look: the child failed", *WORDS[9:], injector.PYTHON]
    assert stage.fired() == "program true --since=… /tmp/hostguard-…"


def test_what_a_child_met_first_stays_for_its_parent(stage: Fake) -> None:
    told = stage.suffer("eio-on", at=IN_A_CHILD)[1]
    assert told[8:10] == ["look: the child failed", "remove: Input/output error"]


def test_what_stays_full_lets_go_what_needs_no_room(stage: Fake) -> None:
    told = stage.suffer("enospc-on", at=5)[1]
    assert told == ["mkdir", "write", "rename: No space left on device", "chmod: No such file or directory",
                    "parameter", "read: No such file or directory", "elsewhere", "program", "look",
                    "remove: No such file or directory", "rmdir", injector.PYTHON]  # fmt: skip


def test_what_stays_fails_in_every_process_until_it_is_mended(stage: Fake) -> None:
    stage.suffer("erofs-on", at=5)
    again = [injector.PYTHON, FAKE, "another"]
    stage.there.run(again)
    assert stage.there.out("head -1 /tmp/told") == "mkdir: Read-only file system"
    stage.mend()
    stage.there.run("rm -rf /etc/fake*")
    stage.there.run(again)
    assert stage.there.out("cat /tmp/told").splitlines() == [*WORDS, injector.PYTHON]


def test_what_stays_is_over_after_a_while(stage: Fake) -> None:
    told = stage.suffer("erofs-on", at=1, room=0)[1]
    assert told == ["mkdir: Read-only file system", *WORDS[1:10], "rmdir: No such file or directory", injector.PYTHON]


def test_it_strikes_at_a_program_by_its_name(stage: Fake) -> None:
    assert stage.suffer("kill", having="touch /tmp/ran") == (137, WORDS[:7])


def test_power_ends_everybody(stage: Fake) -> None:
    other = "sleep 271"
    stage.there.run(f"setsid {other} > /dev/null 2>&1 < /dev/null &")
    boot = stage.there.out("cat /proc/sys/kernel/random/boot_id")
    assert stage.suffer("power", at=8) == (137, WORDS[:7])
    assert stage.fired() == " ".join(POINTS[7])
    stage.there.lose_power()
    assert stage.there.run(["pgrep", "-f", f"^{other}"], check=False).returncode == 1
    assert stage.there.out("cat /proc/sys/kernel/random/boot_id") != boot
    assert stage.there.out("cat /etc/fake") == "text", "files stay"
    assert json.loads(stage.there.out(["cat", injector.PLAN]))["fault"] == "power"
