"""Fault rehearsals to show: as they come out, with thousands of calls, and with words that want to break out."""

from __future__ import annotations

from typing import Literal

from hostguard.rehearse.faults.result import SCHEMA, Call, Event, Fault, Faults, Mark, Reached, Verdict, Way

Key = Literal["new", "old", "other", ""]
GENERATED = "2026-11-26T15:00:00Z"
SHA256 = "0123456789abcdef" * 4


def call(
    at: float,
    seconds: float = 0.002,
    status: int | None = 200,
    *,
    method: str = "GET",
    error: str = "",
    whole: bool = True,
    size: int = 120,
    retry_after: str = "",
) -> Call:
    return {"at": at, "seconds": seconds, "method": method, "status": status, "error": error, "whole": whole,
            "size": size, "retry_after": retry_after}  # fmt: skip


def reached(
    at: float, status: int | None = 200, *, region: int = 1, key: Key = "", method: str = "GET", tls: str = "TLSv1.3"
) -> Reached:
    return {"at": at, "region": region, "address": f"198.18.4.{region}", "method": method, "key": key, "tls": tls,
            "status": status, "size": 0}  # fmt: skip


def mark(at: float, event: Event, words: str = "") -> Mark:
    return {"at": at, "event": event, "words": words}


def way(summary: str, calls: list[Call], tries: list[Reached]) -> Way:
    return {"summary": summary, "calls": calls, "reached": tries, "not_tried": ""}


def untried(why: str) -> Way:
    return {"summary": "", "calls": [], "reached": [], "not_tried": why}


def fault(
    id_: str,
    title: str,
    direct: Way,
    article: Way,
    gateway: Way,
    *,
    verdict: Verdict = "held",
    expected: str = "",
    actual: str = "",
    key: str = "gateway.providers.payments.timeouts.try",
    line: int | None = 30,
    value: str = "2s",
    marks: list[Mark] | None = None,
) -> Fault:
    return {"id": id_, "title": title, "provider": "payments", "verdict": verdict, "expected": expected,
            "actual": actual, "key": key, "line": line, "value": value, "direct": direct, "article": article,
            "gateway": gateway, "marks": marks or []}  # fmt: skip


def faults(found: list[Fault], *, not_rehearsed: tuple[str, ...] = (), fast: bool = False) -> Faults:
    count = {verdict: sum(each["verdict"] == verdict for each in found) for verdict in ("held", "wrong", "no_proof")}
    return {
        "schema": SCHEMA,
        "generated": GENERATED,
        "policy": {"path": "examples/gateway.yml", "sha256": SHA256},
        "program": {"path": "/usr/bin/envoy", "version": "1.40.0"},
        "fast": fast,
        "summary": {
            "held": count["held"],
            "wrong": count["wrong"],
            "no_proof": count["no_proof"],
            "not_tried": len(found) - sum(count.values()),
            "seconds": 41.3,
        },
        "not_rehearsed": list(not_rehearsed),
        "faults": found,
    }


def hangs(verdict: Verdict = "held", actual: str = "") -> Fault:
    """The application waits for as long as it likes; the gateway ends each try."""
    return fault(
        "hangs",
        "It takes the request and never answers",
        way("no answer in 12 s", [call(0.0, 12.0, None, error="timed out")], [reached(0.001, None)]),
        way("504 after 10 s", [call(0.0, 10.002, 504)], [reached(0.002, None)]),
        way(
            "504 after 6.00 s, 3 tries",
            [call(0.0, 6.003, 504)],
            [reached(0.001, None), reached(2.03, None, region=2), reached(4.1, None)],
        ),
        verdict=verdict,
        expected="504 within 6 s",
        actual=actual,
    )


def breaks() -> Fault:
    """503 twelve times, then well: the breaker, in one region."""
    calls = [*(call(0.01 * n, 0.005, 503) for n in range(12)), call(0.5, 0.005)]
    tries = [reached(each["at"] + 0.002, each["status"]) for each in calls]
    cut = [call(0.004 * n, 0.003, 503) for n in range(5)] + [call(0.02 + 0.002 * n, 0.0005, 503) for n in range(7)]
    cut += [call(0.5 * n, 0.0008, 503) for n in range(1, 75)]
    asked = [reached(0.004 * n + 0.002, 503) for n in range(5)]
    return fault(
        "503-then-well",
        "503 twelve times, then well, in one region",
        way("12 × 503, reached 13", calls, tries),
        way("12 × 503, reached 13: never cut", calls, tries),
        way(
            "5 × 503, 7 × 503 at once, reached 6; well after 37.5 s",
            [*cut, call(37.5, 0.004)],
            [*asked, reached(37.502)],
        ),
        expected="no more than 5 requests reach it; well again within 40 s",
        key="gateway.providers.payments.outlier.consecutive_5xx",
        value="5",
        marks=[
            mark(0.018, "ejected", "region 1 is asked no more, for 30 s"),
            mark(37.4, "recovered", "region 1 is asked again"),
        ],
    )


def rotates() -> Fault:
    """A key that is stored before the provider takes it."""
    early, late = [0.25 * n for n in range(6)], [1.5 + 0.25 * n for n in range(6)]
    new = [reached(at + 0.002, 401, key="new", method="POST") for at in early]
    new += [reached(at + 0.002, key="new", method="POST") for at in late]
    refused = [call(at, 0.005, 401, method="POST") for at in early]
    good = [call(at, 0.006, method="POST") for at in late]
    return fault(
        "new-key-early",
        "The new key is stored before the provider accepts it",
        way("6 × 401", refused + good, new),
        untried("the article's cluster adds no key"),
        way(
            "12 × 200, the old key 6 times",
            [call(at, 0.04, method="POST") for at in early] + good,
            new + [reached(at + 0.03, key="old", method="POST") for at in early],
        ),
        expected="no 401 is seen",
        key="gateway.providers.payments.credential",
        line=41,
        value="payments",
        marks=[mark(1.45, "revoked", "the provider takes the new key only")],
    )


def limited() -> Fault:
    once = way("429", [call(0.0, 0.01, 429, retry_after="1")], [reached(0.004, 429)])
    return fault(
        "429-after-1",
        "429 with Retry-After: 1, then well",
        once,
        once,
        way("200 after 1.25 s", [call(0.0, 1.25)], [reached(0.004, 429), reached(1.23)]),
        expected="200 after 1 s to 1.5 s",
        key="gateway.providers.payments.retry.wait_max",
        value="4s",
    )


def ended() -> Fault:
    """Connections without a request, and a body that is cut."""
    return fault(
        "expired",
        "Its certificate has ended",
        way(
            "no answer: certificate has expired",
            [call(0.0, 0.02, None, error="certificate has expired")],
            [reached(0.01, None, method="", tls="")],
        ),
        way(
            "200, and it was not verified",
            [call(0.0, 0.01), call(0.2, 0.1, whole=False, size=4096)],
            [reached(0.005), reached(0.201)],
        ),
        way(
            "503, nothing was sent",
            [call(0.0, 0.06, 503)],
            [reached(0.01 * n, None, method="", tls="", region=1 + n % 2) for n in range(1, 5)],
        ),
        expected="503, and no request reaches it",
        key="gateway.ca",
        line=None,
        value="/etc/ssl/certs/ca-certificates.crt",
    )


def overload(number: int = 1500) -> Fault:
    """Twice what the breaker lets through, and the gateway killed within."""

    def of(number: int, let: int) -> Way:
        calls = [call(8 * n / number, 0.3 + 0.2 * (n % 7), 503 if n % 2 and n > let else 200) for n in range(number)]
        well = [each["at"] for each in calls if each["status"] == 200]
        return way(f"{number:,} calls", calls, [reached(at, region=1 + (n % 11 == 0)) for n, at in enumerate(well)])

    every = of(number, number)
    return fault(
        "overload",
        "Twice as many requests as the breaker lets through",
        every,
        every,
        of(number, number // 4),
        verdict="wrong",
        expected="at most 3,200 at a time reach it, the others get 503 within 10 ms",
        actual="3,377 at a time reached it",
        key="gateway.providers.payments.breaker.requests",
        line=None,
        value="3200",
        marks=[mark(3.0, "killed", "the gateway, by SIGKILL"), mark(3.31, "started", "it answers again")],
    )


def some() -> Faults:
    unproved: Fault = {**limited(), "id": "drip", "title": "A byte every 20 ms", "verdict": "no_proof"}
    nothing = untried("needs mapped accounts")
    skipped = fault("stranger", "An account that may not", nothing, nothing, nothing, verdict="not_tried")
    wrong = hangs("wrong", "504 after 6.00 s, and the caller's own limit is 5 s")
    found = [wrong, breaks(), rotates(), limited(), ended(), overload(), unproved, skipped]
    return faults(found, not_rehearsed=("separation of accounts: only one account is mapped here",), fast=True)
