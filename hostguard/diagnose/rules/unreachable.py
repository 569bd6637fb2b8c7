"""Nobody answers at a provider's address, or only after a long time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.diagnose import probes, shaken
from hostguard.diagnose.probes import Target
from hostguard.diagnose.rule import Asked, Fact, Finding, Rule, Said, Unread

SLOW = 1.0
"""Seconds until a connection stands, where the policy has no `timeouts.connect`."""
WORDS = {
    "timeout": ("no answer within 5 s", "packets are lost on the way there or back, or dropped: your address may not "
                "be on the provider's own list", 'ETIMEDOUT ("Connection timed out")'),
    "ECONNREFUSED": ("it refuses", "the address is there, and nobody listens on the port: it moved, or is down",
                     'ECONNREFUSED ("Connection refused")'),
    "EHOSTUNREACH": ("a router says that there is no way to the host", "the provider's address is gone, or a route is",
                     'EHOSTUNREACH ("No route to host")'),
    "ENETUNREACH": ("this host has no route to it", "a default route is missing, or one for this family of addresses",
                    'ENETUNREACH ("Network is unreachable")'),
    "EPERM": ("the kernel refuses to send", "a firewall of this host holds it, and this policy does not: the rules in "
              "force are others", 'EPERM ("Operation not permitted")'),
    "EADDRNOTAVAIL": ("no local port is left", "all ports to this address are taken",
                      'EADDRNOTAVAIL ("Cannot assign requested address")'),
}  # fmt: skip
MENDS = {
    "EPERM": "`hostguard audit` tells which rules differ; `hostguard apply` puts them back",
    "ENETUNREACH": "`ip route get ADDRESS` shows it; set the route",
}
ASK = "look from another network; then ask the provider, with the time and your address"


def asks(asked: Asked) -> Mapping[str, Any] | str:
    request = probes.handshakes(asked)
    return request if isinstance(request, str) else {"probes": request}


def judges(asked: Asked, said: Said) -> Iterator[Finding | Unread | Fact]:
    if more := probes.left_out(asked):
        yield Unread(f"{probes.MOST} were asked for, and {more} more were not: name a provider")
    for each in shaken.by_target(asked, said["probes"]):
        if isinstance(each, Unread):
            yield each
            continue
        target, seen = each
        if seen["stage"] == "connect":
            yield _unreached(target, seen)
        elif seen["stage"] != "resolve":
            yield from _reached(asked, target, seen)


def _unreached(target: Target, seen: Mapping[str, Any]) -> Finding:
    error = seen["error"]
    how, means, word = WORDS.get(error, (f"connect() fails with {error}", "the connection does not come about", error))
    return Finding(
        subject=target.of,
        seen=f"{target.named} at {seen['address']}: {how}",
        where=f"TCP connection to {seen['address']}:{target.port}, by {target.account or 'this account'}",
        means=f"{means}; an application gets {word}",
        mend=MENDS.get(error, ASK),
        key=target.path,
        concerns=(target.of,),
    )


def _reached(asked: Asked, target: Target, seen: Mapping[str, Any]) -> Iterator[Finding | Fact]:
    own = asked.sizing.gateway
    up = next((each for each in own.upstreams if each.name == target.of), None) if own else None
    limit = up.connect if up else SLOW
    took, trip = seen["connect"] + seen["handshake"], seen["round_trip"]
    said = (
        f"{took * 1000:.0f} ms, of which a round trip is {trip * 1000:.0f} ms and TLS {seen['handshake'] * 1000:.0f} ms"
    )
    if took <= limit:
        yield Fact(f"{target.named} was reached in {took * 1000:.0f} ms")
        return
    if seen["sent_again"]:
        means = f"packets are lost on the way: {seen['sent_again']} had to be sent again"
    elif trip * 4 > took:
        means = "the network takes the time: a handshake is two round trips and more"
    else:
        means = "the provider takes the time, and not the network: its machines are busy, or far behind its front"
    yield Finding(
        subject=target.of,
        seen=f"{target.named} at {seen['address']}: {said}",
        where=f"TCP connection and TLS handshake with {seen['address']}:{target.port}",
        means=f"{means}. Each new connection costs it; past {limit * 1000:.0f} ms "
        + ("the gateway gives up, 503 with flag UF or 504" if up else "callers with tight timeouts give up"),
        mend="keep connections open and reuse them; measure from another network, and ask the provider"
        + (", or raise `timeouts.connect`" if up else ""),
        key=("gateway", "providers", target.of, "timeouts", "connect") if up else target.path,
        unsure="one connection was measured",
        concerns=(target.of,),
    )


RULE = Rule(
    id="unreachable",
    title="A provider is not reached, or slowly",
    symptoms=("Connection timed out", "ETIMEDOUT", "Connection refused", "ECONNREFUSED", "No route to host",
              "EHOSTUNREACH", "Network is unreachable", "504 Gateway Timeout", "upstream connect error"),
    article="Gateway Timeout, 504; DNS TTL mismatch (Connection Refused, No Route to Host)",
    by_hand="""\
runuser -u envoy -- nc -zv -w 5 203.0.113.5 443
runuser -u envoy -- curl -so /dev/null -w '%{time_connect} %{time_appconnect} %{time_starttransfer}\\n' https://api.provider.com/""",
    means="A connection that is refused or has no route fails at once, one that is dropped only when a timeout ends. "
    "time_connect is the network, time_appconnect less that is TLS, time_starttransfer less both is the provider's "
    "own work. A connection is made as the account that may, so a firewall of this host is not the cause where its "
    "rules are the policy's.",
    mend="Refused or dropped: the provider, or its list of your addresses. Slow: reuse connections (keep-alive, "
    "HTTP/2); `gateway.providers.NAME.timeouts.connect` is how long the gateway waits, `fallback` where it goes then.",
    looks_at="one connection to each place of the policy that is a name or a lone address",
    asks=asks,
    judges=judges,
)  # fmt: skip
