"""401: no key, a key that the provider refuses, or one that it does not take yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.controls.secrets.agent import note
from hostguard.diagnose.gateway import (
    INJECTED,
    Failed,
    Kind,
    Reason,
    asks_of_log,
    by_provider,
    clock,
    concerns,
    count,
    counter,
    gateway,
    hosts,
    key,
    lines,
    many,
)
from hostguard.diagnose.rule import Asked, Finding, Rule, Said
from hostguard.policy import keys
from hostguard.policy.gateway import OAuth
from hostguard.policy.keys import UNIT

A_LINE_END = 2
"""Bytes that are no key."""
TOKEN = ("upstream_rq_completed", "upstream_cx_connect_fail", "ssl.fail_verify_error", "ssl.fail_verify_san")
WORDS = {
    "invalid role or secret ID": "it can't log in: its role ID or secret ID is not valid (any more)",
    "permission denied": "it may not read the secret, or its login was revoked",
    "Vault is sealed": "its server is sealed",
    "connection refused": "its server refuses connections",
    "no such host": "it can't look its server up",
    "deadline exceeded": "its server does not answer",
    "x509: ": "it does not accept its server's certificate",
}
"""Of the agent's journal (OpenBao 2.7), and what they mean."""


def asks(asked: Asked) -> Mapping[str, Any] | str:
    found = asks_of_log(asked)
    if isinstance(found, str):
        return found
    paths = [*_files(asked), *_notes(asked).values()]
    if not paths:
        return "no provider behind the gateway has a credential"
    files = {"files": {"collect": "secret-files", "paths": list(dict.fromkeys(paths))}}
    if not _notes(asked):
        return {**found, **files}
    words = {"collect": "unit-words", "unit": UNIT, "seconds": asked.since, "words": list(WORDS)}
    return {**found, **files, "words": words}


def _files(asked: Asked) -> Iterator[str]:
    g = gateway(asked)
    for up in g.upstreams if g else ():
        if up.credential:
            place = up.credential.place
            yield from (path for path in (place.new, place.old if up.credential.has_old else None) if path)


def _notes(asked: Asked) -> dict[str, str]:
    """What the agent writes at each poll, by the secret's name."""
    agent = keys.derive(asked.policy)
    return {secret.place.name: note(agent, secret) for secret in agent.secrets} if agent else {}


def judge(each: Failed, asked: Asked, said: Said) -> Iterator[Finding]:
    # A file that the host does not tell of was not seen.
    said = {**said, "files": {path: said["files"][path] for path in (*_of(each), *_notes(asked).values())}}
    missing, refused = each.of(Reason.KEY), each.of(Reason.KEY_REFUSED)
    if missing:
        yield _missing(asked, each, missing, said)
    if refused:
        yield _refused(asked, each, refused, said)
    old = [kind for kind in each.of(Reason.WELL, Reason.SLOW) if kind.cluster == f"{each.up.name}-old"]
    if old and not refused and each.counters.get(each.up.name, {}).get("retry.upstream_rq_401"):
        yield _old(asked, each, old, said)


def _no_token(each: Failed, oauth: OAuth, found: tuple[Kind, ...], said: Said) -> Finding:
    """Envoy logs no request for a token: only counters of the token server's cluster tell of them."""
    name = each.up.token_cluster
    counted = said["state"]["clusters"].get(name, {})
    told = [f"{what} {counted[what]}" for what in TOKEN if counted.get(what)]
    return Finding(
        subject=f"{each.up.name} ({oauth.host})",
        seen=f"{many(count(found), 'request')} had no token of {oauth.host}",
        where=f"{lines(found, INJECTED)}; cluster.{name} at the admin's /stats: {', '.join(told) or 'nothing counted'}",
        means="nothing was sent: the gateway answered 503 by itself, and asks for a token each second",
        mend=f"ask {oauth.host} by hand with this client ID: its answer says whether the secret is refused",
        key=key(each.up, "credential", "oauth2"),
        concerns=concerns(each.up),
    )


def _missing(asked: Asked, each: Failed, found: tuple[Kind, ...], said: Said) -> Finding:
    if each.up.credential and each.up.credential.oauth:
        return _no_token(each, each.up.credential.oauth, found, said)
    states = [f"{path} {fault}" for path in _of(each) if (fault := _fault(said["files"].get(path)))]
    return Finding(
        subject=each.up.name,
        seen=f"{many(count(found), 'request')} found no key; {', '.join(states) or 'each file has one by now'}",
        where=f"{lines(found, INJECTED)}; "
        f"{counter(each.up, 'credential_injector.failed', each.counted('credential_injector.failed'))}",
        means="nothing was sent: the gateway answered 503 by itself. It reads a file anew when one is renamed into its "
        "place, within a second",
        mend=_mend_agent(asked, each, said),
        key=_secret(asked, each),
        concerns=concerns(each.up),
    )


def _of(each: Failed) -> list[str]:
    credential = each.up.credential
    if credential is None:
        return []
    return [path for path in (credential.place.new, credential.place.old if credential.has_old else None) if path]


def _fault(seen: Mapping[str, Any] | None) -> str:
    if seen is None:
        return "is not there"
    return "is empty" if seen["size"] <= A_LINE_END else ""


def _refused(asked: Asked, each: Failed, found: tuple[Kind, ...], said: Said) -> Finding:
    up = each.up
    both = any(kind.cluster == f"{up.name}-old" for kind in found)
    which = "the new key and the old one" if both else "the key, and there is no old one to try"
    return Finding(
        subject=up.name,
        seen=f"{hosts(found)} refused {which}: {many(count(found), 'request')} answered 401; {_ages(each, said)}",
        where=lines(found, "status 401, via_upstream"),
        means="the provider knows neither: it was revoked there, or is another account's. Trying again changes nothing",
        mend=f"make a new key at the provider and store it; {_mend_agent(asked, each, said)}",
        key=_secret(asked, each),
        concerns=concerns(up),
    )


def _old(asked: Asked, each: Failed, found: list[Kind], said: Said) -> Finding:
    up = each.up
    refused = each.counters[up.name]["retry.upstream_rq_401"]
    return Finding(
        subject=up.name,
        seen=f"{many(count(found), 'request')} went well with the old key alone; {_ages(each, said)}",
        where=f"{lines(found, f'cluster {up.name}-old')}; {counter(up, 'retry.upstream_rq_401', refused)}",
        means="the provider does not take the new key: each request is sent twice, and all fail once the old one ends",
        mend="put the new key in force at the provider, or store the right one",
        key=_secret(asked, each),
        concerns=concerns(up),
    )


def _ages(each: Failed, said: Said) -> str:
    there = ((path, said["files"].get(path)) for path in _of(each))
    return ", ".join(f"{path} is {_age(seen['age'])} old" for path, seen in there if seen)


def _age(number: int) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if number >= size:
            return many(number // size, unit)
    return f"{number} s"


def _mend_agent(asked: Asked, each: Failed, said: Said) -> str:
    credential = each.up.credential
    path = _notes(asked).get(credential.place.name if credential else "")
    if path is None:
        return "whoever writes these files must rename a whole one into its place"
    seen = said["files"].get(path)
    fetched = f"fetched it {_age(seen['age'])} ago" if seen else "never fetched it since this boot"
    told = [f"{WORDS[word]} ({many(lines, 'time')}, last at {clock(at)})" for word, (lines, at) in _last(said["words"])]
    return f"the agent {fetched}: " + (", ".join(told) or f"`journalctl --unit={UNIT}` says what it does")


def _last(words: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Those that are known, the last that was said first."""
    return sorted(((word, said) for word, said in words.items() if word in WORDS), key=lambda each: -each[1][1])


def _secret(asked: Asked, each: Failed) -> tuple[str, ...]:
    credential = each.up.credential
    if credential and credential.place.name in _notes(asked):
        return ("secrets", "agent", "secrets", credential.place.name)
    return key(each.up, "credential")


RULE = Rule(
    id="gateway-keys",
    title="The provider refuses the key, or there is none",
    symptoms=(
        "401",
        "Unauthorized",
        "invalid API key",
        "503 failed_to_inject_credential",
        "HostguardKeyRefused",
        "HostguardKeyMissing",
        "HostguardOldKeyInUse",
    ),
    article="Key rotation",
    by_hand=r"""grep -E '"status":401|failed_to_inject' /var/log/hostguard-gateway/access.log | tail
ls -l --full-time /run/secrets/*/
journalctl --unit=hostguard-agent""",
    means="The gateway adds the key, and tries the old one where the new one is answered 401. A 401 that reaches an "
    "application was the answer to both. Where there is no key, nothing is sent, and the answer is the gateway's own "
    "503: a 401 of its own would be taken for the provider's.",
    mend="[Secrets](secrets.md) has the rotation in ten lines. Store the new key while the provider still takes the "
    "old one; the agent fetches it within one `poll`.",
    looks_at="401 and missing keys in the gateway's log, sizes and ages of the keys' files (none is opened)",
    asks=asks,
    judges=by_provider(judge),
)
