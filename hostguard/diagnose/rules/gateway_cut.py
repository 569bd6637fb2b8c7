"""The provider fails by itself, and its address is cut for a while."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hostguard.controls.gateway.runtime import members
from hostguard.diagnose.gateway import (
    LONGEST_EJECTION,
    Failed,
    Kind,
    Reason,
    asks_of_log,
    by_provider,
    clock,
    concerns,
    count,
    counter,
    hosts,
    key,
    lines,
    many,
    seconds,
)
from hostguard.diagnose.rule import Asked, Finding, Rule, Said

CUT = "failed_outlier_check"
EJECTED = "outlier_detection.ejections_enforced_total"


def judge(each: Failed, _asked: Asked, said: Said) -> Iterator[Finding]:
    state = said["state"]
    addresses = _cut_now(state["members"])
    own = each.of(Reason.FAILS)
    left = each.of(Reason.NONE_LEFT)
    cut = [address for cluster in each.up.clusters for address in addresses.get(cluster, ())]
    mine = each.chief in (None, Reason.FAILS) and not _nowhere(each)
    if own and (count(own) > each.up.errors * each.total or (mine and (cut or left))):
        yield _fails(each, own, cut if mine else [], state)
    elif mine and cut:
        yield _fails(each, left, cut, state)


def _nowhere(each: Failed) -> bool:
    """Whether it has no address at all: then its name leads nowhere, and nothing is cut."""
    totals = [counted["membership_total"] for counted in each.counters.values() if "membership_total" in counted]
    return bool(totals) and not any(totals)


def _cut_now(text: str) -> dict[str, list[str]]:
    try:
        found = members(text)
    except ValueError:
        return {}
    return {
        name: [address for address, told in cluster.of.items() if CUT in told.get("health_flags", "")]
        for name, cluster in found.items()
    }


def _fails(each: Failed, found: tuple[Kind, ...], cut: list[str], state: Any) -> Finding:
    up = each.up
    statuses = ", ".join(str(status) for status in sorted({kind.status for kind in found if kind.status}))
    own = each.of(Reason.FAILS)
    what = f"{hosts(own)} answered {many(count(own), 'request')} with {statuses}" if own else f"{up.name} is cut"
    return Finding(
        subject=up.name,
        seen=f"{what}{each.more}{_until(each, cut, state['now'])}",
        where="; ".join(
            [
                *([lines(found, f"status {statuses}, flags - and UH")] if found else []),
                *([f"health_flags {CUT} of {', '.join(cut[:3])} at the admin's /clusters"] if cut else []),
                counter(up, EJECTED, each.counted(EJECTED)),
            ]
        ),
        means=f"after {up.consecutive_5xx} failures in a row an address gets no request for {seconds(up.ejection)}, "
        f"longer each "
        "time; meanwhile requests go to the next region, or are answered 503 at once",
        mend="see the provider's status page" + ("" if len(up.hosts) > 1 else "; a further region is `fallback`"),
        key=key(up, "outlier") if len(up.hosts) > 1 else key(up, "fallback"),
        unsure="" if own else "what it was cut for was not logged in this time",
        concerns=concerns(up),
    )


def _until(each: Failed, cut: list[str], now: float) -> str:
    """Until when. Envoy does not tell when it cut an address: after the last failure that reached it, that is."""
    own = each.of(Reason.FAILS)
    if not cut or not own:
        return f"; cut: {', '.join(cut[:3])}" if cut else ""
    since = max(kind.last for kind in own)
    times = max(1, each.counters.get(each.up.name, {}).get(EJECTED, 1))
    whole = min(each.up.ejection * times, max(LONGEST_EJECTION, each.up.ejection))
    end = since + whole
    left = f"for {end - now:.0f} s yet" if end > now else "any moment"
    return f"; {', '.join(cut[:3])} is cut since about {clock(since)}, until about {clock(end)} ({left})"


RULE = Rule(
    id="gateway-cut",
    title="The provider fails, and is cut",
    symptoms=(
        "503",
        "503 UH",
        "no_healthy_upstream",
        "no healthy upstream",
        "HostguardProviderCut",
        "HostguardOnSecondRegion",
        "HostguardProviderFails",
    ),
    article="Step 3: outlier detection",
    by_hand=r"""curl --unix-socket /run/hostguard-gateway/admin/admin.sock http://admin/clusters | grep health_flags
grep -c '"flags":"[A-Z,]*UH' /var/log/hostguard-gateway/access.log""",
    means="An address that fails so often in a row is cut (`outlier`): no request waits for it. Where no other is "
    "left, "
    "the gateway answers 503 with the flag UH by itself, in less than a millisecond. It comes back by itself, after a "
    "time that grows with each cut, to five minutes at most.",
    mend="`fallback` names further regions, which take over. `outlier.consecutive_5xx` and `outlier.ejection` are the "
    "numbers. Nothing heals an address by hand but a restart of the gateway.",
    looks_at="5xx of providers and flag UH in the gateway's log, health flags of their addresses",
    asks=asks_of_log,
    judges=by_provider(judge),
)
