"""TLS does not come about: a certificate that does not hold, one of ours that is refused, a version that is too old."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hostguard.diagnose import probes, shaken
from hostguard.diagnose.probes import Target
from hostguard.diagnose.rule import Asked, Fact, Finding, Rule, Said, Unread
from hostguard.diagnose.shaken import called, day
from hostguard.policy.document import Path

EXPIRED, NOT_YET, OTHER_NAME = 10, 9, 62
SELF_SIGNED = (18, 19)
NO_ISSUER = (2, 20, 21)
"""X509_V_ERR_* in openssl/x509_vfy.h."""
OURS_REFUSED = {42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
                45: "certificate_expired", 46: "certificate_unknown", 48: "unknown_ca", 49: "access_denied",
                116: "certificate_required"}  # fmt: skip
HANDSHAKE_FAILURE, PROTOCOL_VERSION, UNRECOGNIZED_NAME = 40, 70, 112
"""Alerts of RFC 8446, 6.2."""
NO_TLS = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "BAD_RECORD_TYPE")
TOO_OLD = ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "NO_PROTOCOLS_AVAILABLE", "WRONG_SSL_VERSION")
FAILS = "CERTIFICATE_VERIFY_FAILED: no program that verifies goes on"
THEIRS = "the provider must renew it: nothing on this host mends it, and to verify no more is no mend"


class Words(NamedTuple):
    """Of a finding. `key` None is that of the provider."""

    seen: str
    means: str
    mend: str
    key: Path | None = None
    unsure: str = ""


def asks(asked: Asked) -> Mapping[str, Any] | str:
    request = probes.handshakes(asked)
    if isinstance(request, str):
        return request
    if not any(each["tls"] for each in request["to"]):
        return "the policy has no provider with a name: of an address nobody knows which certificate is right"
    return {"probes": request}


def judges(asked: Asked, said: Said) -> Iterator[Finding | Unread | Fact]:
    for each in shaken.by_target(asked, said["probes"]):
        if isinstance(each, Unread):
            yield each
            continue
        target, seen = each
        if not target.tls or seen["stage"] in ("resolve", "connect"):
            continue
        if seen["stage"] == "files":
            yield Unread(f"{target.named}: a file of the policy's for TLS: {seen['error']}")
        elif words := _wrong(asked, target, seen, said["probes"]["at"]):
            yield _finding(target, seen, words)
        else:
            without = seen["asked"] and not target.certificate
            goes_on = ", and goes on without the client certificate that it asks for" if without else ""
            yield Fact(f"{target.named}: {seen['version']}{goes_on}")


def _finding(target: Target, seen: Mapping[str, Any], words: Words) -> Finding:
    code = f", alert {seen['alert']}" if seen["alert"] else f", verify error {seen['verify']}" if seen["verify"] else ""
    return Finding(
        subject=target.of,
        seen=f"{target.named}: {words.seen}",
        where=f"TLS handshake with {seen['address']}:{target.port}{code}",
        means=words.means,
        mend=words.mend,
        key=target.path if words.key is None else words.key,
        unsure=words.unsure,
        concerns=(target.of,),
    )


def _wrong(asked: Asked, target: Target, seen: Mapping[str, Any], at: int) -> Words | None:
    if seen["verify"]:
        return _unverified(asked, target, seen, at)
    if seen["stage"] == "":
        return _too_old(asked, seen["version"])
    alert = seen["alert"]
    if alert in OURS_REFUSED or (alert == HANDSHAKE_FAILURE and seen["asked"]):
        return _of_ours(target, alert)
    return _broken_off(target, alert, seen["error"])


def _too_old(asked: Asked, version: str) -> Words | None:
    own = asked.sizing.gateway
    if not own or own.tls.min != "1.3" or version == "TLSv1.3":
        return None
    return Words(
        f"{version}, and the policy wants 1.3",
        "the gateway refuses it: 503, flag UF",
        'set `tls.min: "1.2"`; or ask the provider for 1.3, which saves a round trip',
        ("gateway", "tls", "min"),
    )


def _broken_off(target: Target, alert: int, error: str) -> Words:
    """Without a word about a certificate."""
    if error in TOO_OLD or alert == PROTOCOL_VERSION:
        return Words(
            "no version of TLS in common",
            f"{error}: it speaks TLS 1.1 or older, which is broken, or nothing older than this host's OpenSSL knows",
            "ask the provider for TLS 1.2 or 1.3",
        )
    if error in NO_TLS:
        return Words(
            "it answers, and not in TLS",
            f"{error}: plain HTTP, or something else, listens on this port",
            "correct the port",
            (*target.path, "ports"),
        )
    if alert == UNRECOGNIZED_NAME:
        return Words(
            "it does not know this name (alert 112, unrecognized_name)",
            "its front serves other names at this address: the name is wrong, or leads to the wrong place",
            "correct the name",
            (*target.path, "hosts"),
        )
    if alert == HANDSHAKE_FAILURE:
        return Words(
            "it breaks off (alert 40, handshake_failure)",
            "no cipher, curve or signature in common",
            "compare `openssl s_client -connect` from another host; ask the provider",
        )
    how = f"alert {alert}" if alert else "silence" if error == "timeout" else error
    return Words(
        f"the handshake ends with {how}",
        "its front, or something on the way, breaks it off: it does not know this name, or does not want your address",
        "look from another network, and ask the provider",
    )


def _of_ours(target: Target, alert: int) -> Words:
    name = OURS_REFUSED.get(alert, "handshake_failure")
    key = ("gateway", "providers", target.of, "client_certificate")
    if target.certificate is None:
        return Words(
            f"it asks for a client certificate, and does not go on without (alert {alert}, {name})",
            "this provider wants mTLS: without a certificate no request is answered",
            "name the secret with the certificate and its key under `client_certificate`",
            key,
            "an application may show a certificate of its own, which was not tried",
        )
    return Words(
        f"it refuses our certificate {target.certificate} (alert {alert}, {name})",
        "the certificate is expired, revoked, or of an authority that the provider does not know",
        f"`openssl x509 -in {target.certificate} -noout -enddate -issuer` shows which; get a new one, or give the "
        "provider its authority",
        key,
    )


def _unverified(asked: Asked, target: Target, seen: Mapping[str, Any], at: int) -> Words:
    code, chain = seen["verify"], seen["chain"]
    if code == EXPIRED:
        return _expired(chain, at)
    if code == NOT_YET:
        new = next((f"{called(each)} begins on {day(each['begins'])}" for each in chain if each["begins"] > at), "")
        servers = asked.policy.egress.time_servers if asked.policy.egress else ()
        return Words(
            f"its certificate is not valid yet{new and f': {new}'}",
            f"{FAILS}. More often this host's clock is behind",
            "compare the clock (the rule `clock`); else the provider must send another certificate",
            ("egress", "time_servers") if servers else None,
        )
    if code == OTHER_NAME:
        names = ", ".join(chain[0]["names"][:5]) if chain and chain[0]["names"] else "no name"
        return Words(
            f"its certificate is for {names}",
            f"{FAILS}: another's certificate is what an attacker has too",
            "correct the name under `hosts`, as the provider writes it",
            (*target.path, "hosts"),
        )
    if code in (*NO_ISSUER, *SELF_SIGNED):
        return _unknown(target, code, chain)
    return Words(f"its certificate does not hold: {seen['error']}", FAILS, THEIRS)


def _expired(chain: Sequence[Mapping[str, Any]], at: int) -> Words:
    over = next((each for each in chain if each["ends"] <= at), None)
    if over is None:
        which, unsure = (
            "an authority that signed it ended",
            "all certificates that it sent are good: it is one of this host's",
        )
    else:
        whose = "its own" if over is chain[0] else f"an intermediate one, signed by `{over['issuer']}`"
        which, unsure = f"{called(over)} ({whose}) ended on {day(over['ends'])}", ""
    return Words(f"a certificate is not valid any more: {which}", FAILS, THEIRS, unsure=unsure)


def _unknown(target: Target, code: int, chain: Sequence[Mapping[str, Any]]) -> Words:
    """Nobody whom this host knows has signed it."""
    known, key = (target.ca, ("gateway", "ca")) if target.ca else ("this host's own list", None)
    if code in NO_ISSUER and len(chain) == 1:
        return Words(
            f"it sent one certificate, {called(chain[0])}, signed by `{chain[0]['issuer']}`, whom {known} has not",
            f"{FAILS}. An intermediate certificate is missing: browsers fetch it by themselves, programs do not",
            "the provider must send its whole chain; an authority of your own belongs into the file of `gateway.ca`",
            key,
            "an authority that signs providers itself, and is missing on this host, looks the same",
        )
    last = f"`{chain[-1]['issuer']}`" if chain else "somebody"
    return Words(
        f"it is signed by {last}, an authority that {known} has not",
        FAILS,
        "if it is the provider's own, put its certificate into the file of `gateway.ca`; if the provider does not know "
        "it, somebody is between you and the provider",
        key,
    )


RULE = Rule(
    id="tls",
    title="TLS with a provider fails",
    symptoms=("SSL: CERTIFICATE_VERIFY_FAILED", "certificate has expired", "unable to get local issuer certificate",
              "self-signed certificate in certificate chain", "Hostname mismatch", "alert bad certificate (42)",
              "sslv3 alert handshake failure", "tlsv13 alert certificate required", "wrong version number",
              "TLS_error", "x509: certificate signed by unknown authority"),
    article="TLS Handshake Fail, Alert 42; expiration of intermediate CA certificates; TLS 1.3",
    by_hand="""\
runuser -u envoy -- openssl s_client -connect api.provider.com:443 -servername api.provider.com \\
    -verify_hostname api.provider.com -showcerts </dev/null
runuser -u envoy -- openssl s_client -connect api.provider.com:443 -tls1_3 </dev/null    # does it speak 1.3?""",
    means="The rules let the policy's account out and nobody else, so the handshake is made as that account. "
    "`Verify return code` names what does not hold. Alerts 42 to 46, 48 and 116 come from the provider: they are about "
    "*our* certificate. A chain ends at an authority that this host knows; each certificate in between must be sent by "
    "the provider and be valid. TLS 1.3 takes one round trip less than 1.2.",
    mend="Expired, of another name, incomplete: the provider's to mend. An authority of your own: its certificate in "
    "the file of `gateway.ca`. Alert 42 and its kin: `gateway.providers.NAME.client_certificate`, and a certificate "
    "that the provider takes. To turn the verification off is no mend, and no key does it.",
    looks_at="one handshake with each provider that has a name, verified",
    asks=asks,
    judges=judges,
)  # fmt: skip
