"""A provider that answers, and says that it can't."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hostguard.policy.gateway import HEADROOM
from hostguard.rehearse.faults.application import Application
from hostguard.rehearse.faults.fault import (
    PATIENCE,
    SLACK,
    Fault,
    Key,
    Numbers,
    asked_during,
    is_well,
    requests,
    said,
    seconds,
    span,
    times,
)
from hostguard.rehearse.faults.result import Call, Mark, Way
from hostguard.rehearse.faults.site import Asked, Site

MORE, MOST = 7, 100
"""Requests that an outage is asked with beside those that may reach it; and at most."""
APART, AGAIN = 0.05, 0.2
"""Seconds between two requests of an outage, and until it is asked whether all is well."""
CROWD = 30


def failures(n: Numbers) -> int:
    """How many of one application's requests in a row it takes until every region is cut."""
    return n.regions * n.up.consecutive_5xx


class Outage(Fault):
    id = "503-then-well"
    title = "503 to every request, and well again later"

    def answers(self, asked: Asked) -> None:
        if asked.site.state == "well":
            asked.well()
        else:
            asked.reply(503)

    def recovers(self, site: Site) -> None:
        site.state = "well"

    def calls(self, app: Application) -> None:
        for count in range(1, min(failures(app.n) + MORE, MOST) + 1):
            app.unsafe()
            app.pause(_heard(app.n) if count <= failures(app.n) and count % app.n.up.consecutive_5xx == 0 else APART)
        app.provider("recovers")
        if not _too_long(app.n):
            app.every(AGAIN, PATIENCE, is_well, app.n.unsafe)

    def decides(self, n: Numbers) -> Key:
        return Key("outlier.consecutive_5xx", str(n.up.consecutive_5xx))

    def expected(self, n: Numbers) -> str:
        back = n.up.ejection + n.up.interval
        return f"at most {_allowed(n)} reach it, the others 503 at once; well within {seconds(back)}"

    def shows(self, direct: Way) -> bool:
        return sum(call["status"] == 503 for call in direct["calls"]) > MORE

    def wrong(self, n: Numbers, way: Way) -> str:
        outage = min(failures(n) + MORE, MOST)
        calls, bad = way["calls"], [each for each in requests(way) if each["status"] == 503]
        odd = next((call for call in calls[:outage] if call["status"] != 503), None)
        if odd:
            return f"{said(odd)}, and not 503"
        if len(bad) >= outage:
            return f"all {outage} requests of the outage reached it: it was never cut"
        if len(bad) > _allowed(n):
            return f"{len(bad)} requests of the outage reached it"
        late = next((call for call in calls[:outage] if not asked_during(way, call) and call["seconds"] > SLACK), None)
        if late:
            return f"an answer of its own took the gateway {seconds(late['seconds'])}"
        if _too_long(n):
            return ""
        back = next((call for call in calls[outage:] if is_well(call)), None)
        if back is None:
            return f"not well again {seconds(PATIENCE)} after it was"
        took = back["at"] - max((each["at"] for each in bad), default=0.0)
        longest = n.up.ejection + n.up.interval + 2 * AGAIN + SLACK
        return f"well again {seconds(took)} after the last failure" if took > longest else ""

    def unseen(self, n: Numbers, way: Way) -> str:
        back = n.up.ejection + n.up.interval
        more = "" if n.fast else ": --fast shows it"
        return f"cut, but back after {seconds(back)}, which is not waited for{more}" if _too_long(n) else ""

    def marks(self, n: Numbers, way: Way) -> Sequence[Mark]:
        bad = [each["at"] for each in requests(way) if each["status"] == 503]
        cut = next((call for call in way["calls"] if not asked_during(way, call) and call["status"] == 503), None)
        back = next((call for call in way["calls"] if is_well(call)), None)
        found: list[Mark] = []
        if cut and bad:
            found.append({"at": cut["at"], "event": "ejected", "words": f"left alone after {len(bad)} failures"})
        if cut and back:
            found.append({"at": back["at"], "event": "recovered", "words": "asked again, and well"})
        return found


def _heard(n: Numbers) -> float:
    """Seconds from the failure that a region is cut for until every worker knows: short beside the ejection itself."""
    return max(APART, min(SLACK, n.up.ejection / (4 * n.regions)))


def _too_long(n: Numbers) -> bool:
    return n.up.ejection + n.up.interval + 2 > PATIENCE


def _allowed(n: Numbers) -> int:
    """What may reach a provider that fails. One in each region may be under way as it is cut."""
    return n.regions * (n.up.consecutive_5xx + 1)


class Storm(Fault):
    id = "503-storm"
    title = f"503 to {CROWD} safe requests at the same time"

    def answers(self, asked: Asked) -> None:
        asked.reply(503)

    def calls(self, app: Application) -> None:
        app.at_once(CROWD, app.n.safe)

    def decides(self, n: Numbers) -> Key:
        return Key("retry.tries", str(n.tries))

    def expected(self, n: Numbers) -> str:
        return f"at most {_bearable(n)} reach a region: the headroom, {_room(n):g} × {CROWD}"

    def wrong(self, n: Numbers, way: Way) -> str:
        most = max(len(requests(way, region)) for region in range(1, n.regions + 1))
        if most > _bearable(n):
            return f"{most} tries of {CROWD} requests reached one region: tries multiply an outage"
        return next((f"{said(call)}, and not 503" for call in way["calls"] if call["status"] != 503), "")


def _bearable(n: Numbers) -> int:
    """That many a region was said to bear."""
    return math.ceil(_room(n) * CROWD)


def _room(n: Numbers) -> float:
    """A headroom below the usual is no wish for fewer tries."""
    return max(n.headroom, HEADROOM)


class Region(Fault):
    id = "503-region"
    title = "region 1 says 503, region 2 is well"

    def unfit(self, n: Numbers) -> str:
        return "" if n.regions > 1 else "no fallback"

    def answers(self, asked: Asked) -> None:
        if asked.region.number == 1:
            asked.reply(503)
        else:
            asked.well()

    def calls(self, app: Application) -> None:
        app.safe()
        app.unsafe()

    def decides(self, n: Numbers) -> Key:
        return Key("fallback", ", ".join(n.own.hosts[1:])) if n.fails_over else Key("retry.tries", str(n.tries))

    def expected(self, n: Numbers) -> str:
        return f"{n.safe} 200 by region 2; {n.unsafe} 503, once at region 1"

    def wrong(self, n: Numbers, way: Way) -> str:
        safe, unsafe = way["calls"]
        if not is_well(safe):
            return f"{n.safe} got {said(safe)}: region 2 was asked {times(len(requests(way, 2)))}"
        sent = [each for each in requests(way) if each["method"] == n.unsafe]
        if n.unsafe not in n.up.retry.safe and len(sent) != 1:
            return f"{n.unsafe} reached it {times(len(sent))}"
        if n.unsafe not in n.up.retry.safe and unsafe["status"] != 503:
            return f"{n.unsafe} got {said(unsafe)}"
        return ""


class Limited(Fault):
    """What a Retry-After of so many seconds does."""

    retry_after = 1

    def answers(self, asked: Asked) -> None:
        if asked.count == 1:
            asked.reply(429, {"retry-after": str(self.retry_after)})
        else:
            asked.well()

    def decides(self, n: Numbers) -> Key:
        return Key("retry.wait_max", span(n.up.retry.wait_max))


class RetryAfterShort(Limited):
    id = "429-short"
    title = "429 once, Retry-After 1"

    def waits(self, n: Numbers) -> bool:
        return n.tries > 1 and n.up.retry.wait_max >= 1

    def expected(self, n: Numbers) -> str:
        return "200 after 1 to 1.5 s, tried twice" if self.waits(n) else "429 at once, with its Retry-After"

    def wrong(self, n: Numbers, way: Way) -> str:
        (call,) = way["calls"]
        if not self.waits(n):
            return _handed_on(call, way)
        if not is_well(call):
            return f"{said(call)} after {seconds(call['seconds'])}, and not 200"
        tried = [each["at"] for each in requests(way)]
        if len(tried) != 2:
            return f"it was asked {times(len(tried))}"
        gap = tried[1] - tried[0]
        return "" if 1 <= gap <= 1.5 + SLACK else f"asked again after {seconds(gap)}"


class RetryAfterLong(Limited):
    id = "429-long"
    retry_after = 60
    title = f"429 for ever, Retry-After {retry_after}"

    def answers(self, asked: Asked) -> None:
        asked.reply(429, {"retry-after": str(self.retry_after)})

    def expected(self, n: Numbers) -> str:
        return "429 at once, with its Retry-After, asked once"

    def wrong(self, n: Numbers, way: Way) -> str:
        return _handed_on(way["calls"][0], way)


def _handed_on(call: Call, way: Way) -> str:
    if call["status"] != 429:
        return f"{said(call)} after {seconds(call['seconds'])}, and not 429"
    if not call["retry_after"]:
        return "429 without its Retry-After"
    if len(requests(way)) != 1:
        return f"it was asked {times(len(requests(way)))}"
    return f"429 after {seconds(call['seconds'])}" if call["seconds"] > SLACK else ""
