"""The gateway sends to an address that the name no longer leads to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.controls.gateway import runtime
from hostguard.diagnose.gateway import asks_of_state, gateway, key, many
from hostguard.diagnose.rule import Asked, Finding, Rule, Said, Unread


def asks(asked: Asked) -> Mapping[str, Any] | str:
    g, state = gateway(asked), asks_of_state(asked)
    if g is None or isinstance(state, str):
        return state
    if not asked.probes:
        return "--no-probe: what the resolver says now is not known"
    # Asked before the proxy: an answer that comes between the two is the proxy's own, and newer.
    return {"lookups": runtime.asks_of_resolution(g)["lookups"], **state}


def judges(asked: Asked, said: Said) -> Iterator[Finding | Unread]:
    g, state, now = gateway(asked), said["state"], said["lookups"]
    if g is None or not state["running"]:
        return
    answered = {name: each for name, each in now.items() if each["addresses"]}
    asked_at = runtime.asked_at(state["members"])
    for up in g.upstreams:
        counted = [state["clusters"].get(name, {}) for name in up.clusters]
        failures, tries = (sum(each.get(name, 0) for each in counted) for name in ("update_failure", "update_attempt"))
        for host in up.hosts:
            if not answered.get(host):
                continue  # the host's own resolver has no answer either: another rule's fault
            for why in runtime.moved(asked_at, {host: answered[host]}):
                yield Finding(
                    subject=f"{up.name} ({host})",
                    seen=f"{why}; of {many(tries, 'question')} of the proxy's own, {failures} failed",
                    where=f"/clusters of the admin, against `getent ahosts {host}` as {g.account}; "
                    f"cluster.{up.name}.update_failure {failures}",
                    means="requests go to an address that may be nobody's, or another's: they fail, or wait until "
                    "they time out",
                    mend="the proxy asks the host's own resolver again when the answer's time is over: see whether "
                    "that "
                    "answers (`systemctl status hostguard-names`); `systemctl reload hostguard-gateway` asks at once",
                    key=key(up, "host" if host == up.hosts[0] else "fallback"),
                    unsure="" if failures else "the answer may have changed since, and its time is not over yet",
                    concerns=(up.name,),
                )


RULE = Rule(
    id="gateway-names",
    title="The gateway has an address that the name left",
    symptoms=("No Route to Host", "Connection Refused, now and then", "503 UH", "update_failure"),
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
