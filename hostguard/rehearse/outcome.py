"""What a rehearsal told, judged (pure): each way out before and after, and the figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from hostguard.attack.aim import Attempt
from hostguard.attack.case import Holds

ONE_ACCOUNT = "one account only"
"""Why what is held by account is not tried where only our own could be mapped."""


class Word(StrEnum):
    ALLOWED = "allowed"
    CUT_OFF = "CUT OFF"
    HELD = "held"
    OUT = "GETS OUT"
    NOT_HELD = "not held"
    """Nothing of the policy's holds it, and its case says why."""
    LEFT_OPEN = "left open"
    """The policy itself leaves it open."""
    NO_HOOK = "gets out: no hook for frames here"
    """The policy would hold it, and this kernel can't."""
    ABSENT = "not available here"
    NO_PROOF = "not seen to leave before: proves nothing"
    NOT_TRIED = "not tried"
    """Something is missing here, which is told once."""


WRONG = {Word.CUT_OFF, Word.OUT}
UNSEEN = {Word.NO_PROOF, Word.NOT_TRIED, Word.NO_HOOK}
COUNTED = {Word.HELD, Word.OUT, Word.LEFT_OPEN, Word.NO_HOOK}
"""What hostguard is there to hold: all of these ways that were seen to work before."""


@dataclass(frozen=True)
class Verdict:
    attempt: Attempt
    before: str
    after: str
    word: Word

    @property
    def escaped(self) -> tuple[bool, bool]:
        return self.before == "out", self.after == "out"


@dataclass(frozen=True)
class Figure:
    """A rehearsal in numbers: of the ways that hostguard is there to hold, how many were tried and how many got out."""

    tried: int
    escaped_before: int
    escaped_after: int
    left_open: int
    allowed: int
    not_held: int
    wrong: int
    unseen: int


@dataclass
class Outcome:
    tries: Sequence[Attempt]
    frames: Literal["hold", "allow"] = "hold"
    """What the policy does with frames."""
    results: dict[tuple[int, str], Mapping[str, Any]] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    not_rehearsed: list[str] = field(default_factory=list)

    def hear(self, told: dict[str, Any]) -> None:
        if "try" in told:
            self.results[told["try"], told["when"]] = told
        elif "not rehearsed" in told:
            self.not_rehearsed.append(told["not rehearsed"])
        else:
            self.said = {**told, **self.said} if "error" in told else {**self.said, **told}

    def verdicts(self) -> list[Verdict]:
        return [self.verdict(number) for number in range(len(self.tries))]

    def verdict(self, number: int) -> Verdict:
        attempt = self.tries[number]
        before, after = (self.results.get((number, when)) for when in ("before", "after"))
        if before is None or after is None or self.why_not_tried(number):
            return Verdict(attempt, "", "", Word.NOT_TRIED)
        if attempt.sanctioned:
            worked, works = ("works" if result["works"] else "cut off" for result in (before, after))
            return Verdict(attempt, worked, works, Word.ALLOWED if after["works"] else Word.CUT_OFF)
        if before.get("absent"):
            return Verdict(attempt, "", "", Word.ABSENT)
        whole = before["left"] >= attempt.case.count
        left, leaves = ("out" if out else "held" for out in (whole, after["left"]))
        return Verdict(attempt, left, leaves, self._word(attempt, whole, bool(after["left"])))

    def why_not_tried(self, number: int) -> str:
        """ "" for what was tried."""
        told = (self.results.get((number, when), {}) for when in ("before", "after"))
        return next((str(each["not tried"]) for each in told if "not tried" in each), "")

    def reasons(self) -> dict[str, int]:
        """Why ways were not tried, and how many."""
        return dict(Counter(filter(None, map(self.why_not_tried, range(len(self.tries))))))

    def _word(self, attempt: Attempt, before: bool, after: bool) -> Word:
        if after:
            if attempt.sanctioned is None:
                return Word.NOT_HELD
            if attempt.case.holds is Holds.FRAMES and self.frames == "allow":
                return Word.LEFT_OPEN
            return Word.OUT if attempt.case.holds is not Holds.FRAMES or self.said.get("hooked") else Word.NO_HOOK
        return Word.HELD if before else Word.NO_PROOF

    def figure(self) -> Figure:
        verdicts = self.verdicts()
        words = [verdict.word for verdict in verdicts]
        counted = [verdict.escaped for verdict in verdicts if verdict.word in COUNTED]
        return Figure(
            tried=len(counted),
            escaped_before=sum(before for before, _ in counted),
            escaped_after=sum(after for _, after in counted),
            left_open=words.count(Word.LEFT_OPEN),
            allowed=words.count(Word.ALLOWED),
            not_held=words.count(Word.NOT_HELD),
            wrong=sum(word in WRONG for word in words),
            unseen=sum(word in UNSEEN for word in words),
        )

    @property
    def sound(self) -> bool:
        """Whether it was applied, stayed applied, and went back."""
        outcomes = [self.said.get(step, {}).get("outcome") for step in ("applied", "again")]
        return outcomes == ["applied", "unchanged"] and self.said.get("identical") is True
