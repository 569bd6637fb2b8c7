"""A key on its whole way: from a real OpenBao by a real agent to a real Envoy, under load, and to a provider that takes
some keys and no others. An application never has one, and no request of its fails."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.policy import gateway, keys
from tests.gateway import certificates
from tests.lab import Lab
from tests.lab.network import BRIDGE, RESOLVER
from tests.lab.process import call
from tests.patience import until
from tests.programs import ENVOY
from tests.witness import vault
from tests.witness.name_server import NameServer
from tests.witness.policy import PLACE
from tests.witness.vault import holds, put

pytestmark = pytest.mark.needs("lab", "envoy", "bao")

PROVIDER = "9.9.9.3"
"""An address of the world's own: names that lead to one for documentation are not believed."""
SOCKET = "/run/hostguard-gateway/payments/http.sock"
NEW, OLD = "/run/secrets/payments/new", "/run/secrets/payments/old"
FIRST, SECOND, THIRD = "key-one", "key-two", "key-three"
POLICY: dict[str, Any] = {
    "version": 1,
    "capacity": {"peak_rps": 100, "p99": "1s"},
    "egress": {
        "proxy_user": "envoy",
        "resolvers": [RESOLVER],
        "resolver_users": ["envoy"],
        "providers": {"payments": {"hosts": ["api.provider.com"]}},
        "inbound": {"ssh": {"from": ["10.77.0.0/24"], "ports": [22]}},
    },
    "gateway": {
        "program": "/usr/bin/envoy",
        "ca": "/etc/ssl/tests-ca.pem",
        "providers": {
            "payments": {
                "users": ["shop"],
                "group": "shop",
                "listen": 84,
                "timeouts": {"connect": "5s", "try": "15s", "total": "60s"},
                "credential": {"secret": "payments", "prefix": "Bearer "},
            }
        },
    },
    "limits": {"nofile": 16384},
    "secrets": {
        "owner": "vault-agent",
        "group": "envoy",
        "agent": {
            "program": vault.PROGRAM,
            "server": vault.PLAIN,
            "auth": {"role_id": "/etc/hostguard/role-id", "secret_id": "/etc/hostguard/secret-id"},
            "poll": "1s",
            "secrets": {"payments": {"path": "secret/data/payments"}},
        },
    },
}


class World:
    """The host, its OpenBao, and the provider with the keys that it takes."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.folder = folder
        certificates.authority(folder, "ca")
        certificates.leaf(folder, "good", "ca", ["api.provider.com"])
        self.takes(FIRST)
        lab.world.run(["ip", "address", "replace", f"{PROVIDER}/32", "dev", BRIDGE])
        self.names = NameServer(lab, RESOLVER, folder)
        self.names.answer({"api.provider.com": [PROVIDER]}, ttl=60)
        self.provider = lab.world.start_program([sys.executable, "-m", "tests.witness.keyed", str(folder), PROVIDER])
        assert self.provider.stdout
        assert self.provider.stdout.readline() == "ready\n"
        self.host = lab.host("rotation", options=vault.OPTIONS)
        call(["podman", "cp", str(ENVOY), f"{self.host.container}:/usr/bin/envoy"])
        self.host.run("chown root:root /usr/bin/envoy && chmod 755 /usr/bin/envoy; useradd --system --user-group shop")
        self.host.write("/etc/ssl/tests-ca.pem", (folder / "ca.pem").read_text())
        vault.install(self.host, json.dumps({"key": FIRST}), json.dumps({"cert": "c", "key": "k"}))
        self.host.write(PLACE, yaml.safe_dump(POLICY))
        done = self.host.hostguard("apply", "--yes", "--confirm-within", "0")
        assert done.returncode == 0, done.stderr + done.stdout

    def takes(self, *keys_: str) -> None:
        (self.folder / "keys.new").write_text("\n".join(keys_))
        (self.folder / "keys.new").rename(self.folder / "keys")

    def asked(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.folder / "asked.json").read_text())
        return found

    def sees(self, key: str, what: str = "taken", more: int = 20) -> None:
        """Wait until the provider was asked so many times more with this key."""
        said = f"Bearer {key} {what}"
        before = self.asked().get(said, 0)
        until(lambda: self.asked().get(said, 0) >= before + more, f"requests with {key}, {what}")

    @contextlib.contextmanager
    def load(self) -> Iterator[dict[str, int]]:
        """Requests by the application's account from before until after; what they got is known at the end."""
        got: dict[str, int] = {}
        self.host.run("rm -f /run/enough; install -o shop -g shop /dev/null /run/got")
        settings = [f"--setenv={name}={value}" for name, value in self.host.settings.items()]
        command = f"python3 -m tests.gateway.minimal load {SOCKET} > /run/got; touch /tmp/over"
        self.host.run("rm -f /tmp/over")
        self.host.run(
            ["systemd-run", "--quiet", "--collect", "--unit=load", "--uid=shop", *settings, "sh", "-c", command]
        )
        try:
            yield got
        finally:
            self.host.run("touch /run/enough; until [ -e /tmp/over ]; do sleep 0.05; done", timeout=60)
            got.update(json.loads(self.host.out("cat /run/got")))


@pytest.fixture(scope="module")
def world(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(lab, tmp_path_factory.mktemp("rotation"))
    yield made
    made.provider.kill()
    made.provider.wait()
    made.names.stop()


@pytest.fixture
def at_first(world: World) -> World:
    """With the first key alone, here and there."""
    world.takes(FIRST)
    put(world.host, key=FIRST)
    for path in (NEW, OLD):
        holds(world.host, path, FIRST)
    return world


def test_a_key_that_both_take_for_a_while(at_first: World) -> None:
    with at_first.load() as got:
        at_first.sees(FIRST)
        at_first.takes(FIRST, SECOND)
        put(at_first.host, key=SECOND, previous=FIRST)
        at_first.sees(SECOND)
        at_first.takes(SECOND)
        at_first.sees(SECOND)
        put(at_first.host, key=SECOND)
        holds(at_first.host, OLD, SECOND)
        at_first.sees(SECOND)
    assert got.keys() == {"200"}, got


def test_a_key_that_is_stored_before_the_provider_takes_it(at_first: World) -> None:
    with at_first.load() as got:
        at_first.sees(FIRST)
        put(at_first.host, key=THIRD, previous=FIRST)
        at_first.sees(THIRD, "refused")
        at_first.sees(FIRST)
        at_first.takes(FIRST, THIRD)
        at_first.sees(THIRD)
    assert got.keys() == {"200"}, got


def test_the_last_key_goes_on_without_server_and_agent(at_first: World) -> None:
    """And both come back by themselves, with what the server has then."""
    host = at_first.host
    with at_first.load() as got:
        host.run("systemctl stop vault")
        host.run(["systemctl", "kill", "--signal=KILL", keys.UNIT])
        at_first.sees(FIRST, more=100)
        at_first.takes(FIRST, SECOND)
        host.run("systemctl start vault")
        put(host, key=SECOND, previous=FIRST)
        at_first.sees(SECOND)
    assert got.keys() == {"200"}, got


def test_the_application_can_not_read_what_it_pays_with(at_first: World) -> None:
    for path in (NEW, OLD):
        assert at_first.host.run(["runuser", "-u", "shop", "--", "cat", path], check=False).returncode != 0
    assert (
        "Permission denied"
        in at_first.host.run(["runuser", "-u", "shop", "--", "ls", "/run/secrets"], check=False).stderr
    )


def test_diagnose_says_why_there_is_no_key(at_first: World) -> None:
    """The last of these tests: nobody brings a key any more."""
    host = at_first.host
    host.run(["systemctl", "stop", keys.UNIT, gateway.UNIT])
    host.run(f"rm {NEW} {OLD}; printf another > /etc/hostguard/secret-id")
    host.run(["systemctl", "start", "--no-block", keys.UNIT, gateway.UNIT])
    call = ["runuser", "-u", "shop", "--", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
            "--unix-socket", SOCKET, "http://payments/"]  # fmt: skip
    until(lambda: host.run(call, check=False).stdout == "503", "the gateway has no key")

    def said() -> str:
        done = host.hostguard("diagnose", "payments", "--no-probe", "--format", "json")
        found = json.loads(done.stdout)["hosts"][0]["findings"]
        return " ".join(each["mend"] for each in found if each["rule"] == "gateway-keys")

    until(lambda: "it can't log in" in said(), "it is told why")
