"""What was seen, judged: by what the application got and the provider saw, and by nothing that a proxy says (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from hostguard.rehearse.faults import result
from hostguard.rehearse.faults.clones import WAYS, Clone
from hostguard.rehearse.faults.fault import AT_ONCE, Numbers, asked_during, is_well, requests, said, seconds
from hostguard.rehearse.faults.fault import Fault as Rule
from hostguard.rehearse.faults.result import Call, Fault, Mark, Reached, Verdict, Way

EMPTY: Way = {"summary": "", "calls": [], "reached": [], "not_tried": ""}
FEW = 3
"""Groups of calls that a summary has."""
NOT_TOLD = "nothing was heard of it"
WORTH_A_WORD = 0.2
"""Seconds."""
BUSY = 0.5
"""Seconds: more is no more the time of an answer that nothing delays, or of a start of the gateway."""
PLACES = 3
"""Digits after the point of a time in seconds."""


@dataclass
class Heard:
    """What a rehearsal told, by clone and way."""

    ways: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    reached: Mapping[str, list[Reached]] = field(default_factory=dict)
    control: list[tuple[float, float]] = field(default_factory=list)
    """When a provider without a fault was asked, and the seconds that this took."""
    not_rehearsed: list[str] = field(default_factory=list)
    error: str = ""

    def hear(self, told: Mapping[str, Any]) -> None:
        if "way" in told:
            self.ways[told["clone"], told["way"]] = told
        elif "reached" in told:
            self.reached = told["reached"]
        elif "control" in told:
            self.control += [(began, took) for began, took in told["control"]]
        elif "not rehearsed" in told:
            self.not_rehearsed.append(told["not rehearsed"])
        elif "error" in told:
            self.error = self.error or str(told["error"])

    def late(self, clone: str) -> float:
        """The longest that an answer took which nothing delayed but this machine, while this clone was asked."""
        told = self.ways.get((clone, "gateway"), {})
        calls = told.get("calls", ())
        began, ended = told.get("began", 0.0), max((call["at"] + call["seconds"] for call in calls), default=0.0)
        return max((took for at, took in self.control if at <= began + ended and at + took >= began), default=0.0)


def rows(clones: Iterable[Clone], heard: Heard, line_of: Callable[[str], int | None]) -> list[Fault]:
    """A row a clone. `line_of` a key of the policy."""
    found = []
    for clone in clones:
        ways = {name: way(clone, name, heard) for name in WAYS}
        marks = list(heard.ways.get((clone.name, "gateway"), {}).get("marks", ()))
        one = row(clone.fault, clone.numbers, clone.of, ways, marks, line_of)
        found.append(beside(one, heard.late(clone.name)))
    return found


def beside(fault: Fault, late: float) -> Fault:
    """A row that is wrong proves nothing where all else was late too."""
    if fault["verdict"] != "wrong" or late <= BUSY:
        return fault
    actual = f"{fault['actual']}; but this machine was busy: {seconds(late)} for what takes {seconds(BUSY)} at most"
    return {**fault, "verdict": "no_proof", "actual": actual}


def is_busy(fault: Fault) -> bool:
    return fault["verdict"] == "no_proof" and "; but this machine was busy: " in fault["actual"]


def row(
    rule: Rule,
    n: Numbers,
    provider: str,
    ways: Mapping[str, Way],
    marks: Sequence[Mark],
    line_of: Callable[[str], int | None],
) -> Fault:
    verdict, actual = judge(rule, n, ways["direct"], ways["gateway"])
    key = rule.decides(n)
    path = key.path if key.path.startswith("gateway.") else f"gateway.providers.{provider}.{key.path}"
    seen = [*marks, *(() if ways["gateway"]["not_tried"] else rule.marks(n, ways["gateway"]))]
    return {
        "id": rule.id, "title": rule.named(n), "provider": provider, "verdict": verdict, "expected": rule.expected(n),
        "actual": actual, "key": path, "line": line_of(path), "value": key.value, "direct": ways["direct"],
        "article": ways["article"], "gateway": ways["gateway"], "marks": sorted(seen, key=lambda mark: mark["at"]),
    }  # fmt: skip


def judge(rule: Rule, n: Numbers, direct: Way, gateway: Way) -> tuple[Verdict, str]:
    """The verdict, and what came of it where that is not as expected."""
    if gateway["not_tried"]:
        return "not_tried", gateway["not_tried"]
    if not rule.directly:
        if direct["not_tried"]:
            return "no_proof", f"directly: {direct['not_tried']}"
        if not rule.shows(direct):
            return "no_proof", f"it did not show directly: {direct['summary'] or 'nothing was asked'}"
    waited = next((call for call in gateway["calls"] if call["seconds"] >= n.caller), None)
    if waited:
        return "wrong", f"no answer within {seconds(n.caller)}, when whoever waits in front of an application gives up"
    if not gateway["calls"]:
        return "not_tried", "nothing was asked"
    if wrong := rule.wrong(n, gateway):
        return "wrong", wrong
    unseen = rule.unseen(n, gateway)
    return ("not_tried", unseen) if unseen else ("held", "")


def way(clone: Clone, name: str, heard: Heard) -> Way:
    """What was seen on one way, in seconds since its first call."""
    told = heard.ways.get((clone.name, name))
    if name != "gateway" and clone.fault.directly:
        return {**EMPTY, "not_tried": clone.fault.directly}
    if told is None or "not tried" in told:
        return {**EMPTY, "not_tried": NOT_TOLD if told is None else str(told["not tried"])}
    began = float(told["began"])
    calls = [_rounded(call) for call in told["calls"]]
    seen = sorted(heard.reached.get(clone.plans[name].key, ()), key=lambda each: each["at"])
    reached = [{**each, "at": round(each["at"] - began, PLACES)} for each in seen]
    # mypy takes {**a TypedDict} for a dict of objects.
    found: Way = {"summary": "", "calls": calls, "reached": reached, "not_tried": ""}  # type: ignore[typeddict-item]
    return {**found, "summary": summary(found)}


def _rounded(call: Call) -> Call:
    return {**call, "at": round(call["at"], PLACES), "seconds": round(call["seconds"], PLACES)}


def summary(found: Way) -> str:
    """What the application got, in a few words, and how many requests reached the provider where it is not one each."""
    calls = found["calls"]
    runs = [(words, list(of)) for words, of in groupby(calls, lambda call: _got(found, call))]
    if len(runs) > FEW:  # many at once, or asked until it was well
        counted: dict[str, list[Call]] = {}
        for words, of in runs:
            counted.setdefault(words, []).extend(of)
        runs = list(counted.items())
    told = [_run(words, of) for words, of in runs[:FEW]] + ["…"] * (len(runs) > FEW)
    reached = len(requests(found))
    return ", ".join(told) + (f"; reached {reached}" if reached != len(calls) else "")


def _got(found: Way, call: Call) -> str:
    alone = not is_well(call) and call["seconds"] < AT_ONCE and not asked_during(found, call)
    return said(call) + (" at once" if alone and call["status"] is not None else "")


def _run(words: str, of: list[Call]) -> str:
    if len(of) > 1:
        return f"{len(of)} x {words}"
    took = of[0]["seconds"]
    return f"{words}, {seconds(took)}" if took >= WORTH_A_WORD and "after" not in words else words


def count(faults: Iterable[Fault], took: float) -> result.Summary:
    verdicts = Counter(fault["verdict"] for fault in faults)
    return {
        "held": verdicts["held"], "wrong": verdicts["wrong"], "no_proof": verdicts["no_proof"],
        "not_tried": verdicts["not_tried"], "seconds": round(took, 1),
    }  # fmt: skip
