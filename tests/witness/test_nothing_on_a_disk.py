"""Keys, a client certificate and a token of the agent's are on no disk of a real machine, read byte by byte: not where
files are or were, not in its swap, not in a core dump. And the order in which a boot brings them.

One machine goes the whole way, and each test goes on where the one before it ended. Whatever keeps the secrets (the
server, the provider) is in the lab's world, so that only the agent and the gateway have them here. Beside them others
are planted that do get to the disk, in each of these ways: what is not found proves nothing where those are not.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.policy import keys
from tests.gateway import certificates
from tests.lab import Lab, disk
from tests.lab.machine import CALLER, WIRED, Machine
from tests.lab.network import BRIDGE, MANAGEMENT, RESOLVER, VAULT
from tests.lab.process import call
from tests.patience import until
from tests.programs import BAO, ENVOY
from tests.witness import planted, vault
from tests.witness.name_server import NameServer
from tests.witness.policy import PLACE
from tests.witness.report import audit, not_well

pytestmark = pytest.mark.needs("machine", "lab", "envoy", "bao")

PROVIDER = "9.9.9.3"
PROGRAMS, ADDRESS, PORT = "/opt/programs", "127.0.0.84", 84
GATEWAY = "hostguard-gateway.service"
CORES = "/var/lib/cores"
FSTAB = f"/dev/vdc none swap sw 0 0\n/dev/vdd {PROGRAMS} ext4 ro 0 0\n"
NETWORK = f"""[Match]
MACAddress={WIRED.mac}
[Network]
Address={WIRED.ipv4}/24
DHCP=no
IPv6AcceptRA=no
[Route]
Destination=9.9.9.0/24
Gateway={MANAGEMENT}
[Route]
Destination=10.0.0.0/24
Gateway={MANAGEMENT}
"""
POLICY: dict[str, Any] = {
    "version": 1,
    "capacity": {"peak_rps": 20, "p99": "1s"},
    "egress": {
        "proxy_user": "envoy",
        "resolvers": [RESOLVER],
        "resolver_users": ["envoy"],
        "providers": {"payments": {"hosts": ["api.provider.com"]}},
        "services": {"vault": {"cidrs": [f"{VAULT}/32"], "ports": [8200], "users": ["vault-agent"]}},
        "inbound": {"ssh": {"from": [CALLER], "ports": [22]}},
    },
    "gateway": {
        "program": f"{PROGRAMS}/envoy",
        "ca": "/etc/ssl/tests-ca.pem",
        "providers": {
            "payments": {
                "users": ["shop"],
                "listen": PORT,
                "credential": {"secret": "payments", "prefix": "Bearer "},
                "client_certificate": "mtls",
            }
        },
    },
    "limits": {"nofile": 16384},
    "secrets": {
        "owner": "vault-agent",
        "group": "envoy",
        "mode": "0711",
        "agent": {
            "program": f"{PROGRAMS}/bao",
            "server": f"https://{VAULT}:8200",
            "ca": vault.CA,
            "auth": {"role_id": "/etc/hostguard/role-id", "secret_id": "/etc/hostguard/secret-id"},
            "poll": "2s",
            "secrets": {
                "payments": {"path": "secret/data/payments"},
                "mtls": {"path": "secret/data/mtls", "certificate": "cert", "key": "key"},
            },
            "socket": {"group": "shop"},
        },
    },
}
# What the application gets, whenever that changes, from before anything of ours has started.
ASKS = f"""
import http.client, time
last, said = None, open("/run/asks/got", "w", buffering=1)
while True:
    try:
        wire = http.client.HTTPConnection("{ADDRESS}", {PORT}, timeout=30)
        wire.request("GET", "/")
        answer = wire.getresponse()
        answer.read()
        got = f"{{answer.status}} {{answer.headers.get('x-hostguard-reason', '')}}".strip()
    except OSError as error:
        got = type(error).__name__
    if got != last:
        print(got, file=said)
    last = got
    time.sleep(0.1)
"""
ASKING = """[Unit]
DefaultDependencies=no
After=local-fs.target
[Service]
User=shop
RuntimeDirectory=asks
ExecStart=python3 /usr/local/bin/asks
Restart=always
[Install]
WantedBy=sysinit.target
"""
# What looks like a token, in the memory of a process.
TOKENS = """
import re, sys
found = set()
with open(f"/proc/{sys.argv[1]}/maps") as maps, open(f"/proc/{sys.argv[1]}/mem", "rb", 0) as memory:
    for line in maps:
        begin, end = (int(at, 16) for at in line.split()[0].split("-"))
        if line.split()[1].startswith("rw") and "[v" not in line:
            try:
                memory.seek(begin)
                found |= set(re.findall(rb"(?<![\\w.])s\\.[A-Za-z0-9]{24}(?!\\w)", memory.read(end - begin)))
            except OSError:
                pass
print(*(each.decode() for each in found))
"""
HOLDS = "import os, sys, time; held = sys.stdin.read(); os.unlink('/run/held'); time.sleep(1e6)"
# An error of the connection, a refusal that says why, an answer of the provider's: never the provider's own refusal.
PATIENT = r"[A-Za-z]+|50[34] \S+|200"
# All that may leave the memory leaves it. It ends with an error where less could be freed than was asked for.
PRESSURE = "for i in 1 2 3; do echo 2G > /sys/fs/cgroup/memory.reclaim; done 2> /dev/null; sync"


class World:
    """The machine, and what it talks to."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.folder, self.swap = folder, folder / "swap.img"
        certificates.authority(folder, "ca")
        certificates.leaf(folder, "good", "ca", ["api.provider.com"])
        certificates.leaf(folder, "client", "ca", ["shop"])
        pair = {"cert": (folder / "client.pem").read_text(), "key": (folder / "client.key").read_text()}
        self.first, self.second, self.secret_id = map(planted.value, ("first", "second", "login"))
        self.controls = {name: planted.value(name).encode() for name in ("removed", "held", "plain-tmpfs", "dumped")}
        self.controls["login"] = self.secret_id.encode()
        # A line in the middle of the private key's base64 says nothing that another key's would.
        self.secrets = {"first": self.first.encode(), "second": self.second.encode(),
                        "card": pair["key"].splitlines()[2].encode()}  # fmt: skip
        self.takes(self.first, self.second)
        lab.world.run(["ip", "address", "replace", f"{PROVIDER}/32", "dev", BRIDGE])
        self.names = NameServer(lab, RESOLVER, folder)
        self.names.answer({"api.provider.com": [PROVIDER]}, ttl=60)
        self.provider = lab.world.start_program(
            [sys.executable, "-m", "tests.witness.keyed", str(folder), PROVIDER, "ca"]
        )
        assert self.provider.stdout
        assert self.provider.stdout.readline() == "ready\n"
        self.vault = vault.Server(lab, folder, self.secret_id, json.dumps({"key": self.first}), json.dumps(pair))
        self.machine = Machine("disk", disks=self._disks(), cable=lab.world.cable())

    def _disks(self) -> tuple[Path, Path]:
        programs, image = self.folder / "programs", self.folder / "programs.img"
        programs.mkdir()
        for name, program in (("envoy", ENVOY), ("bao", BAO)):
            call(["install", "-m", "755", str(program), str(programs / name)])
        disk.make_file_system(programs, image, "400M")
        with self.swap.open("wb") as file:
            file.truncate(1 << 30)
        return self.swap, image

    def install(self) -> None:
        m = self.machine
        m.write("/etc/systemd/network/20-world.network", NETWORK)
        m.write("/root/fstab", disk.FSTAB + FSTAB)
        m.run(f"mkdir {PROGRAMS} {CORES}; chmod 777 {CORES}; mkswap -q /dev/vdc; cat /root/fstab > /etc/fstab; "
              "systemctl daemon-reload; networkctl reload; useradd --system --user-group shop; "
              f"mount {PROGRAMS}; swapon -a")  # fmt: skip
        for path, text in (("/etc/ssl/tests-ca.pem", (self.folder / "ca.pem").read_text()),
                           (vault.CA, (self.folder / "vault-ca.pem").read_text()),
                           ("/etc/hostguard/role-id", vault.ROLE_ID), ("/etc/hostguard/secret-id", self.secret_id),
                           ("/usr/local/bin/asks", ASKS), ("/etc/systemd/system/asks.service", ASKING),
                           (PLACE, yaml.safe_dump(POLICY))):  # fmt: skip
            m.write(path, text)
        m.run(f"chgrp vault-agent {vault.FILES}; chmod 640 {vault.FILES}")

    def takes(self, *keys_: str) -> None:
        (self.folder / "keys.new").write_text("\n".join(keys_))
        (self.folder / "keys.new").rename(self.folder / "keys")

    def asked(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.folder / "asked.json").read_text())
        return found

    def sees(self, key: str) -> None:
        """Wait until the provider is asked with this key."""
        said = f"Bearer {key} taken"
        before = self.asked().get(said, 0)
        until(lambda: self.asked().get(said, 0) > before + 3, "requests with this key", seconds=120)

    def holds(self, name: str, how: str = "") -> None:
        """A process that has one of the controls in its memory, and on no command line."""
        given = [*how.split(), "--property=StandardInput=file:/run/held"]
        run = ["systemd-run", "--quiet", "--collect", "--unit", name, *given, "python3", "-c", HOLDS]
        self.machine.write("/run/held", self.controls[name].decode())
        self.machine.run(run)
        self.machine.run("while [ -e /run/held ]; do sleep 0.1; done", timeout=60)

    def press(self) -> None:
        """All that may leave the memory leaves it; two of the controls are in it by then."""
        self.holds("held")
        self.machine.write("/tmp/plain", self.controls["plain-tmpfs"].decode())
        self.machine.run(PRESSURE)
        assert planted.on_disk(self.swap, {**self.controls, **self.secrets}) == {"held", "plain-tmpfs"}

    def removes(self) -> None:
        """One of the controls is written and removed. What is written later may come to lie in its place."""
        self.machine.write("/var/lib/removed", self.controls["removed"].decode())
        self.machine.run("sync; rm /var/lib/removed; sync")

    def crashes(self, unit: str) -> None:
        """It does, and is started again."""
        before = self.pid(unit)
        self.machine.run(f"systemctl kill --signal=ABRT {unit}")
        until(lambda: self.pid(unit) not in ("0", before), f"{unit} runs again")

    def pid(self, unit: str) -> str:
        return self.machine.out(["systemctl", "show", "--property=MainPID", "--value", unit])

    def tokens(self) -> list[str]:
        """The agent's, by its memory and the server's word: it has them nowhere else, and tells them to nobody."""
        seen = self.machine.out(["python3", "-c", TOKENS, self.pid(keys.UNIT)]).split()
        return [each for each in seen if self.vault.knows(each)]

    def got(self) -> list[str]:
        """What the application got since the boot, each time that it was something else than before."""
        return self.machine.run("cat /run/asks/got", check=False).stdout.splitlines()

    def found(self) -> tuple[set[str], set[str]]:
        """What of the controls and of the secrets is on the disks of the machine, which is off."""
        whole = self.folder / "whole.img"
        call(["qemu-img", "convert", "-O", "raw", str(self.machine.folder / "root.qcow2"), str(whole)])
        images = (whole, self.swap)
        control, secret = (set().union(*(planted.on_disk(each, of) for each in images))
                           for of in (self.controls, self.secrets))  # fmt: skip
        return control, secret


@pytest.fixture(scope="module")
def world(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(lab, tmp_path_factory.mktemp("disk"))
    with made.machine:
        made.install()
        yield made
    made.vault.stop()
    made.provider.kill()
    made.provider.wait()
    made.names.stop()


def well(machine: Machine) -> bool:
    """Whether all passes that is about secrets. Some of the tests' certificates end too early for the others."""
    seen = {name for name in not_well(audit(machine)[1]) if name.startswith("secrets.") or "credentials" in name}
    return not seen


def test_it_is_hardened_and_in_use(world: World) -> None:
    m = world.machine
    m.run("systemctl enable --quiet --now asks")
    done = m.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr + done.stdout
    world.sees(world.first)
    until(lambda: well(m), "all is well", seconds=120)
    tokens = world.tokens()
    assert tokens
    world.secrets |= {f"token {number}": each.encode() for number, each in enumerate(tokens)}
    assert "/dev/vdc" in m.out("cat /proc/swaps")


def test_under_pressure_others_are_swapped_and_they_are_not(world: World) -> None:
    m = world.machine
    world.press()
    world.sees(world.first)
    world.vault.put(key=world.second, previous=world.first)
    world.sees(world.second)
    m.run(PRESSURE)
    assert planted.on_disk(world.swap, world.secrets) == set()


@pytest.mark.parametrize("pattern", [f"{CORES}/%e.%p", "|/usr/local/bin/collects %e.%p"], ids=["file", "pipe"])
def test_a_crash_leaves_no_core_dump(world: World, pattern: str) -> None:
    m = world.machine
    m.write("/usr/local/bin/collects", f'#!/bin/sh\nexec cat > "{CORES}/$1"\n', mode="755")
    m.run(["sysctl", "-qw", f"kernel.core_pattern={pattern}"])
    world.holds("dumped", "--property=LimitCORE=infinity")
    m.run(f"systemctl kill --signal=ABRT dumped; until ls {CORES}/python3.*; do sleep 0.1; done; "
          f"mv {CORES}/python3.* {CORES}/of-another", timeout=60)  # fmt: skip
    for unit in (GATEWAY, keys.UNIT):
        world.crashes(unit)
        world.sees(world.second)
    assert m.out(["ls", CORES]) == "of-another"


def test_switched_off_it_has_none_of_them_on_its_disks(world: World) -> None:
    m = world.machine
    world.removes()
    m.shut_down()
    assert world.found() == (world.controls.keys(), set())


def test_a_boot_without_the_server_sends_no_request_and_goes_on_once_it_is_there(world: World) -> None:
    before = world.asked()
    with world.vault.silent():
        world.machine.start()
        until(lambda: any(line.startswith("503 ") for line in world.got()), "the gateway says what is missing")
        assert "200" not in world.got()
        assert world.asked() == before
    until(lambda: world.got()[-1] == "200", "it is answered", seconds=120)
    assert all(re.fullmatch(PATIENT, line) for line in world.got()), world.got()
    assert world.asked().keys() == before.keys(), "never without a key"


def test_after_a_power_cut_neither(world: World) -> None:
    world.press()
    world.sees(world.second)
    world.removes()
    world.machine.cut()
    assert world.found() == (world.controls.keys(), set())


def test_a_boot_brings_the_tmpfs_then_the_agent_with_the_keys_then_the_gateway(world: World) -> None:
    m, before = world.machine, world.asked()
    assert m.start() == "running"
    until(lambda: world.got()[-1] == "200", "it is answered", seconds=120)
    assert all(re.fullmatch(PATIENT, line) for line in world.got()), world.got()
    assert world.asked().keys() == before.keys(), "never without a key"
    said = m.out("journalctl -b -o json -u run-secrets.mount -u hostguard-agent -u hostguard-gateway")
    entries = [json.loads(line) for line in said.splitlines()]
    done = [each["UNIT"] for each in entries if (each.get("JOB_TYPE"), each.get("JOB_RESULT")) == ("start", "done")]
    assert done == ["run-secrets.mount", keys.UNIT, GATEWAY]
    until(lambda: well(m), "all is well", seconds=120)
