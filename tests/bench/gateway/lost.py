"""Requests that are lost while the gateway's routes change, and while one Envoy takes over from another."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hostguard.controls.gateway import envoy
from hostguard.controls.gateway.envoy.tree import as_json
from hostguard.host.kinds import xds
from hostguard.host.resource import Resource
from tests.bench.figure import Curve, Unmeasured
from tests.bench.gateway import wrk
from tests.bench.gateway.programs import demand
from tests.bench.gateway.stage import CHECKED, GATEWAY, Overlay, Stage, answers, gateway, provider, stage, takes_over
from tests.bench.namespace import alone
from tests.gateway import minimal

CHANGES = int(os.environ.get("BENCH_CHANGES", "200"))
HANDOVERS = int(os.environ.get("BENCH_HANDOVERS", "20"))
KEPT, ANEW = 8, 1
"""Connections of wrk's that are kept, and those that are each opened for one request."""


def refined(**of_payments: Any) -> Overlay:
    return {"gateway": {"providers": {"payments": of_payments}}}


THIRD = {
    "egress": {"providers": {"letters": {"hosts": ["letters.provider.test"]}}},
    "gateway": {"providers": {"letters": {"users": ["shop"], "listen": 86, "load": {"peak_rps": 10, "p99": "1s"}}}},
}
STATES: tuple[Overlay, ...] = (
    refined(timeouts={"total": "5s"}),
    refined(breaker={"pending": 900}, outlier={"consecutive_5xx": 4}),
    THIRD,
    {},
)
"""One after another: a listener changes, a cluster and a listener, a provider comes, and it goes again."""


def measure() -> list[Curve]:
    """In a network namespace, under load: wrk on eight connections that are kept and on one for each request, GET and
    POST in turn, over the port, and requests over the Unix socket, half of them on connections that are kept. Of the
    provider that they ask a time-out changes, then its breaker, then another provider comes, and goes again, written
    by the code of a host's apply; then one Envoy takes over from another, started as the unit's reload starts it, with
    a drain of 1 s. A request is lost where its connection fails or is cut, or its answer is no 2xx."""
    demand()
    told = alone(__spec__.name, leaves=True, aloud=True)
    columns = ["under load", "times", "each takes", "requests", "lost", "wanted"]
    return [Curve("Requests that were lost", columns, [row(name, **of) for name, of in told.items()])]


def row(name: str, times: int, seconds: float, requests: int, lost: Mapping[str, int]) -> list[str]:
    count = sum(lost.values())
    how = ", ".join(f"{number} {what}" for what, number in lost.items() if number)
    each = f"{seconds / times:.2f} s"
    return [
        name,
        f"{times}",
        each,
        f"{requests:,}",
        f"{count}{f': {how}' if how else ''}",
        f"0{', missed' if count else ''}",
    ]


@contextmanager
def load(at: Stage) -> Iterator[dict[str, Any]]:
    """On all ways to the provider, and at the end what came of it."""
    found: dict[str, Any] = {}
    with (
        minimal.load([at.places.socket("payments")]) as over_socket,
        wrk.load(GATEWAY, KEPT) as kept,
        wrk.load(GATEWAY, ANEW, anew=True) as anew,
    ):
        time.sleep(1)
        began = time.monotonic()
        yield found
        found["seconds"] = time.monotonic() - began
        time.sleep(1)
    lost = {
        f"{way}: {what}": count for way, of in (("kept", kept), ("anew", anew)) for what, count in of[0].errors.items()
    }
    lost |= {f"socket: {what}": count for what, count in over_socket.items() if what != "200"}
    found |= {"requests": kept[0].requests + anew[0].requests + over_socket.total(), "lost": lost}


def under_load(at: Stage, times: int, change: Callable[[int], object]) -> dict[str, Any]:
    with load(at) as found:
        for number in range(times):
            change(number)
    return {"times": times, **found}


def routes(at: Stage, overlay: Overlay) -> Resource:
    g, places = at.gateway(overlay), at.places
    texts = {"clusters": as_json(envoy.clusters(g, places)), "listeners": as_json(envoy.listeners(g, places))}
    return xds.resource("gateway.routes", places.xds, places.admin, str(os.getuid()), int(g.drain), **texts)


def main() -> None:
    with stage() as at, provider(at), gateway(at):
        answers(GATEWAY, CHECKED)
        states = [routes(at, overlay) for overlay in STATES]

        def change(number: int) -> None:
            resource = states[number % len(states)]
            xds.write([resource], {})
            if found := xds.differ(resource, xds.read([resource])[resource["id"]]):
                raise Unmeasured(f"after the change {number} the gateway has not what was written: {found}")

        found = {}
        print(f"bench: {CHANGES} changes of routes", file=sys.stderr, flush=True)
        found["routes change"] = under_load(at, CHANGES, change)
        print(f"bench: {HANDOVERS} handovers", file=sys.stderr, flush=True)
        found["an Envoy takes over"] = under_load(at, HANDOVERS, lambda _: takes_over(at, at.gateway()))
        json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
