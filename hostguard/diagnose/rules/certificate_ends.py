"""A certificate ends soon: a provider's, one of its authorities', or one in a file of the policy's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.diagnose import probes, shaken
from hostguard.diagnose.rule import Asked, Fact, Finding, Rule, Said, Unread
from hostguard.diagnose.shaken import DAY, called, day
from hostguard.policy import keys

SOON = 30
"""Days."""
OWN_LIST = 20
"""A file with more authorities is a distribution's: it holds old ones for good reasons, and renews them itself."""
NOW = "now"


def asks(asked: Asked) -> Mapping[str, Any] | str:
    request = probes.handshakes(asked)
    paths = sorted(_files(asked))
    if isinstance(request, str) and not paths:
        return request
    of_probes = {} if isinstance(request, str) else {"probes": request}
    return {**of_probes, **({"files": {"collect": "certificates", "paths": paths}} if paths else {})}


def judges(asked: Asked, said: Said) -> Iterator[Finding | Unread | Fact]:
    if "probes" in said:
        yield from _of_providers(asked, said["probes"])
    if "files" in said:
        yield from _of_files(asked, said["files"])


def _of_providers(asked: Asked, said: Mapping[str, Any]) -> Iterator[Finding | Unread | Fact]:
    at = said["at"]
    for each in shaken.by_target(asked, said):
        if isinstance(each, Unread):
            yield each
            continue
        target, seen = each
        if not seen["chain"] or seen["verify"]:
            continue  # what does not hold at all is another rule's
        first = min(seen["chain"], key=lambda certificate: certificate["ends"])
        days = (first["ends"] - at) // DAY
        if days >= SOON:
            yield Fact(f"{target.named}: the first of its certificates ends on {day(first['ends'])}")
            continue
        whose = "its own" if first is seen["chain"][0] else f"an authority's, signed by `{first['issuer']}`"
        yield Finding(
            subject=target.of,
            seen=f"{target.named}: {called(first)} ({whose}) ends on {day(first['ends'])}, in {days} days",
            where=f"chain that {seen['address']}:{target.port} sent",
            means="from that second on every handshake fails with CERTIFICATE_VERIFY_FAILED, on all hosts at once",
            mend="the provider must renew it: ask now, since many do so only days before",
            key=target.path,
            concerns=(target.of,),
        )


def _of_files(asked: Asked, said: Mapping[str, Any]) -> Iterator[Finding | Unread | Fact]:
    for path, (key, what, concerns) in _files(asked).items():
        file = said[path]
        if file is None:
            yield Unread(f"{path}: there is no such file")
        elif file["error"]:
            yield Unread(file["error"])
        elif file["all"] > OWN_LIST:
            yield Fact(f"{path}: a list of {file['all']} authorities, which its distribution renews")
        else:
            soon = [each for each in file["first"] if each["days"] < SOON]
            if file["first"] and not soon:
                yield Fact(f"{path}: the first certificate ends on {day(file['first'][0]['ends'])}")
            for each in soon:
                over = each["days"] < 0
                yield Finding(
                    subject=path,
                    seen=f"{called(each)} {'ended' if over else 'ends'} on {day(each['ends'])}"
                    + ("" if over else f", in {each['days']} days"),
                    where=path,
                    means=what,
                    mend="put a new one beside it, and rename it into place; what reads the file takes it then",
                    key=key,
                    concerns=concerns,
                )


def _files(asked: Asked) -> dict[str, tuple[tuple[str | int, ...], str, tuple[str, ...]]]:
    """Each file with certificates that the policy names: the key, what fails without it, and which providers' it is."""
    own, secrets = asked.sizing.gateway, asked.policy.secrets
    found: dict[str, tuple[tuple[str | int, ...], str, tuple[str, ...]]] = {}
    if own:
        means = "of it no provider is verified any more that it signs: 503 for all of its requests"
        found[own.tls.ca] = ("gateway", "ca"), means, ()
    agent = secrets.agent if secrets else None
    if agent and agent.ca:
        means = "the agent does not log in to its server any more, and the last secrets stay as they are"
        found[agent.ca] = ("secrets", "agent", "ca"), means, ()
    if agent and agent.auth.certificate:
        means = "the agent does not log in any more, and the last secrets stay as they are"
        found[agent.auth.certificate] = ("secrets", "agent", "auth", "certificate"), means, ()
    for name, place in keys.places(secrets).items():
        if place.certificate:
            users = tuple(up.name for up in own.upstreams if up.client_certificate == place) if own else ()
            section = "agent" if agent and name in agent.secrets else "files"
            path = ("secrets", "agent", "secrets", name) if section == "agent" else ("secrets", "files", name)
            means = "the provider refuses the handshake: alert 45, certificate_expired, or 42"
            found[place.certificate] = path, means, users
    return {path: each for path, each in found.items() if asked.is_about(*each[2])}


RULE = Rule(
    id="certificate-ends",
    title="A certificate ends soon",
    symptoms=("certificate has expired", "certificate expired (alert 45)", "CERTIFICATE_VERIFY_FAILED"),
    article="expiration of intermediate CA certificates",
    by_hand="""\
runuser -u envoy -- openssl s_client -connect api.provider.com:443 -servername api.provider.com -showcerts </dev/null |
    openssl storeutl -noout -text -certs /dev/stdin | grep -E 'Subject:|Not After'
openssl x509 -in /run/secrets/payments/certificate -noout -subject -enddate""",
    means="A chain is as good as the certificate in it that ends first, and that may be an authority's: nobody looks "
    "at those, and they end for all providers of that authority at once.",
    mend="A provider's: ask it. Your own client certificate: a new one through `secrets.agent`, or renamed into place; "
    "the gateway takes it at the next connection. An authority's in the file of `gateway.ca`: add the new one, take "
    "the old one out once all providers have changed.",
    looks_at=f"the end of every certificate that providers send, and of those in the policy's files, {SOON} days ahead",
    asks=asks,
    judges=judges,
)  # fmt: skip
