"""Envoy's response flags in words: what became of a request that the gateway could not answer well (pure).

Of Envoy 1.40, https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage, for all that
show a line of the gateway's log.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Side = Literal["provider", "network", "gateway", "application"]


class Flag(NamedTuple):
    """`words` end a sentence that begins with the provider's name or the request; `side` is where to look first."""

    words: str
    side: Side


FLAGS = {
    "UC": Flag("the provider closed the connection under a request", "provider"),
    "UR": Flag("the provider reset the request", "provider"),
    "UF": Flag("no connection to the provider came about", "network"),
    "UT": Flag("the provider did not answer in time", "provider"),
    "UH": Flag("no address of the provider was left: all are cut, or its name leads nowhere", "provider"),
    "UO": Flag("the breaker was open: as much as the policy allows was under way", "gateway"),
    "UPE": Flag("the provider's answer was cut, or is no HTTP", "provider"),
    "UMSDR": Flag("the request took longer than a request may", "provider"),
    "URX": Flag("no try was left, or the breaker allowed no further one", "gateway"),
    "DC": Flag("the application closed its connection first", "application"),
    "DR": Flag("the application reset its request", "application"),
    "DPE": Flag("what the application sent is no HTTP", "application"),
    "IH": Flag("a header of the request was refused", "application"),
    "DT": Flag("the request or its connection took longer than it may", "gateway"),
    "SI": Flag("nothing moved for too long", "gateway"),
    "LR": Flag("the gateway closed the connection to the provider", "gateway"),
    "LH": Flag("the gateway's own health check failed", "gateway"),
    "OM": Flag("the gateway was short of memory or connections", "gateway"),
    "DO": Flag("the gateway dropped it: too much came at once", "gateway"),
    "UDO": Flag("the gateway drops all requests to this provider", "gateway"),
    "RL": Flag("the gateway's own rate limit held it", "gateway"),
    "RLSE": Flag("the gateway's rate limit service failed", "gateway"),
    "UAEX": Flag("the gateway's authorization service refused it", "gateway"),
    "NR": Flag("the gateway has no route for it", "gateway"),
    "NC": Flag("the gateway's route leads to no provider", "gateway"),
    "NFCF": Flag("the gateway lacks a filter's configuration", "gateway"),
    "DF": Flag("the provider's name could not be looked up", "network"),
    "DI": Flag("the gateway delayed it on purpose", "gateway"),
    "FI": Flag("the gateway failed it on purpose", "gateway"),
    "RFCF": Flag("the gateway's cache answered", "gateway"),
}
NONE = "-"


def flags(said: str) -> tuple[str, ...]:
    """Those of a field of the log: "URX,UF" has two, and "-" none."""
    return tuple(each for each in said.split(",") if each and each != NONE)


def words(said: str) -> str:
    """The field in words; a flag that a newer Envoy has keeps its name. "" where there is none."""
    return "; ".join(FLAGS[each].words if each in FLAGS else f"flag {each}" for each in flags(said))
