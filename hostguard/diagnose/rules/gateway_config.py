"""The running gateway has refused its providers' file: it goes on with what it had."""

from __future__ import annotations

from collections.abc import Iterator

from hostguard.diagnose.gateway import asks_of_state, concerns, gateway, many
from hostguard.diagnose.rule import Asked, Finding, Rule, Said
from hostguard.policy.gateway import UNIT, XDS

COUNTERS = {"cds": "cluster_manager.cds", "lds": "listener_manager.lds"}


def judges(asked: Asked, said: Said) -> Iterator[Finding]:
    state, g = said["state"], gateway(asked)
    for name, (running, file) in sorted(state["versions"].items()):
        if not state["running"] or running == file:
            continue
        own = {what: state["own"].get(f"{COUNTERS[name]}.{what}", 0) for what in ("update_rejected", "update_failure")}
        path = f"{XDS}/{name}.json"
        if own["update_rejected"] or own["update_failure"]:
            refused = f"{many(own['update_rejected'], 'time')} for what it says, {own['update_failure']} as no JSON"
            why = f"files were refused since the start, {refused}"
        else:
            why = "nothing was refused: it was edited in place, and Envoy notices a rename alone"
        yield Finding(
            subject="the gateway",
            seen=f"what runs is {running[:12] or 'nothing'}, and {path} is {file[:12] or 'no file that can be read'}",
            where=f"{path} (version_info); {COUNTERS[name]}.update_rejected {own['update_rejected']}, "
            f".update_failure {own['update_failure']} at the admin's /stats",
            means=f"{why}; applications are served by the providers and limits of before",
            mend=f"run `hostguard apply`: it asks the proxy itself before it writes. `journalctl --unit={UNIT}` has "
            f"why",
            key=("gateway", "providers"),
            concerns=concerns(*g.upstreams) if g else (),
        )


RULE = Rule(
    id="gateway-config",
    title="The gateway goes on with an older configuration",
    symptoms=("a change has no effect", "update_rejected", "HostguardConfigRefused"),
    article="",
    by_hand="""\
grep version_info /etc/hostguard/gateway/xds/?ds.json
curl --unix-socket /run/hostguard-gateway/admin/admin.sock 'http://admin/stats?filter=[cl]ds.(version_text|update_)'""",
    means="Envoy reads its clusters (`cds.json`) and listeners (`lds.json`) anew when a file is renamed into their "
    "folder. What it can't use it refuses whole, goes on with what it had, and tells nobody but its counters and its "
    "own log. It does not look again by itself.",
    mend="`hostguard apply` writes both files anew, in the order in which Envoy takes them, waits until they are in "
    "force, and goes back if they are not. Never edit them by hand.",
    looks_at="the version that runs, against that of its files",
    asks=asks_of_state,
    judges=judges,
)
