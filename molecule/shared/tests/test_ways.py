"""The ways out of a hardened host, tried in the lab's world, where all addresses of the example policy are real."""

from __future__ import annotations

import os

from testinfra.host import Host

testinfra_hosts = [os.environ["HOSTGUARD_HOST"]]

PROVIDER, PROVIDER_V6, VAULT, RESOLVER = "203.0.113.5", "2001:db8::5", "10.0.0.8", "10.0.0.2"
ENEMY, ENEMY_V6 = "198.51.100.66", "2001:db8:bad::66"


def tried(host: Host, ways: tuple[tuple[str, str, int], ...]) -> list[str]:
    """What accounts see of ports that nobody listens on: "refused" by who is there, or "timed out"; all at once."""
    each = [
        f"runuser -u {account} -- nc -vzw2 {address} {port} 2>&1 | grep -oE 'refused|timed out' > /tmp/way{at} &"
        for at, (account, address, port) in enumerate(ways)
    ]
    read = " ".join(f"/tmp/way{at}" for at in range(len(ways)))
    return host.check_output(" ".join([*each, f"wait; cat {read}; rm {read}"])).splitlines()


SANCTIONED = (
    ("envoy", PROVIDER, 443),
    ("envoy", PROVIDER_V6, 443),
    ("envoy", RESOLVER, 53),
    ("vault-agent", VAULT, 8200),
)
HELD = (
    ("root", PROVIDER, 443),
    ("root", PROVIDER_V6, 443),
    ("root", RESOLVER, 53),
    ("envoy", PROVIDER, 80),
    ("envoy", VAULT, 8200),
    ("envoy", ENEMY, 443),
    ("root", ENEMY_V6, 443),
)


def test_what_is_sanctioned_gets_out_and_nothing_else_does(host: Host) -> None:
    assert tried(host, SANCTIONED + HELD) == ["refused"] * len(SANCTIONED) + ["timed out"] * len(HELD)
