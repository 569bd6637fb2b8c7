"""The gateway sends to an address that the name no longer leads to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.controls.gateway import runtime
from hostguard.diagnose.gateway import asks_of_state, concerns, gateway, key, many
from hostguard.diagnose.rule import Asked, Finding, Rule, Said
from hostguard.policy.gateway import Gateway, Upstream


def asks(asked: Asked) -> Mapping[str, Any] | str:
    g, state = gateway(asked), asks_of_state(asked)
    if g is None or isinstance(state, str) or not asked.probes:
        return state
    # Asked before the proxy: an answer that comes between the two is the proxy's own, and newer.
    return {"lookups": runtime.asks_of_resolution(g)["lookups"], **state}


def judges(asked: Asked, said: Said) -> Iterator[Finding]:
    g, state = gateway(asked), said["state"]
    if g is None or not state["running"]:
        return
    known = runtime.asked_at(state["members"])
    for up in g.upstreams:
        for host in up.hosts:
            for why, unsure in _faults(host, known, said.get("lookups")):
                yield _finding(g, up, host, why, unsure, state)


def _faults(host: str, known: dict[str, list[set[str]]], now: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """What is wrong with the addresses that the proxy has of a name, and why that is only likely."""
    if now is None:  # nobody may be asked
        if host not in known:
            yield f"the proxy has no address of {host}", ""
    elif now[host]["addresses"]:  # else the host's own resolver has no answer either: another rule's fault
        for why in runtime.moved(known, {host: now[host]}):
            yield why, "the answer may have changed since, and its time is not over yet" if host in known else ""


def _finding(g: Gateway, up: Upstream, host: str, why: str, unsure: str, state: Mapping[str, Any]) -> Finding:
    counted = [state["clusters"].get(name, {}) for name in up.clusters]
    failures, tries = (sum(each.get(name, 0) for each in counted) for name in ("update_failure", "update_attempt"))
    return Finding(
        subject=f"{up.name} ({host})",
        seen=f"{why}; of {many(tries, 'question')} of the proxy's own, {failures} failed",
        where=f"/clusters of the admin, against `getent ahosts {host}` as {g.account}; "
        f"cluster.{up.name}.update_failure {failures}",
        means="requests go to an address that may be nobody's, or another's: they fail, or wait until they time out"
        if unsure
        else "nobody is left to ask: requests are answered 503 at once, with the flag UH",
        mend="the proxy asks the host's own resolver again when the answer's time is over: see whether that answers "
        "(`systemctl status hostguard-names`); `systemctl reload hostguard-gateway` asks at once",
        key=key(up, "host" if host == up.hosts[0] else "fallback"),
        unsure="" if failures else unsure,
        concerns=concerns(up),
    )


RULE = Rule(
    id="gateway-names",
    title="The gateway has an address that the name left",
    symptoms=("No route to host", "Connection refused, now and then", "503 UH", "update_failure"),
    article="Dependency Fault Lines: DNS TTL",
    by_hand=r"""curl --unix-socket /run/hostguard-gateway/admin/admin.sock http://admin/clusters | grep hostname
runuser -u envoy -- getent ahosts api.provider.com""",
    means="The gateway asks the host's own resolver again when an answer's time is over. SERVFAIL and silence leave it "
    "the addresses that it has; an answer without any takes them all.",
    mend="See that 127.0.0.83 answers, and the resolvers behind it (`egress.resolvers`). A reload of the gateway asks "
    "anew.",
    looks_at="addresses of the gateway, against what the resolver says now",
    asks=asks,
    judges=judges,
)
