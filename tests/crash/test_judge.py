"""The judge itself: what it must not take for a host that is whole."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.crash.judge import Dump, Likeness, Seen, liken, opened, out_of_date, untrue
from tests.lab.any_host import Completed

ETC = "/etc root:root drwxr-xr-x"
FILE = "/etc/file root:root -rw-r--r-- {} 0123456789abcdef"
NEW_FILE = "/etc/new root:root -rw-r--r-- 1795658575539111850 00000000deadbeef"


def dump(*files: str, rules: str = "") -> Dump:
    return {"files": "\n".join(files), "iptables": rules, "iptables-legacy": "", "units": "",
            "nft": "chain egress-2", "network": "eth0  UP"}  # fmt: skip


OLD = dump(ETC, FILE.format(1795658575539111850))
NEW = dump(ETC, FILE.format(1795658575539111850), NEW_FILE, rules=":OUTPUT DROP")
LADDER = {0: OLD, 1: NEW}
POLICIES = ("/root/a.yml",)
ROW = """\
generation  created               status   changes  policy
         1  2026-11-26T02:02:55Z  {}       71  {} (76219a4d2c00)  root
"""


def seen(found: Dump, *store: str, history: str = "") -> Seen:
    return Seen(found, ["./lock", "./generations", "./generations/000001.json", *store], said(history))


def said(text: str, code: int = 0) -> Completed:
    return Completed([], code, text, "")


def like(found: Dump, *store: str) -> Likeness:
    return liken(seen(found, *store), LADDER, 0, {0, 1})


def test_the_old_and_the_new() -> None:
    assert like(OLD) == Likeness(0)
    assert like(NEW) == Likeness(1)
    assert like({**NEW, "files": NEW["files"].replace("575539111850", "999999999999")}) == Likeness(1), "written later"
    assert like({**OLD, "nft": "chain egress-3"}) == Likeness(0), "after a boot"


def test_what_is_old_has_its_old_time() -> None:
    assert like(dump(ETC, FILE.format(1795658575539111851))).level is None


def test_half_is_neither() -> None:
    assert like(dump(ETC, FILE.format(1795658575539111850), rules=":OUTPUT DROP")).level is None
    assert like(dump(ETC, FILE.format(1795658575539111850), NEW_FILE)).level is None, "a file of the new ones"
    assert like(dump(ETC)).level is None, "a file is gone"


@pytest.mark.parametrize("left", ["/etc/.file.hostguard root:root -rw------- 1795658575539111850 0123456789abcdef",
                                  "/etc/folder.d root:root drwxr-xr-x"])  # fmt: skip
def test_traces_beside_the_old(left: str) -> None:
    found = like(dump(*OLD["files"].splitlines(), left))
    assert (found.level, found.traces) == (0, [f"files: + {left}"])


def test_traces_in_the_store_and_units() -> None:
    assert like(NEW, "./pending.json").traces == ["store: + ./pending.json"]
    assert like(NEW, "./generations/000002.json.new").traces == ["store: + ./generations/000002.json.new"]
    unit = "hostguard-recover.service static -"
    assert like({**OLD, "units": unit}) == Likeness(0, [f"units: + {unit}"])


@pytest.mark.parametrize(("found", "status", "why"), [
    (OLD, "applied", "no rules, and a generation is said to be in force"),
    (NEW, "rolled back", "rules, and no generation is said to be in force"),
    (NEW, "applied", ""),
    (OLD, "rolled back", ""),
    (NEW, "writing", ""),
])  # fmt: skip
def test_rules_and_what_is_said_of_them(found: Dump, status: str, why: str) -> None:
    assert opened(seen(found, history=ROW.format(status, POLICIES[0])), POLICIES) == why


def test_a_history_that_is_out_of_date() -> None:
    told = seen(NEW, history=ROW.format("applied", POLICIES[0]))
    assert out_of_date(told, 1, {1: POLICIES[0]}) == ""
    assert out_of_date(told, 0, {1: POLICIES[0]}) == "history: /root/a.yml is in force, and it is None"
    assert out_of_date(seen(OLD), 0, {1: POLICIES[0]}) == ""


@pytest.mark.parametrize(("text", "level", "true"), [
    ("in the way: a file\nnothing was touched", None, False),
    ("generation 1 failed: no\nthis host is as it was before", 1, False),
    ("generation 1 failed: no\nthis host is as it was before", 0, True),
    ("nobody confirmed: generation 1 is failed, the host is as before", None, False),
    ("Applied as generation 1: 71 changes.", 0, False),
    ("Applied as generation 1: 71 changes.", 1, True),
    ("Undone: 1. This host is as it was before hostguard.", None, False),
    ("generation 1 failed: no\nthis host goes on trying", None, True),
    ("Traceback (most recent call last):\n  OSError", 0, False),
])  # fmt: skip
def test_what_is_claimed(text: str, level: int | None, true: bool) -> None:
    outputs: Sequence[Completed] = [said(text, 1)]
    assert (untrue(outputs, Likeness(level), 0, 1) == "") is true
