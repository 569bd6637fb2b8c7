"""Planted keys, and everything that anybody gets to see of a host that has them: reports in every format while its
controls pass and while they fail, plans, generations, logs, processes, ansible's own output. None of it has one."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.bundle import compile_policy
from hostguard.controls import CATALOGUE
from hostguard.host.envoy_admin import DUMP
from hostguard.policy import keys
from hostguard.policy.load import of_variables
from hostguard.report import NAMES
from tests.breaks.secrets import LATE, TO_SERVER
from tests.gateway import certificates
from tests.lab import Host, Lab
from tests.lab.fleet import Fleet
from tests.lab.network import BRIDGE, RESOLVER
from tests.lab.process import call
from tests.patience import until
from tests.programs import ENVOY
from tests.witness import planted, vault
from tests.witness.name_server import NameServer
from tests.witness.playbook import play
from tests.witness.policy import PLACE
from tests.witness.report import audit, statuses
from tests.witness.test_gateway_instance import PROGRAM_MAIN
from tests.witness.test_rotation import POLICY, PROVIDER

pytestmark = pytest.mark.needs("lab", "envoy", "bao")

TOKENS = "9.9.9.4"
HERE, KEYS = "/run/secrets", "/run/secrets/payments"
WRAPPED, WRAPPED_BY = "/var/lib/wrapped", "auth/approle/role/host/secret-id"
LOGIN = "/etc/hostguard/secret-id"
DROP_IN = "/etc/systemd/system/envoy.service.d/secret.conf"
ADMIN = "curl -s --unix-socket /run/hostguard-gateway/admin/admin.sock http://admin"
ASK = "runuser -u shop -- curl -s -o /dev/null -w '%{http_code}' http://127.0.0.84:84/"
AGAIN = (
    f"iptables -D {TO_SERVER} 2>&-; "
    f"rm -f {KEYS}/*; systemctl restart {keys.UNIT}; chmod 711 {HERE}; until [ -s {KEYS}/new ] && [ -s {KEYS}/old ]; "
    "do sleep 0.1; done"
)


def policy(**auth: str) -> dict[str, Any]:
    """That of the rotation, with a client certificate, and a second provider whose key gets tokens."""
    made = copy.deepcopy(POLICY)
    made["egress"]["providers"]["letters"] = {"hosts": ["api.letters.example"]}
    made["gateway"]["providers"]["payments"]["client_certificate"] = "mtls"
    oauth = {"url": "https://api.letters.example/oauth/token", "client_id": "shop"}
    made["gateway"]["providers"]["letters"] = {"users": ["shop"], "listen": 85,
                                               "credential": {"secret": "client", "oauth2": oauth}}  # fmt: skip
    agent = made["secrets"]["agent"]
    agent |= {"poll": "2s", "overlap": "1h", "socket": {"group": "shop"}, "auth": {**agent["auth"], **auth}}
    agent["secrets"] |= {"mtls": {"path": "secret/data/mtls", "certificate": "cert", "key": "key"},
                         "client": {"path": "secret/data/client"}}  # fmt: skip
    made["secrets"]["mode"] = "0711"
    return made


@dataclass
class World:
    host: Host
    fleet: Fleet
    folder: Path
    planted: dict[str, bytes]

    def apply(self, wanted: Mapping[str, Any]) -> str:
        self.host.write(PLACE, yaml.safe_dump(dict(wanted)))
        done = self.host.hostguard("apply", "--yes", "--confirm-within", "0")
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout + done.stderr

    def tells(self, *commands: str) -> str:
        """What these commands of hostguard's say, on both streams, whatever they end with."""
        done = [self.host.hostguard(*command.split()) for command in commands]
        assert not any("Traceback" in each.stderr for each in done)
        return "".join(each.stdout + each.stderr for each in done)

    def reports(self) -> str:
        """In every format, of one look."""
        self.host.run("rm -rf /root/told; mkdir /root/told")
        formats = " ".join(f"--format {name}=/root/told/{name}" for name in NAMES)
        said = self.tells(f"audit {formats}", "plan", "plan --format json")
        told = self.host.out("head -c -0 /root/told/*")
        assert all(f"/root/told/{name} <==" in told for name in NAMES)
        return said + told

    def rotate(self, name: str = "payments", **fields: str) -> None:
        self.host.write("/root/put.json", json.dumps(fields), mode="600")
        vault.bao(self.host, "kv", "put", f"secret/{name}", "@/root/put.json")

    def is_silent(self, *told: str) -> None:
        """None of it has a planted value, nor has any place but those where they belong."""
        for text in told:
            found = planted.within(text.encode(errors="surrogateescape"), self.planted)
            assert not found, f"{found} in {text[:200]!r}"
        assert planted.on_host(self.host, self.planted, [HERE, LOGIN, WRAPPED, DROP_IN]) == []


def pair(folder: Path, name: str) -> dict[str, str]:
    return {"cert": (folder / f"{name}.pem").read_text(), "key": (folder / f"{name}.key").read_text()}


@pytest.fixture(scope="module")
def world(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("told")
    values = {name: planted.value(name) for name in ("key", "previous", "client")}
    (folder / "keys").write_text(values["key"])
    certificates.authority(folder, "ca")
    for name, days in (("good", 30), ("client", 30), ("expired", -1)):
        certificates.leaf(folder, name, "ca", ["api.provider.com", "api.letters.example"], days)
    names = NameServer(lab, RESOLVER, folder)
    names.answer({"api.provider.com": [PROVIDER], "api.letters.example": [TOKENS]}, ttl=60)
    started = []
    for address, clients in ((PROVIDER, ["ca"]), (TOKENS, [])):
        lab.world.run(["ip", "address", "replace", f"{address}/32", "dev", BRIDGE])
        program = [sys.executable, "-m", "tests.witness.keyed", str(folder), address, *clients]
        started.append(lab.world.start_program(program))
        assert started[-1].stdout
        assert started[-1].stdout.readline() == "ready\n"
    host = lab.host("told", options=vault.OPTIONS)
    call(["podman", "cp", str(ENVOY), f"{host.container}:/usr/bin/envoy"])
    host.run("chown root:root /usr/bin/envoy && chmod 755 /usr/bin/envoy; useradd --system --user-group shop")
    host.write("/etc/ssl/tests-ca.pem", (folder / "ca.pem").read_text())
    vault.install(host, json.dumps({"key": values["key"], "previous": values["previous"]}),
                  json.dumps(pair(folder, "client")))  # fmt: skip
    fleet = Fleet(lab, folder, [])
    fleet.hosts["told"] = host
    fleet.authorise(host)
    fleet.write_inventory({"told": host.address.ipv4})
    certain = {"secret_id": vault.SECRET_ID, **values}
    certain |= {f"private key of {name}": pair(folder, name)["key"].splitlines()[2] for name in ("client", "expired")}
    made = World(host, fleet, folder, {name: said.encode() for name, said in certain.items()})
    made.rotate("client", key=values["client"])
    (folder / "applied").write_text(made.apply(policy()))
    yield made
    for each in started:
        each.kill()
        each.wait()
    names.stop()


def test_while_all_passes_and_the_keys_are_in_use(world: World) -> None:
    host = world.host
    until(lambda: host.out(ASK) == "200", "the gateway answers")
    found = statuses(audit(host)[1])
    assert {name for name, status in found.items() if name.startswith("secrets.") and status == "fail"} == set()
    assert found["gateway.credentials"] == "pass"
    world.is_silent(world.reports(), (world.folder / "applied").read_text())


STOPPED = f"systemctl kill --signal=STOP {keys.UNIT}"  # else it would mend that
BROKEN = {
    "no key": ("gateway.credentials", f"{STOPPED}; rm {KEYS}/new"),
    "an empty key": ("gateway.credentials", f"{STOPPED}; : > {KEYS}/.new; mv {KEYS}/.new {KEYS}/new"),
    "a key that all may read": ("secrets.permissions", f"chmod 644 {KEYS}/new"),
    "a folder of another mode": ("secrets.mount", f"chmod 755 {HERE}"),
    "no agent": ("secrets.agent", f"systemctl stop {keys.UNIT}"),
    "no server": ("secrets.agent-fresh", f"iptables -I {TO_SERVER}; {LATE}"),
    "an old key, days later": ("secrets.rotation", f"touch -d '-2 days' {KEYS}/new {KEYS}/old"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_while_a_control_fails(world: World, case: str) -> None:
    control, broken = BROKEN[case]
    world.host.run(broken)
    told = world.reports()
    world.host.run(AGAIN)
    assert f'"id": "{control}"' in told
    assert failed(told, control)
    world.is_silent(told)


def failed(told: str, control: str) -> bool:
    """By the report that is for programs."""
    text = told.partition("/root/told/json <==\n")[2].partition("\n==> ")[0]
    return statuses(json.loads(text))[control] == "fail"


def test_while_a_client_s_certificate_has_expired(world: World) -> None:
    world.rotate("mtls", **pair(world.folder, "expired"))
    try:
        until(lambda: failed(world.reports(), "gateway.certificates"), "it is seen")
        world.is_silent(world.reports())
    finally:
        world.rotate("mtls", **pair(world.folder, "client"))


def test_while_a_secret_is_in_an_environment(world: World) -> None:
    """Its name is told, and no piece of it: not of one with spaces, nor of one with several lines."""
    more = {name: planted.value(name) for name in ("spaced", "lines", "bare")}
    spaced, bare = f"Bearer token{more['spaced'].replace('-', '_')}=", more["bare"]
    text = f'[Service]\nEnvironment="A={spaced}" API_TOKEN={bare}\nEnvironmentFile=/root/env\n'
    world.host.write("/root/env", f'PRIVATE_KEY="-----BEGIN\ntoken_{more["lines"].replace("-", "_")}==\n-----END"\n')
    world.host.write(DROP_IN, text)
    world.host.run("systemctl daemon-reload")
    world.planted |= {name: said.partition("-")[2].encode() for name, said in more.items()}
    told = world.reports()
    world.host.run(f"rm -r {DROP_IN.rpartition('/')[0]} /root/env; systemctl daemon-reload")
    assert failed(told, "secrets.environment")
    assert "API_TOKEN" in told
    world.is_silent(told)


ODD = {
    "of a pipeline and a terminal": "\n::error::{0}\r\nX-Injected: {0}\x1b[2J\x1b]0;{0}\x07",
    "of 1 MiB": "{0}" * 26000,
    "no text": "\0\x01\xff{0}\ufffe",
}


@pytest.mark.parametrize("case", ODD)
def test_whatever_a_key_is_made_of(world: World, case: str) -> None:
    value = planted.value("odd")
    world.planted["odd"] = value.encode()
    said = ODD[case].format(value)
    world.rotate(key=said, previous=said)
    until(lambda: world.host.out(f"stat -c %s {KEYS}/new {KEYS}/old") == "\n".join([str(len(said.encode()))] * 2),
          "it is there", seconds=120)  # fmt: skip
    got = {world.host.out(ASK) for _ in range(3)}
    told = world.reports()
    world.rotate(**{name: world.planted[name].decode() for name in ("key", "previous")})
    vault.holds(world.host, f"{KEYS}/new", world.planted["key"].decode())
    assert "200" not in got, got
    assert not [line for line in told.splitlines() if line.startswith("::error::")]
    world.is_silent(told)


def test_what_else_a_person_can_ask(world: World) -> None:
    controls = [each.id for each in CATALOGUE if each.id.startswith(("secrets.", "gateway."))]
    asked = [
        *(f"audit --drift --format {name}" for name in NAMES),
        *(f"explain {name}" for name in controls),
        *("plan --brief", "history 1", "schema", "learn --for 2s", "watch --for 2s", "watch --for 2s --format json"),
        *("prove --all --format json", "init /root/init", "history", "history --format json"),
    ]
    for what in ("plan", "size", "checks", "validate", "why shop api.provider.com"):
        asked += [what, f"{what} --format json"]
    paths = (DUMP[1:], "config_dump", "stats?filter=.", "certs", "clusters", "listeners")
    world.is_silent(
        *map(world.tells, asked),
        world.host.out(["journalctl", "--no-pager", "--output=export"]),
        *(world.host.out(f"{ADMIN}/{path}") for path in paths),
    )


def test_what_programs_are_told(world: World) -> None:
    bundle = compile_policy(of_variables(policy(), "policy")).bundle()
    asked = json.dumps({"do": "read", "bundle": bundle})
    done = world.host.run(["python3", "-c", PROGRAM_MAIN], input=asked, env=world.host.settings)
    plain = {"ANSIBLE_NOCOLOR": "1"}
    variables = {"hostguard_policy": policy()}
    ran = [
        play(world.fleet, ["hostguard"], variables, "-vvv", "--diff", *more, env=plain) for more in (["--check"], [])
    ]
    assert [each.code for each in ran] == [0, 0], ran[-1].text[-3000:]
    world.is_silent(done.stdout, done.stderr, *(each.text for each in ran))


def test_the_agent_at_its_most_talkative(world: World) -> None:
    """As nobody but who looks for a fault would start it."""
    host = world.host
    # Without its socket, which the unit alone lets it give to a group.
    text = json.loads(host.out("cat /etc/hostguard/agent/agent.json"))
    del text["listener"], text["api_proxy"]
    host.write("/etc/hostguard/trace.json", json.dumps({**text, "log_level": "trace"}))
    host.run(["systemctl", "stop", keys.UNIT])
    run = ["runuser", "-u", "vault-agent", "--", "env", "HOME=/nonexistent", "timeout", "8", vault.PROGRAM, "agent"]
    said = host.run([*run, "-config=/etc/hostguard/trace.json"], check=False)
    host.run("rm /etc/hostguard/trace.json")
    host.run(AGAIN)
    assert "[TRACE]" in said.stdout + said.stderr
    world.is_silent(said.stdout, said.stderr)


def test_a_wrapped_secret_id(world: World) -> None:
    host = world.host
    host.run(f"install -d -m 700 -o vault-agent {WRAPPED}")
    token = vault.bao(host, "write", "-wrap-ttl=5m", "-field=wrapping_token", "-f", WRAPPED_BY)
    host.write(f"{WRAPPED}/secret-id", token, mode="644")
    world.planted["wrapping token"] = token.encode()
    told = world.apply(policy(secret_id=f"{WRAPPED}/secret-id", wrapped_by=WRAPPED_BY))
    world.is_silent(told, world.reports(), host.out(["journalctl", "--no-pager"]))
    assert host.out(["ls", WRAPPED]) == ""
    world.is_silent(world.tells("rollback --yes --confirm-within 0", "history", "audit --drift"))
