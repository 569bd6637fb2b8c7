"""What became of a host: judged by what the kernel's own tools say of it, and by hostguard's words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tests.lab.any_host import Completed
from tests.lab.difference import diff

Dump = dict[str, str]


class Verdict(StrEnum):
    OLD = "old"
    NEW = "new"
    NEXT = "next-command"  # healed by it
    HALF = "HALF"  # neither old nor new, and no command of ours mends it
    STUCK = "STUCK"  # still at work, or waiting, after the limit
    OPEN = "OPEN"  # rules and what is said to be in force are not the same
    TRACES = "TRACES"  # old or new, with something left behind
    WORDS = "WORDS"  # something untrue was said
    MISSED = "not reached"


BAD = (Verdict.OPEN, Verdict.HALF, Verdict.STUCK, Verdict.WORDS, Verdict.TRACES)  # the worst first


@dataclass(frozen=True)
class Seen:
    """One look at a host. `store`: what lies in /var/lib/hostguard, by its path there."""

    dump: Dump
    store: Sequence[str]
    history: Completed


@dataclass(frozen=True)
class Likeness:
    """How a host compares: the level that it is at, but for the traces; None where it is at none."""

    level: int | None
    traces: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)


TIME = re.compile(r" \d{15,} (?=[0-9a-f]{16}$)", re.MULTILINE)
# It has lines of several generations, and is written anew when one of them goes.
RENEWED = re.compile(r"^/etc/sysctl\.d/zz-hostguard\.conf .*$", re.MULTILINE)
KEPT = re.compile(r"\./(lock|generations(/\d+\.json)?)")
LEFT_UNIT = re.compile(r"units: \+ hostguard-(recover|confirm)")

# What is said of the host, and whether that is what it was before, or what was asked for.
CLAIMS = (
    (False, re.compile(r"nothing was touched|this host is as it was before$|the host is as before", re.MULTILINE)),
    (
        True,
        re.compile(
            r"^Applied as generation|is kept\.$|^Undone: .* This host is as it was|^Nothing to change", re.MULTILINE
        ),
    ),
)
CUT_SHORT = re.compile(
    r"cut short|writing|failed|unconfirmed|undone|undoing|not finished|goes? back|went back|waits to be"
)
ROW = re.compile(r"^ *\d+ {2,}\S+Z {2,}(?P<status>\S.*?) {2,}\d+ {2,}(?P<policy>\S+)", re.MULTILINE)
IN_FORCE = ("applied", "unconfirmed")


def differences(before: Dump, after: Dump, *, anew: bool = False) -> list[str]:
    """`anew`: files were written since, and their times tell nothing."""
    return diff(_timeless(before, anew), _timeless(after, anew))


def _timeless(dump: Dump, anew: bool) -> Dump:
    files = dump["files"]
    files = TIME.sub(" ", files) if anew else RENEWED.sub(lambda found: TIME.sub(" ", found[0]), files)
    # The number in the name of a device's chain tells nothing: a boot loads the same chain under another one.
    nft = re.sub(r"\begress-\d+\b", "egress-N", dump["nft"])
    return {**dump, "files": files, "nft": nft}


def liken(seen: Seen, ladder: Mapping[int, Dump], base: int, levels: Collection[int]) -> Likeness:
    """Which of these levels the host is at. The files of one above the base have been written since we saw it."""
    found = {level: differences(ladder[level], seen.dump, anew=level > base) for level in levels}
    level = min(found, key=lambda each: len(found[each]))
    others = [ladder[other]["files"] for other in levels if other != level]
    left = [f"store: + {path}" for path in seen.store if not KEPT.fullmatch(path)]
    if without_traces(found[level], others):
        return Likeness(None, left, found[level])
    return Likeness(level, found[level] + left)


def without_traces(lines: Sequence[str], others: Collection[str] = ()) -> list[str]:
    """Of the differences from what was there before, all that more is wrong with. `others`: the files that would be
    there after."""
    return [line for line in lines if not _is_trace(line, others)]


def _is_trace(line: str, others: Collection[str]) -> bool:
    """Something that was neither there before nor would be after; or an empty folder."""
    if LEFT_UNIT.match(line):
        return True
    path, _, rest = line.removeprefix("files: + ").partition(" ")
    if not line.startswith("files: + "):
        return False
    return " d" in rest or not any(f"{path} " in other for other in others)


def boots_open(seen: Seen) -> bool:
    """Whether a boot should be tried: what keeps it from loading rules is there, and not what takes that away."""
    return "./hold-rules" in seen.store and "./pending.json" not in seen.store


def history(seen: Seen) -> list[tuple[str, str]]:
    """The status and the policy of each generation, as told."""
    return [(row["status"], row["policy"]) for row in ROW.finditer(seen.history.stdout)]


def out_of_date(seen: Seen, level: int, policies: Mapping[int, str]) -> str:
    """How the history belies the level that the host is at; "" where it does not."""
    in_force = [path for status, path in history(seen) if status in IN_FORCE and path in policies.values()]
    said = in_force[-1] if in_force else None
    return "" if said == policies.get(level) else f"history: {said} is in force, and it is {policies.get(level)}"


def opened(seen: Seen, policies: Collection[str]) -> str:
    """How the rules that are there belie what is said to be in force; "" where they do not."""
    rows = history(seen)
    in_force = [status for status, path in rows if status in IN_FORCE and path in policies]
    rules = "DROP" in seen.dump["iptables"] + seen.dump["iptables-legacy"]
    if in_force and not rules:
        return "no rules, and a generation is said to be in force"
    if rules and rows and not in_force and not any(status == "writing" for status, _ in rows):
        return "rules, and no generation is said to be in force"
    return ""


def untrue(said: Sequence[Completed], like: Likeness, old: int, new: int) -> str:
    """What was said and is not so."""
    for done in said:
        text = done.stdout + done.stderr
        if "Traceback (most recent call last)" in text:
            return "a traceback: " + text.strip().splitlines()[-1]
        for is_new, claim in CLAIMS:
            found = claim.search(text)
            if found and like.level != (new if is_new else old):
                return f"said {found[0]!r}: {'; '.join(like.unlike[:3])}"
    return ""
