"""Which words a unit's journal holds, and when: no line of it leaves the host, for a line may hold anything."""

from __future__ import annotations

from typing import Any, Dict, List

from ..program import find, run
from ..resource import HostError
from . import Request

MOST_LINES = 2000


def unit_words(request: Request) -> Any:
    """{word: [lines, seconds since 1970 of the last]} of those `words` that `unit` said in the last `seconds`; {} where
    there is no journal, or none that one may read."""
    if find("journalctl") is None:
        return {}
    since = "-{}s".format(int(request["seconds"]))
    argv = ["journalctl", "-q", "-o", "short-unix", "--no-pager", "--since", since, "-u", request["unit"]]
    try:
        said = run([*argv, "-n", str(MOST_LINES)], check=False, timeout=20).stdout
    except HostError:
        return {}  # it hangs, or says too much
    return _counted(said, request["words"])


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
