"""Every case, a file a layer."""

from __future__ import annotations

from hostguard.attack.case import Case
from hostguard.attack.cases import answers, crafted, forwarded, frames, gateway, icmp, limits, requests, sockets

CASES: tuple[Case, ...] = (
    *sockets.CASES,
    *icmp.CASES,
    *crafted.CASES,
    *frames.CASES,
    *forwarded.CASES,
    *answers.CASES,
    *gateway.CASES,
    *requests.CASES,
)
LIMITS = limits.LIMITS
