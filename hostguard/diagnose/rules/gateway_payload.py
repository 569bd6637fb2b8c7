"""A body that the gateway refused: too long, or of another shape than was agreed."""

from __future__ import annotations

from collections.abc import Iterator

from hostguard.diagnose.gateway import (
    Failed,
    Kind,
    Reason,
    asks_of_log,
    by_provider,
    concerns,
    count,
    hosts,
    key,
    lines,
    many,
)
from hostguard.diagnose.rule import Asked, Finding, Rule, Said

MIB = 1 << 20


def judge(each: Failed, _asked: Asked, _said: Said) -> Iterator[Finding]:
    by: dict[tuple[str, str], list[Kind]] = {}
    for kind in each.of(Reason.PAYLOAD):
        by.setdefault((kind.detail, kind.refused), []).append(kind)
    for (detail, refused), kinds in by.items():
        yield _finding(each, detail, refused, kinds)


def _finding(each: Failed, detail: str, refused: str, kinds: list[Kind]) -> Finding:
    up, number = each.up, many(count(kinds), "time")
    most = {"request": up.payload.request_max, "response": up.payload.response_max}
    if refused:
        seen = f"an answer of {hosts(kinds)} did not fit, {number}: {refused}"
        means = "the application got 502 and none of the answer: it is not what the provider's documentation says"
        mend = "ask the provider what it changed; then change the schema, or leave it out until you know"
        path = ("payload", "schema")
    elif detail.startswith("request"):
        seen = f"a request was longer than {_size(most['request'])}, {number}"
        means = "the application got 413, or a reset if it writes all before it reads; nothing was sent"
        mend, path = "send less at once, or raise the limit, and the memory with it", ("payload", "request_max")
    else:
        seen = f"an answer of {hosts(kinds)} was longer than {_size(most['response'])}, {number}"
        means = "the application got 500 and none of the answer"
        mend, path = "ask for less at once (a page of results), or raise the limit", ("payload", "response_max")
    return Finding(
        subject=up.name,
        seen=seen,
        where=lines(kinds, f"status {kinds[0].status}, {'`refused`' if refused else detail}"),
        means=means,
        mend=mend,
        key=key(up, *path),
        concerns=concerns(up),
    )


def _size(number: int) -> str:
    return f"{number / MIB:g} MiB" if number >= MIB else many(number, "byte")


RULE = Rule(
    id="gateway-payload",
    title="A body is refused",
    symptoms=("413", "502 x-hostguard-reason: payload", "500 response_payload_too_large", "request_payload_too_large"),
    article="Optimization and Hardening: payload validation",
    by_hand=r"""grep -E 'payload_too_large|"refused":"' /var/log/hostguard-gateway/access.log | tail""",
    means="A body beyond its limit never arrives, in either direction, and an answer that does not fit its JSON Schema "
    "does not either: a parser of the application's is not tried with what nobody agreed on.",
    mend="`payload.request_max`, `payload.response_max` and `payload.schema` are the limits. The log says where in the "
    "answer it did not fit, and never what stood there.",
    looks_at="bodies that the gateway refused, by its log",
    asks=asks_of_log,
    judges=by_provider(judge),
)
