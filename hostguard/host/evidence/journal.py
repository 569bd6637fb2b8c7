"""Which words the journals of units hold, and when: no line of it leaves the host, for a line may be a secret."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List

from ..program import find, run
from ..resource import HostError, NotRoot
from . import Request

MOST_LINES = 20000


def unit_words(request: Request) -> Any:
    """{word: [lines, seconds since 1970 of the last]} of those `words` that `unit` said in the last `seconds`; {} where
    there is no journal, or none that one may read."""
    if find("journalctl") is None:
        return {}
    try:
        return _counted(_said(request["unit"], request["seconds"], "short-unix"), request["words"])
    except HostError:
        return {}  # it hangs, or says too much


def log_counts(request: Request) -> Any:
    """{unit: {"counts": {word: lines}, "waits": [seconds, …]}} of the journals of `units` in the last `seconds`: how
    many lines each of `words` (regular expressions) finds, and the least and the most of what `wait` finds in those;
    None where there is no journal."""
    if find("journalctl") is None:
        return None
    if os.geteuid() != 0:
        raise NotRoot("only root may read the journal of units")
    found = {}
    for each in request["units"]:
        lines = _said(each, request["seconds"], "cat").splitlines()
        of = {word: [line for line in lines if re.search(words, line)] for word, words in request["words"].items()}
        waits = [int(wait) for told in of.values() for line in told for wait in re.findall(request["wait"], line)]
        found[each] = {"counts": {word: len(told) for word, told in of.items()},
                       "waits": sorted({min(waits), max(waits)}) if waits else []}  # fmt: skip
    return found


def _said(unit: str, seconds: float, output: str) -> str:
    argv = ["journalctl", "-q", "-o", output, "--no-pager", "--since", "-{}s".format(int(seconds)), "-u", unit]
    return run([*argv, "-n", str(MOST_LINES)], check=False, timeout=20).stdout


def _counted(said: str, words: List[str]) -> Dict[str, List[float]]:
    found: Dict[str, List[float]] = {}
    for line in said.splitlines():
        stamp = line.partition(" ")[0]
        if not stamp.replace(".", "", 1).isdecimal() or len(stamp) > 20:
            continue
        for word in words:
            if word in line:
                found[word] = [found.get(word, [0])[0] + 1, float(stamp)]
    return found
