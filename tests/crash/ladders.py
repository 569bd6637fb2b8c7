"""What a host is brought to, level by level: each a policy that is applied over the one before."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.network import RESOLVER
from tests.programs import ENVOY
from tests.witness import policy, vault
from tests.witness.name_server import NameServer

NAMES = {"api.provider.com": ["9.9.9.1"], "api.letters.example": ["9.9.9.2"]}


@dataclass(frozen=True)
class Ladder:
    """`policies`: as many as there are levels above the host that hostguard has not changed. `furnish` brings what they
    need, of which `options` are those of the container."""

    policies: tuple[str, ...]
    options: tuple[str, ...] = ()
    furnish: Callable[[Host], None] = lambda _: None


def places(policies: tuple[str, ...]) -> dict[int, str]:
    """Where the policy of each level lies."""
    return {level: f"/root/{level}.yml" for level in range(1, len(policies) + 1)}


HOST = Ladder(
    (
        policy.example(),
        policy.example(
            ("users: [vault-agent]", "users: [root]"),
            ("from: [10.77.0.0/24]", "from: [10.77.0.0/25]"),
            ('"10240 65535"', '"12000 65535"'),
            ("memory_max: 512M", "memory_max: 256M"),
            ("size: 16M", "size: 32M"),
        ),
    )
)


def with_gateway(*, second: bool) -> str:
    """A gateway with an agent that brings its keys; or one with another provider, other numbers and one more secret."""
    agent: dict[str, Any] = {
        "program": vault.PROGRAM,
        "server": vault.PLAIN,
        "auth": {"role_id": "/etc/hostguard/role-id", "secret_id": "/etc/hostguard/secret-id"},
        "poll": "2s" if second else "1s",
        "secrets": {"payments": {"path": "secret/data/payments"}},
    }
    providers: dict[str, Any] = {
        "payments": {
            "users": ["shop"],
            "group": "shop",
            "listen": 84,
            "timeouts": {"connect": "250ms", "try": "800ms" if second else "500ms", "total": "1s", "idle": "60s"},
            "credential": {"secret": "payments", "prefix": "Bearer "},
        }
    }
    hosts: dict[str, Any] = {"payments": {"hosts": ["api.provider.com"]}}
    if second:
        providers["letters"] = {**providers["payments"], "listen": 85}
        del providers["letters"]["credential"]
        hosts["letters"] = {"hosts": ["api.letters.example"]}
        agent["secrets"]["letters"] = {"path": "secret/data/mtls", "certificate": "cert", "key": "key"}
    return yaml.safe_dump(
        {
            "version": 1,
            "capacity": {"peak_rps": 100, "p99": "1s"},
            "egress": {
                "proxy_user": "envoy",
                "resolvers": [RESOLVER],
                "resolver_users": ["envoy"],
                "providers": hosts,
                "inbound": {"ssh": {"from": ["10.77.0.0/24"], "ports": [22]}},
            },
            "gateway": {
                "program": "/usr/bin/envoy",
                "drain": "1s",  # each trial waits for several of them
                "connections_max": 200 if second else 100,
                "metrics": {"listen": 91 if second else 90, "users": ["prometheus"]},
                "providers": providers,
            },
            "limits": {"nofile": policy.NOFILE},
            "platform": {"clock_sync": "off"},
            "secrets": {"owner": "vault-agent", "group": "envoy", "agent": agent},
        }
    )


def furnish_gateway(host: Host) -> None:
    host.run("for each in shop prometheus; do useradd --system --user-group $each; done; mkdir -p /etc/hostguard")
    vault.install(host, json.dumps({"key": "key-one"}), json.dumps({"cert": "c", "key": "k"}))


GATEWAY = Ladder(
    (with_gateway(second=False), with_gateway(second=True)),
    (*vault.OPTIONS, f"--volume={ENVOY}:/usr/bin/envoy:ro"),
    furnish_gateway,
)


@contextlib.contextmanager
def names(lab: Lab) -> Iterator[None]:
    """What the names of the ladders lead to."""
    with tempfile.TemporaryDirectory(prefix="hostguard-names-") as folder:
        server = NameServer(lab, RESOLVER, Path(folder))
        server.answer(NAMES, ttl=3600)
        try:
            yield
        finally:
            server.stop()
