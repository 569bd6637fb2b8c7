"""A request through the gateway, against one straight to the provider; nginx and HAProxy beside it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median

from tests.bench.figure import Curve, Unmeasured, in_turn, seconds, spread
from tests.bench.gateway import wrk
from tests.bench.gateway.programs import demand
from tests.bench.gateway.stage import (
    BY_HAPROXY,
    BY_NGINX,
    CHECKED,
    GATEWAY,
    PROXIES,
    STRAIGHT,
    Stage,
    answers,
    provider,
    stage,
    status,
    versions,
)
from tests.bench.namespace import alone
from tests.gateway.certificates import EXPIRED, WRONG_CA, WRONG_NAME
from tests.patience import until

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "11"))
SECONDS = 3
CONNECTIONS = (1, 64)
OURS, BASE = "the gateway", "straight to the provider"
URLS = {
    BASE: STRAIGHT,
    OURS: GATEWAY,
    "the same, answers checked by a JSON Schema": CHECKED,
    "nginx": BY_NGINX,
    "HAProxy": BY_HAPROXY,
}
Found = Mapping[str, Sequence[wrk.Heard]]
"""By contender, a measurement for each round."""

MEASURES: dict[str, tuple[Callable[[wrk.Heard], float], Callable[[float], str]]] = {
    "p50": (lambda heard: heard.p50, seconds),
    "p99": (lambda heard: heard.p99, seconds),
    "requests/s": (lambda heard: heard.rate, lambda rate: f"{rate:,.0f}"),
}


def measure() -> list[Curve]:
    """In a network namespace, on loopback, by wrk with one thread, on connections that are kept: GET of 1 KiB of JSON
    from an nginx behind TLS, straight, through the gateway (what hostguard compiles of a policy, Envoy started as its
    unit starts it), through nginx and through HAProxy. All three have two threads, take plain HTTP, keep connections
    to the provider, and were seen to refuse it with another name's certificate, another CA's and an expired one before
    anything was timed. The gateway logs what fails and one good request of 1,000, counts bytes, holds an answer back
    until it is whole, and would try again; the others log nothing. In turn, a few seconds each; a ratio is the median
    over the rounds of one measurement by another of the same round. wrk itself speaks TLS where it asks straight. It
    asks again as soon as it is answered, and so it, the proxy and the provider fill the cores at 64 connections."""
    demand()
    told = alone(__spec__.name, leaves=True, aloud=True)
    found = [Curve("On", ["what", "is"], told["versions"])]
    for connections, said in told["found"].items():
        heard = {name: [wrk.Heard(**each) for each in of] for name, of in said.items()}
        found += tables(int(connections), heard)
    return found


def tables(connections: int, found: Found) -> list[Curve]:
    title = f"{connections} connection{'s' if connections > 1 else ''}"
    columns = [cell for name in MEASURES for cell in (name, "by straight")]
    rows = [
        [name, *(cell for read, say in MEASURES.values()
                 for cell in (say(median(map(read, of))), ratio(read, of, found[BASE])))]
        for name, of in found.items()
    ]  # fmt: skip
    rivals = [name for name in ("nginx", "HAProxy") if name in found]
    beside = [
        [name, *(ratio(read, found[OURS], found[rival]) for rival in rivals)] for name, (read, _) in MEASURES.items()
    ]
    return [
        Curve(f"Through a proxy, {title}, medians of {len(found[BASE])}", ["", *columns], rows),
        Curve(f"The gateway, {title}", ["", *(f"by {rival}" for rival in rivals)], beside),
    ]


def ratio(read: Callable[[wrk.Heard], float], ours: Sequence[wrk.Heard], base: Sequence[wrk.Heard]) -> str:
    """With its quartiles."""
    ratios = [read(mine) / read(theirs) for mine, theirs in zip(ours, base, strict=True)]
    low, high = spread(ratios)
    return f"{median(ratios):.2f} ({low:.2f} – {high:.2f})" if ours is not base else "1"


def refuse(at: Stage) -> None:
    """Raises Unmeasured where a proxy hands a request to a provider that is none."""
    for certificate in (WRONG_NAME, WRONG_CA, EXPIRED):
        for name, (start, url) in PROXIES.items():
            with provider(at, certificate), start(at, None):
                until(lambda url=url: status(url) != 0, f"{name} answers")
                if (said := status(url)) < 500:
                    raise Unmeasured(f"{name} takes the certificate {certificate}: it answers {said}")


def main() -> None:
    with stage() as at:
        refuse(at)
        with ExitStack() as all_:
            all_.enter_context(provider(at))
            for start, _ in PROXIES.values():
                all_.enter_context(start(at, None))
            answers(*(url for url in URLS.values() if url != STRAIGHT))
            found = {}
            for connections in CONNECTIONS:
                print(f"bench: {connections} connections, {ROUNDS} rounds", file=sys.stderr, flush=True)
                times = in_turn(ROUNDS, *(partial(wrk.run, url, connections, SECONDS) for url in URLS.values()))
                found[connections] = {name: [vars(each) for each in of] for name, of in zip(URLS, times, strict=True)}
        json.dump({"versions": versions(), "found": found}, sys.stdout)


if __name__ == "__main__":
    main()
