"""A fault in time, as a picture: where each call, try and wait lies, in percent of the time that all ways share (pure).

What lies too close to be told apart is drawn once, with its number; what is too many even so, as counts over time. So a
picture of ten thousand calls is no larger than one of a hundred.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hostguard.rehearse.faults.result import Call, Fault, Mark, Reached, Way

ALIKE = 1.2
"""Percent of the whole time; what is alike and lies closer than this is drawn once."""
MOST_ROWS, MOST_GROUPS = 5, 100
"""Calls side by side, and groups of them, in one lane; above that they are counted."""
FEW_GROUPS, MOST_MOMENTS = 24, 200
"""More calls than that, in more groups than that, are a crowd all along: they are counted too."""
BINS = 48
NARROW, BROAD = 210, 640
"""Pixels that a picture has at least on a phone, and on a screen: a label is drawn where it has room."""
LETTER, SIGN = 6.2, 9
"""Pixels of a label's letter, and of a sign."""
ROW, TALL, GAP = 17, 44, 8
"""Pixels of a row, of a lane of counts, and between two lanes."""
MARGIN = 44
"""Pixels right of a picture's end, for labels."""
THINNEST = 2.5
"""Pixels of a count: one among thousands is still seen."""
MOST_TICKS = 6
MOST_TOLD, MOST_WORDS = 24, 6
"""Lines of a lane in words, and different results that one of them counts."""
MOST_EVENT_ROWS = 3
SHORT = 12
"""Letters of an error that is a label by itself."""
ELSEWHERE, SERVER = 300, 500
"""The least status of an answer that is no success, and of one that is the server's fault."""
OF_THE_PROVIDER = ("moved", "revoked")
"""What happens to every way; all else happens to the gateway."""

Kind = Literal["well", "cut", "refused", "failed", "nothing", "new", "old", "other", "request", "connection"]
CALLS: tuple[Kind, ...] = ("well", "cut", "refused", "failed", "nothing")
TRIES: tuple[Kind, ...] = ("request", "new", "old", "other", "connection")
WORDS: dict[Kind, str] = {
    "well": "well: 2xx, whole",
    "cut": "cut short",
    "refused": "refused: 3xx, 4xx",
    "failed": "failed: 5xx",
    "nothing": "no answer",
    "request": "a request",
    "new": "with the new key",
    "old": "with the old key",
    "other": "with another key",
    "connection": "a connection without a request",
}
Room = Literal["", "broad", "none"]
"""Of a label: always, on a broad screen only, nowhere."""


@dataclass(frozen=True)
class Moment:
    """A call, or a try. Times in seconds."""

    begin: float
    end: float
    kind: Kind
    word: str
    """In the picture: 503, old 401, refused."""
    said: str
    """In words: GET 503."""
    wait: float | None = None
    """What Retry-After said."""


@dataclass
class Group:
    """Moments that are alike, in the order of time."""

    first: Moment
    last: Moment
    count: int = 1
    shortest: float = 0.0
    longest: float = 0.0

    def take(self, moment: Moment) -> None:
        self.last, self.count = moment, self.count + 1
        long = moment.end - moment.begin
        self.shortest, self.longest = min(self.shortest, long), max(self.longest, long)


@dataclass(frozen=True)
class Sign:
    """What is drawn once. `begin` and `end` in percent, `y` in pixels from the top of the picture."""

    kind: Kind
    begin: float
    end: float
    y: float
    label: str
    room: Room
    left: bool
    """Its label stands at its left: at its right would be the end of the page."""
    words: str


@dataclass(frozen=True)
class Dash:
    """A wait, from and to in percent."""

    begin: float
    end: float
    y: float
    words: str


@dataclass(frozen=True)
class Block:
    """How many of a kind began in a bin."""

    kind: Kind
    x: float
    wide: float
    y: float
    tall: float
    words: str


@dataclass(frozen=True)
class Lane:
    label: str
    y: float
    tall: float
    signs: tuple[Sign, ...] = ()
    dashes: tuple[Dash, ...] = ()
    blocks: tuple[Block, ...] = ()
    most: str = ""
    """How many the full height of its blocks is."""


@dataclass(frozen=True)
class Event:
    """A mark, at `x` percent."""

    x: float
    y: float
    event: str
    room: Room
    left: bool
    """Its label stands at its left: it is near the end."""


@dataclass(frozen=True)
class Course:
    """One way of a fault."""

    name: str
    summary: str
    not_tried: str
    lanes: tuple[Lane, ...] = ()
    tall: float = 0.0
    lines: tuple[float, ...] = ()
    """Where something happened, in percent."""
    alternative: str = ""
    """What the picture shows, for who does not see it."""
    told: tuple[str, ...] = ()
    """The same at length, in the order of time."""


@dataclass(frozen=True)
class Timeline:
    ticks: tuple[tuple[float, str], ...]
    """Percent, and its time."""
    events: tuple[Event, ...]
    events_tall: float
    happened: tuple[tuple[str, str, str], ...]
    """When, which event, in which words."""
    courses: tuple[Course, ...]


NAMES = ("Straight", "The article’s cluster", "The gateway")


def ways(fault: Fault) -> tuple[Way, Way, Way]:
    return fault["direct"], fault["article"], fault["gateway"]


def of(fault: Fault) -> Timeline:
    scale = _Scale(_end(fault))
    marks = sorted(fault["marks"], key=lambda mark: mark["at"])
    regions = sorted({each["region"] for way in ways(fault) for each in way["reached"]})
    events, tall = _events(marks, scale)
    courses = []
    for name, way in zip(NAMES, ways(fault), strict=True):
        seen = [mark for mark in marks if way is fault["gateway"] or mark["event"] in OF_THE_PROVIDER]
        courses.append(_course(name, way, regions, seen, scale))
    happened = tuple((moment(mark["at"]), mark["event"], mark["words"]) for mark in marks)
    return Timeline(tuple(scale.ticks()), events, tall, happened, tuple(courses))


def _end(fault: Fault) -> float:
    calls = [call["at"] + call["seconds"] for way in ways(fault) for call in way["calls"]]
    others = [each["at"] for way in ways(fault) for each in way["reached"]] + [each["at"] for each in fault["marks"]]
    return max([0.01, *filter(math.isfinite, [*calls, *others])])


class _Scale:
    def __init__(self, whole: float) -> None:
        self.whole = whole

    def at(self, seconds: float) -> float:
        """Percent."""
        return round(min(100.0, max(0.0, 100 * seconds / self.whole)), 2)

    def ticks(self) -> Iterator[tuple[float, str]]:
        step = 10 ** math.floor(math.log10(self.whole))
        step = next(s for s in (step / 5, step / 2, step, step * 2, step * 5) if self.whole / s <= MOST_TICKS)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        for number in range(math.floor(self.whole / step + 1e-9) + 1):
            yield self.at(number * step), f"{number * step:.{digits}f}"


@dataclass(frozen=True)
class _Track:
    """What one lane shows."""

    label: str
    name: str
    kinds: Sequence[Kind]
    moments: Sequence[Moment]
    groups: Sequence[Group]


def _track(label: str, name: str, kinds: Sequence[Kind], moments: Iterable[Moment], scale: _Scale) -> _Track:
    found = sorted(moments, key=lambda moment: (moment.begin, moment.end))
    return _Track(label, name, kinds, found, _alike(found, scale))


def _course(name: str, way: Way, regions: Sequence[int], marks: Sequence[Mark], scale: _Scale) -> Course:
    if way["not_tried"]:
        return Course(name, way["summary"], way["not_tried"])
    tracks = [_track("calls", "application", CALLS, map(_of_call, way["calls"]), scale)]
    for region in regions:
        reached = (_of_try(each) for each in way["reached"] if each["region"] == region)
        tracks.append(_track(f"region {region}", f"region {region}", TRIES, reached, scale))
    lanes, y = [], 0.0
    for track in tracks:
        lane = _lane(track, y, scale)
        lanes.append(replace(lane, dashes=(*lane.dashes, *_between(track, tracks, lane, scale))))
        y += lane.tall + GAP
    lines = tuple(scale.at(mark["at"]) for mark in marks)
    told = tuple(line for track in tracks for line in _told(track, scale))
    return Course(name, way["summary"], "", tuple(lanes), y - GAP, lines, _alternative(name, tracks), told)


# What is drawn once


def _of_call(call: Call) -> Moment:
    status, wait = call["status"], call["retry_after"]
    short = call["error"] if 0 < len(call["error"]) <= SHORT else "none"
    word = short if status is None else f"{status}{'' if call['whole'] else ' cut'}"
    said = call["error"] or "no answer" if status is None else str(status)
    if status is not None and not call["whole"]:
        said += f", cut after {_size(call['size'])}"
    if wait:
        said += f", Retry-After {wait}"
    wanted = float(wait) if re.fullmatch(r"[0-9]{1,9}", wait) else None
    return Moment(call["at"], call["at"] + call["seconds"], _kind(call), word, f"{call['method']}: {said}", wanted)


def _kind(call: Call) -> Kind:
    status = call["status"]
    if status is None:
        return "nothing"
    if status >= SERVER:
        return "failed"
    return "refused" if status >= ELSEWHERE else "well" if call["whole"] else "cut"


def _of_try(reached: Reached) -> Moment:
    at, status, key = reached["at"], reached["status"], reached["key"]
    tls = f" over {reached['tls']}" if reached["tls"] else ""
    if not reached["method"]:
        return Moment(at, at, "connection", "no request", f"a connection{tls} without a request")
    word = " ".join(filter(None, (key, str(status or "")))) or "no answer"
    answered = f"answered {status}" if status is not None else "not answered"
    said = f"{reached['method']}{f' with the {key} key' if key else ''}{tls}, {answered}"
    return Moment(at, at, key or "request", word, said)


def _alike(moments: Iterable[Moment], scale: _Scale) -> list[Group]:
    """Those that are alike together, as far as their beginnings and their ends can't be told apart."""
    near, groups, latest = scale.whole * ALIKE / 100, list[Group](), dict[tuple[str, str], Group]()
    for each in moments:
        group = latest.get((each.word, each.said))
        if group and each.begin - group.first.begin < near and abs(each.end - group.first.end) < near:
            group.take(each)
        else:
            long = each.end - each.begin
            group = latest[each.word, each.said] = Group(each, each, 1, long, long)
            groups.append(group)
    return groups


def _lane(track: _Track, y: float, scale: _Scale) -> Lane:
    rows = _rows(track.groups, scale)
    crowd = len(track.groups) > FEW_GROUPS and len(track.moments) > MOST_MOMENTS
    if crowd or len(track.groups) > MOST_GROUPS or len(rows) > MOST_ROWS:
        return _counted(track, y, scale)
    signs, dashes = list[Sign](), list[Dash]()
    for number, row in enumerate(rows):
        middle = y + ROW * (number + 0.5)
        signs += _signs(row, middle, scale)
        dashes += _told_to_wait(row, middle, scale)
    return Lane(track.label, y, ROW * max(1, len(rows)), tuple(signs), tuple(dashes))


def _rows(groups: Sequence[Group], scale: _Scale) -> list[list[Group]]:
    """Each in the first row that is free; no more rows than one too many."""
    rows: list[list[Group]] = []
    for each in groups:
        begin = scale.at(each.first.begin)
        free = (row for row in rows if scale.at(row[-1].last.end) + ALIKE <= begin)
        if (row := next(free, None)) is not None:
            row.append(each)
        elif len(rows) <= MOST_ROWS:
            rows.append([each])
    return rows


def _signs(row: Sequence[Group], y: float, scale: _Scale) -> Iterator[Sign]:
    before, taken = "", _Free(0, 0)
    for group, after in itertools.zip_longest(row, row[1:]):
        kind, word = group.first.kind, group.first.word
        begin = scale.at(group.first.begin)
        end = begin if kind in TRIES else scale.at(group.last.end)
        label = f"{group.count}× {word}" if group.count > 1 else word
        free = _Free(scale.at(after.first.begin) - end, 0) if after else _Free(100 - end, MARGIN)
        room = "none" if label == before else free.room(label)
        left = room == "none" and not after and label != before
        if left:
            room = _Free(end - taken.percent, -taken.pixels).room(label)
        before = label if room != "none" or label == before else ""
        taken = _Free(end, 0 if room == "none" else len(label) * LETTER + 2 * SIGN)
        yield Sign(kind, begin, end, y, label, room, left, told(group))


@dataclass(frozen=True)
class _Free:
    """Room in a row: percent of the picture, and pixels beside it."""

    percent: float
    pixels: float

    def room(self, label: str) -> Room:
        wide = len(label) * LETTER + 2 * SIGN - self.pixels
        return "" if wide <= self.percent * NARROW / 100 else "broad" if wide <= self.percent * BROAD / 100 else "none"


def _told_to_wait(row: Sequence[Group], y: float, scale: _Scale) -> Iterator[Dash]:
    for group in row:
        if group.last.wait:
            end = group.last.end
            words = f"told to wait for {span(group.last.wait)}"
            yield Dash(scale.at(end), scale.at(end + group.last.wait), y, words)


def _between(track: _Track, tracks: Sequence[_Track], lane: Lane, scale: _Scale) -> Iterator[Dash]:
    """Between an answered try and the next of the same call, where calls come one after another."""
    calls = tracks[0].moments
    apart = all(one.end <= other.begin for one, other in itertools.pairwise(calls))
    if track is tracks[0] or lane.blocks or not apart:
        return
    tries = sorted((each.begin, number) for number, one in enumerate(tracks[1:], 1) for each in one.moments)
    for (one, number), (other, _) in itertools.pairwise(tries):
        call = next((call for call in calls if call.begin <= one and other <= call.end), None)
        if call and tracks[number] is track and other - one >= scale.whole * ALIKE / 100:
            yield Dash(scale.at(one), scale.at(other), lane.y + ROW / 2, f"{span(other - one)} until the next try")


def _counted(track: _Track, y: float, scale: _Scale) -> Lane:
    bins: list[Counter[Kind]] = [Counter() for _ in range(BINS)]
    for each in track.moments:
        bins[_bin(each, BINS, scale)][each.kind] += 1
    most, wide = max(each.total() for each in bins), 100 / BINS
    blocks = []
    for number, found in enumerate(bins):
        foot = y + TALL
        span_ = f"{moment(number * scale.whole / BINS)} to {moment((number + 1) * scale.whole / BINS)}"
        for kind in (kind for kind in track.kinds if found[kind]):
            tall = round(max(THINNEST, TALL * found[kind] / most), 2)
            foot = max(y, foot - tall)
            words = f"{span_}: {found[kind]} × {WORDS[kind]}"
            blocks.append(Block(kind, round(number * wide, 2), round(wide, 2), round(foot, 2), tall, words))
    return Lane(track.label, y, TALL, blocks=tuple(blocks), most=f"max {most:,}")


def _bin(each: Moment, bins: int, scale: _Scale) -> int:
    return min(bins - 1, max(0, int(each.begin / scale.whole * bins)))


def _events(marks: Sequence[Mark], scale: _Scale) -> tuple[tuple[Event, ...], float]:
    """Each in the first row where it has room on a phone; in the last one without its label, if it has it in none."""
    ends = [-math.inf] * MOST_EVENT_ROWS
    placed, rows = [], 1
    for mark in marks:
        x, wide = scale.at(mark["at"]), (len(mark["event"]) * LETTER + 2 * SIGN) * 100 / NARROW
        left = x > 100 - wide
        begin, end = (x - wide, x) if left else (x, x + wide)
        row = next((row for row, taken in enumerate(ends) if taken <= begin), None)
        room: Room = "" if row is not None else "none"
        row = MOST_EVENT_ROWS - 1 if row is None else row
        ends[row] = max(ends[row], end)
        rows = max(rows, row + 1)
        placed.append(Event(x, ROW * (row + 0.5), mark["event"], room, left))
    return tuple(placed), float(ROW * rows)


# In words


def moment(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def span(seconds: float) -> str:
    """How long something took."""
    if seconds < 0.001:
        return "under 1 ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"


def _size(length: int) -> str:
    for unit, least in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if length >= least:
            return f"{length / least:.1f} {unit}"
    return f"{length} bytes"


def told(group: Group) -> str:
    often = f"{group.count} × " if group.count > 1 else ""
    when = moment(group.first.begin)
    if group.count > 1 and moment(group.last.begin) != when:
        when = f"{when} to {moment(group.last.begin)}"
    long = "" if group.first.kind in TRIES else f", in {_spans(group.shortest, group.longest)}"
    return f"{when}: {often}{group.first.said}{long}"


def _spans(shortest: float, longest: float) -> str:
    return " to ".join(dict.fromkeys((span(shortest), span(longest))))


def _told(track: _Track, scale: _Scale) -> Iterator[str]:
    if len(track.groups) <= MOST_TOLD:
        yield from (f"{track.name}, {told(group)}" for group in track.groups)
        return
    bins: list[Counter[str]] = [Counter() for _ in range(MOST_TOLD)]
    for each in track.moments:
        bins[_bin(each, MOST_TOLD, scale)][each.word] += 1
    for number, found in enumerate(bins):
        if found:
            begin, end = (moment(at * scale.whole / MOST_TOLD) for at in (number, number + 1))
            yield f"{track.name}, {begin} to {end}: {_counts(found)}"


def _counts(found: Counter[str]) -> str:
    common = found.most_common(MOST_WORDS)
    others = found.total() - sum(count for _, count in common)
    return ", ".join([f"{count:,} × {word}" for word, count in common] + ([f"{others:,} others"] if others else []))


def _alternative(name: str, tracks: Sequence[_Track]) -> str:
    calls, *tries = tracks
    slowest = max((each.end - each.begin for each in calls.moments), default=0)
    got = f"the application got {_words(calls)}, the slowest in {span(slowest)}" if calls.moments else "no calls"
    return "; ".join([f"{name}: {got}", *map(_reached, tries)])


def _reached(track: _Track) -> str:
    number = len(track.moments)
    often = "once" if number == 1 else f"{number:,} times"
    return f"{track.name} was reached {often} ({_words(track)})" if number else f"{track.name} was not reached"


def _words(track: _Track) -> str:
    return _counts(Counter(each.word for each in track.moments))
