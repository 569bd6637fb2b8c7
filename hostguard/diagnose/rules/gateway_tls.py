"""No connection by TLS: which certificate of the chain, or which alert of the provider's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from hostguard.diagnose.gateway import (
    Failed,
    Kind,
    Reason,
    asks_of_log,
    by_provider,
    concerns,
    count,
    counter,
    key,
    lines,
    many,
)
from hostguard.diagnose.rule import Asked, Finding, Rule, Said
from hostguard.policy.gateway import Gateway

DEPTH = re.compile(r"verification_error_at_depth_(\d{1,2}):")
NAMES = re.compile(r"SANs_are_\[([^\]]{0,200})")
ALERTS = {
    "BAD_CERTIFICATE": "42: it is no good",
    "UNSUPPORTED_CERTIFICATE": "43: it is of a kind that it does not take",
    "CERTIFICATE_REVOKED": "44: it was revoked",
    "CERTIFICATE_EXPIRED": "45: it has ended",
    "CERTIFICATE_UNKNOWN": "46: it does not know it",
    "UNKNOWN_CA": "48: it does not know who signed it",
    "CERTIFICATE_REQUIRED": "116: it wants one",
}
"""What a server says of a client's certificate, by BoringSSL's names (RFC 8446, 6.2)."""


class Words(NamedTuple):
    """`key` is below the provider's own, or a whole path that begins with "gateway"."""

    seen: str
    mend: str
    key: tuple[str, ...] = ()
    unsure: str = ""


def judge(each: Failed, _asked: Asked, _said: Said) -> Iterator[Finding]:
    by: dict[tuple[str, Words], list[Kind]] = {}
    for kind in each.of(Reason.TLS):
        by.setdefault((kind.host, words(each, kind)), []).append(kind)
    for (host, found), kinds in by.items():
        yield _finding(each, host, found, kinds)


def _finding(each: Failed, host: str, found: Words, kinds: list[Kind]) -> Finding:
    checks = ("ssl.fail_verify_error", "ssl.fail_verify_san", "ssl.connection_error")
    counted = [counter(each.up, name, number) for name in checks if (number := each.counted(name))]
    return Finding(
        subject=f"{each.up.name} ({host})",
        seen=f"{many(count(kinds), 'request')} came to no connection: {found.seen}{each.more}",
        where="; ".join([lines(kinds, _logged(kinds[0])), *counted]),
        means="nothing was sent, the application got 503, and trying again changes nothing",
        mend=found.mend,
        key=found.key if found.key[:1] == ("gateway",) else key(each.up, *found.key),
        unsure=found.unsure,
        concerns=concerns(each.up),
    )


def _logged(kind: Kind) -> str:
    """Of Envoy's words, those behind the ones that each failure has."""
    return f"`failure` {kind.failure.rpartition('OPENSSL_internal:')[2]}" if kind.failure else "flag UC, `failure` null"


def words(each: Failed, kind: Kind) -> Words:
    failure = kind.failure
    if not failure:
        return _client(each, "it closed the connection after the handshake, which is how TLS 1.3 refuses one",
                       "Envoy does not log the alert that came")  # fmt: skip
    if "CERTIFICATE_VERIFY_FAILED" in failure:
        return _of_chain(each.g, failure)
    alert = re.search(r"ALERT_([A-Z_]+)", failure)
    if alert and alert[1] in ALERTS:
        return _client(each, f"alert {ALERTS[alert[1]]}")
    if alert and alert[1] == "HANDSHAKE_FAILURE":
        return _no_agreement(each)
    if "PROTOCOL_VERSION" in failure or "UNSUPPORTED_PROTOCOL" in failure:
        return Words(
            f"it speaks no TLS between {each.g.tls.min} and {each.g.tls.max} (alert 70)",
            "ask the provider for TLS 1.2 at least: older ones are broken, and no policy can allow them",
            ("gateway", "tls", "min"),
        )
    if "WRONG_VERSION_NUMBER" in failure or "HTTP_REQUEST" in failure:
        return Words(f"it speaks no TLS on port {each.up.port}", "name the port at which it does", ("port",))
    mend = "try it by hand as the gateway's account, with `openssl s_client`"
    return Words(f"its handshake failed: {_last(failure)}", mend, ("host",))


def _last(failure: str) -> str:
    """Envoy's last word of it."""
    return failure.removesuffix(":TLS_error_end").rpartition(":")[2]


def _of_chain(g: Gateway, failure: str) -> Words:
    found = DEPTH.search(failure)
    deep = int(found[1]) if found else 0
    which = f"the certificate above its own in the chain (number {deep})" if deep else "its certificate"
    theirs = "the provider must renew it"
    if "has_expired" in failure:
        mend = f"{theirs}; if others reach it, see whether this host's clock is right"
        return Words(f"{which} has ended", mend, ("host",))
    if "not_yet_valid" in failure:
        return Words(f"{which} is not valid yet", f"see whether this host's clock is right; else {theirs}", ("host",))
    if "SAN_matcher" in failure:
        names = NAMES.search(failure)
        return Words(
            f"its certificate is of another name: {names[1].replace(',_', ', ') if names else 'none that is told'}",
            "see whether the name leads where it should (`hostguard why`); else ask the provider",
            ("host",),
        )
    if "revoked" in failure:
        return Words(f"{which} was revoked", theirs, ("host",))
    if any(each in failure for each in ("issuer_certificate", "self_signed", "verify_the_first")):
        return Words(
            f"no authority of {g.tls.ca} signed {which}, or it does not send the one between",
            "`openssl s_client -showcerts` shows what it sends: an intermediate that is missing is the provider's to "
            "add; "
            "an authority of its own goes into the file `gateway.ca`",
            ("gateway", "ca"),
        )
    return Words(f"{which} was not accepted: {_last(failure)}", theirs, ("host",))


def _client(each: Failed, why: str, unsure: str = "") -> Words:
    shown = each.up.client_certificate
    if shown is None:
        return Words(f"it asks for a client's certificate, and the policy has none for it ({why})",
                     "name the secret that holds one", ("client_certificate",), unsure)  # fmt: skip
    return Words(f"it refused our client certificate {shown.name} ({why})",
                 f"renew the secret {shown.name}, and ask the provider which authority and subject it expects",
                 ("client_certificate",), unsure)  # fmt: skip


def _no_agreement(each: Failed) -> Words:
    more = "" if each.up.client_certificate else ", or asks for a client's certificate, and the policy has none for it"
    return Words(
        f"it takes none of our ciphers{more} (alert 40)",
        "`openssl s_client` shows what it asks for; the ciphers are `gateway.tls.ciphers`, a certificate is "
        "`client_certificate`",
        ("gateway", "tls", "ciphers") if each.up.client_certificate else ("client_certificate",),
        "the alert means either",
    )


RULE = Rule(
    id="gateway-tls",
    title="No connection by TLS",
    symptoms=(
        "503 UF",
        "CERTIFICATE_VERIFY_FAILED",
        "alert 42",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "certificate has expired",
        "HostguardVerificationFails",
    ),
    article="TLS Handshake Fail",
    by_hand=r"""grep -o '"failure":"TLS_error[^"]*' /var/log/hostguard-gateway/access.log | sort | uniq -c
runuser -u envoy -- openssl s_client -connect api.provider.com:443 -servername api.provider.com -showcerts""",
    means="The gateway looks at each certificate of the provider's chain: who signed it, its name, its days. An alert "
    "is "
    "the other way round: the provider refuses ours (42 to 46, 48, 116), our version (70) or our ciphers (40). In TLS "
    "1.3 "
    "it says so only after the handshake, and Envoy logs a connection that was closed.",
    mend="What the provider shows is the provider's to renew, all of its chain. There is no way to switch the check "
    "off. "
    "An authority of its own goes into `gateway.ca`; a client's certificate into `client_certificate`.",
    looks_at="TLS failures of the gateway's log, and ssl.* of its counters",
    told_by=("tls",),
    asks=asks_of_log,
    judges=by_provider(judge),
)
