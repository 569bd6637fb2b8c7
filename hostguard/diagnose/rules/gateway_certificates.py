"""A certificate that the gateway knows of ends within a month: one that it still has, or the provider's, by its log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.controls.gateway import certificates
from hostguard.controls.gateway.certificates import EARLY
from hostguard.diagnose.gateway import asks_of_log, asks_of_state, clock, concerns, gateway, key
from hostguard.diagnose.rule import Asked, Finding, Rule, Said
from hostguard.host.evidence.gateway import DAY
from hostguard.policy.gateway import LOG, Gateway, Upstream


def asks(asked: Asked) -> Mapping[str, Any] | str:
    g, state = gateway(asked), asks_of_state(asked)
    if g is None or isinstance(state, str):
        return state
    found, paths = {**state}, sorted(_files(g))
    if paths:
        found["certificates"] = {"collect": "certificates", "paths": paths}
    if not asked.probes and not isinstance(asks_of_log(asked), str):
        providers = [up.name for up in g.upstreams]
        found["shown"] = {"collect": "certificate-ends", "path": LOG, "providers": providers}
    return found if len(found) > 1 else "no client certificate, and a probe sees the providers' own: certificate-ends"


def _files(g: Gateway) -> dict[str, list[Upstream]]:
    """The files of client certificates, and who is shown them."""
    found: dict[str, list[Upstream]] = {}
    for up in g.upstreams:
        if up.client_certificate and up.client_certificate.certificate:
            found.setdefault(up.client_certificate.certificate, []).append(up)
    return found


def judges(asked: Asked, said: Said) -> Iterator[Finding]:
    g, state = gateway(asked), said["state"]
    if g is None or not state["running"]:
        return
    for up in g.upstreams:
        days = said.get("shown", {}).get(up.name)
        if days is not None and 0 <= days < EARLY:  # one that has ended fails its handshakes: another rule's fault
            yield Finding(
                subject=up.name,
                seen=f"the certificate that {up.hosts[0]} showed last {_ends(days, state)}",
                where=f"{LOG}: `cert_ends` of its last line",
                means="each new connection is refused from then on, and open ones live for an hour at most",
                mend="ask the provider whether it renews by itself; most do within the last month",
                key=key(up, "host"),
                concerns=concerns(up),
            )
    yield from _kept(g, said, state)


def _kept(g: Gateway, said: Said, state: Mapping[str, Any]) -> Iterator[Finding]:
    """What the proxy still has while its file is another one by now. Of a file that ends itself another rule tells."""
    files = {path: said["certificates"][path] for path in _files(g)}
    if any(file is None or file["error"] or _first(file) < EARLY for file in files.values()):
        return
    users = [up for some in _files(g).values() for up in some]
    for days, whose in certificates.own(g, state["certificates"]):
        if files and days < EARLY:
            yield Finding(
                subject="the gateway",
                seen=f"{whose} that it has {_ends(days, state)}, and its file is good for "
                f"{min(map(_first, files.values()))} "
                "days",
                where=f"/certs of the admin, against {', '.join(files)}",
                means="it reads a file anew when one is renamed into its folder, and this one was written in another "
                "way: "
                "the provider will refuse the old one",
                mend="`systemctl reload hostguard-gateway` reads it now; from then on rename new files into place",
                key=key(users[0], "client_certificate"),
                concerns=concerns(*users),
            )


def _first(file: Mapping[str, Any]) -> int:
    """Days until the first certificate of a file ends."""
    return min((each["days"] for each in file["first"]), default=-1)


def _ends(days: int, state: Mapping[str, Any]) -> str:
    on = clock(state["now"] + days * DAY)[:10]
    return f"ended {-days} days ago, on {on}" if days < 0 else f"ends in {days} days, on {on}"


RULE = Rule(
    id="gateway-certificates",
    title="The gateway has a certificate that ends",
    symptoms=("HostguardCertificateEnds", "HostguardCertificateEndsThisWeek", "days_until_expiration"),
    article="Dependency Fault Lines: certificates",
    by_hand=r"""curl --unix-socket /run/hostguard-gateway/admin/admin.sock http://admin/certs
grep -o '"cert_ends":"[^"]*' /var/log/hostguard-gateway/access.log | tail -1""",
    means="The gateway reads a client's certificate when a file is renamed into its place, and goes on with the old "
    "one "
    "where it is written there in another way. The provider's certificate it sees in each handshake: without a probe "
    "its "
    "log is what tells of it.",
    mend="Rename a whole file into place, as the agent does. The provider's is the provider's to renew.",
    looks_at=f"days of the client certificate that runs, below {EARLY}; without a probe, the provider's by the log",
    asks=asks,
    judges=judges,
)
