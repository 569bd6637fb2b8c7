"""A certificate ends within a month: the provider's, ours, or the authority's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.controls.gateway import certificates
from hostguard.controls.gateway.certificates import EARLY
from hostguard.diagnose.gateway import LOG, asks_of_log, asks_of_state, clock, gateway, key
from hostguard.diagnose.rule import Asked, Finding, Rule, Said
from hostguard.host.evidence.gateway import DAY
from hostguard.policy.gateway import UNIT


def asks(asked: Asked) -> Mapping[str, Any] | str:
    g, state = gateway(asked), asks_of_state(asked)
    if g is None or isinstance(state, str):
        return state
    providers = [up.name for up in g.upstreams]
    found = {**state, "authorities": {"collect": "authorities", "path": g.tls.ca}}
    if not isinstance(asks_of_log(asked), str):
        found["shown"] = {"collect": "certificate-ends", "path": LOG, "providers": providers}
    return found


def judges(asked: Asked, said: Said) -> Iterator[Finding]:
    g, state = gateway(asked), said["state"]
    if g is None or not state["running"]:
        return
    for up in g.upstreams:
        days = said.get("shown", {}).get(up.name)
        if days is not None and 0 <= days < EARLY:
            mend = "ask the provider whether it renews by itself; most do within the last month"
            where = f"{LOG}: `cert_ends` of its last line"
            whose = f"the certificate of {', '.join(up.hosts)}"
            yield _finding(whose, up.name, days, where, mend, key(up, "host"), state)
    for days, whose in certificates.own(g, state["certificates"]):
        if days < EARLY:
            mend = "renew it at whoever signs it, and store it: it is read anew by itself"
            users = [up for up in g.upstreams if up.client_certificate]
            of, path = (users[0].name, key(users[0], "client_certificate")) if users else ("", ())
            yield _finding(whose, of, days, "/certs of the admin", mend, path, state)
    for days, whose in certificates.authorities(g, said):
        if days < EARLY:
            mend = "update ca-certificates, or your own file: it is read anew when one is renamed into its place"
            yield _finding(whose, "", days, g.tls.ca, mend, ("gateway", "ca"), state)


def _finding(
    whose: str, of: str, days: int, where: str, mend: str, path: tuple[str, ...], state: Mapping[str, Any]
) -> Finding:
    ended = days < 0
    at = clock(state["now"] + days * DAY)[:10]
    return Finding(
        subject=of or "the gateway",
        seen=f"{whose} {'ended' if ended else 'ends'} {f'{-days} days ago' if ended else f'in {days} days'}, on {at}",
        where=where,
        means="no connection comes about from then on: each new one is refused, open ones live for an hour at most",
        mend=mend,
        key=path,
        concerns=(of, UNIT) if of else (),
    )


RULE = Rule(
    id="gateway-certificates",
    title="A certificate ends soon",
    symptoms=("CertificateEnds", "certificate will expire", "days_until_expiration"),
    article="Dependency Fault Lines: certificates",
    by_hand=r"""curl --unix-socket /run/hostguard-gateway/admin/admin.sock http://admin/certs
grep -o '"cert_ends":"[^"]*' /var/log/hostguard-gateway/access.log | tail -1""",
    means="The gateway has a client's certificate and a file of authorities, and sees the provider's certificate in "
    "each handshake. It does not tell of those between the provider's and its authority.",
    mend="`client_certificate` is a secret, and renewed as one. The authorities are the file `gateway.ca`. The "
    "provider's is the provider's.",
    looks_at=f"days of the provider's, the client's and the authorities' certificates, below {EARLY}",
    asks=asks,
    judges=judges,
)
