"""What a diagnosis is tried on: a host, and a world of name servers, a time server and a provider, all of which can be
made to fail in one way at a time."""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.lab import Host, Lab
from tests.lab.fleet import Fleet
from tests.lab.network import BRIDGE, PROVIDER, RESOLVER, TIME_SERVER
from tests.lab.process import silent
from tests.witness.name_server import NameServer
from tests.witness.policy import PLACE

NAME, HERE, THERE = "api.provider.com", "9.9.9.1", "9.9.9.2"
"""The provider, where it is, and where it was."""
NOWHERE = "9.9.9.9"
SECOND = "10.0.0.4"
POLICY = f"""
version: 1
egress:
  via: proxy
  proxy_user: envoy
  resolvers: [{RESOLVER}, {SECOND}]
  resolver_users: [envoy]
  time_servers: [{TIME_SERVER}]
  providers:
    payments: {{hosts: [{NAME}]}}
    letters: {{cidrs: [{PROVIDER}/32]}}
  inbound:
    ssh: {{from: [10.77.0.0/24], ports: [22]}}
    api: {{from: [198.18.0.0/15], ports: [8080]}}
limits: {{nofile: 4096, units: [shop.service]}}
secrets: {{files: {{client: {{certificate: /run/secrets/client.pem, key: /run/secrets/client.key}}}}}}
platform: {{clock_sync: off, aes: off}}
"""

# Speaks TLS as a file says, and closes once the other end has said something, or nothing for a while.
TLS_SERVER = """
import json, socket, ssl, sys, threading, time
folder, *addresses = sys.argv[1:]
def serve(connection):
    how = json.load(open(folder + "/how"))
    time.sleep(how.get("pause", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/{how['chain']}.pem", f"{folder}/{how['chain']}.key")
    if how.get("newest"):
        context.maximum_version = getattr(ssl.TLSVersion, how["newest"])
    if how.get("asks"):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder + "/root.pem")
    try:
        if how.get("plain"):
            connection.sendall(b"HTTP/1.1 400 Bad Request\\r\\n\\r\\n")
        else:
            connection = context.wrap_socket(connection, server_side=True)
        connection.recv(1)
        connection.close()
    except OSError:
        pass
def listen(address):
    listener = socket.create_server((address, 443), backlog=512)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
for address in addresses:
    threading.Thread(target=listen, args=(address,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""
# Takes every connection, and says nothing.
TCP_SERVER = """
import socket, sys
listener = socket.create_server((sys.argv[1], 443), backlog=512)
print("ready", flush=True)
kept = []
while True:
    kept.append(listener.accept()[0])
"""
# RFC 4330: a server of stratum 1 that is ahead by as much as a file says.
TIME_SERVER_PROGRAM = """
import socket, struct, sys, time
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 123))
print("ready", flush=True)
while True:
    data, caller = server.recvfrom(512)
    now = time.time() + 2208988800 + float(open(sys.argv[2]).read())
    stamp = struct.pack("!2I", int(now), int(now % 1 * 2**32))
    server.sendto(b"\\x24\\x01\\x00\\xec" + bytes(8) + b"TEST" + stamp + data[40:48] + stamp + stamp, caller)
"""


@dataclass
class World:
    lab: Lab
    fleet: Fleet
    host: Host
    first: NameServer
    second: NameServer
    folder: Path
    servers: dict[str, subprocess.Popen[str]]

    @contextlib.contextmanager
    def names(self, answer: list[str] | str, *, where: str = "both") -> Iterator[None]:
        """What the name servers say of the provider."""
        servers = [self.first, self.second] if where == "both" else [self.second]
        for each in servers:
            each.answer({NAME: answer})
        try:
            yield
        finally:
            for each in servers:
                each.answer({NAME: [HERE]})

    @contextlib.contextmanager
    def tls(self, chain: str = "good", **how: Any) -> Iterator[None]:
        """How the provider speaks."""
        self.speak({"chain": chain, **how})
        try:
            yield
        finally:
            self.speak({"chain": "good"})

    def speak(self, how: Mapping[str, Any]) -> None:
        beside = self.folder / "how.new"
        beside.write_text(json.dumps(how))
        beside.rename(self.folder / "how")

    @contextlib.contextmanager
    def ahead(self, seconds: float) -> Iterator[None]:
        """The time server's clock."""
        (self.folder / "ahead").write_text(str(seconds))
        try:
            yield
        finally:
            (self.folder / "ahead").write_text("0")

    def silent(self, name: str) -> AbstractContextManager[None]:
        return silent(self.servers[name])

    @contextlib.contextmanager
    def without_address(self, address: str) -> Iterator[None]:
        """Nobody is there any more, and nobody says so."""
        self.lab.world.run(["ip", "address", "del", f"{address}/32", "dev", BRIDGE])
        try:
            yield
        finally:
            self.lab.world.run(["ip", "address", "add", f"{address}/32", "dev", BRIDGE])

    def serve(self, name: str, program: str, *arguments: str) -> None:
        server = self.lab.world.start_program([sys.executable, "-c", program, *arguments])
        assert server.stdout is not None
        assert server.stdout.readline().strip() == "ready"
        self.servers[name] = server

    def stop(self, name: str) -> None:
        server = self.servers.pop(name)
        server.kill()
        server.wait()


@contextlib.contextmanager
def made(lab: Lab, name: str, folder: Path) -> Iterator[World]:
    """The world, and a host with the policy applied."""
    for address in (HERE, THERE, SECOND):
        lab.world.run(["ip", "address", "add", f"{address}/32", "dev", BRIDGE])
    folders = [folder / which for which in ("first", "second")]
    for each in folders:
        each.mkdir()
    first, second = (NameServer(lab, address, at) for address, at in zip((RESOLVER, SECOND), folders, strict=True))
    for server in (first, second):
        server.answer({NAME: [HERE]})
    fleet = Fleet(lab, folder, [name])
    world = World(lab, fleet, fleet.hosts[name], first, second, folder, {})
    try:
        certificates(folder)
        world.speak({"chain": "good"})
        (folder / "ahead").write_text("0")
        world.serve("tls", TLS_SERVER, str(folder), HERE, THERE)
        world.serve("tcp", TCP_SERVER, PROVIDER)
        world.serve("time", TIME_SERVER_PROGRAM, TIME_SERVER, str(folder / "ahead"))
        furnish(world, world.host)
        yield world
    finally:
        for server in list(world.servers):
            world.stop(server)
        first.stop()
        second.stop()


def furnish(world: World, host: Host) -> None:
    """A host that knows the authority, and has the policy applied and its secrets in place."""
    host.write("/etc/ssl/certs/root.pem", (world.folder / "root.pem").read_text())
    host.run("ln -sf root.pem /etc/ssl/certs/$(openssl x509 -noout -hash -in /etc/ssl/certs/root.pem).0")
    host.run("getent passwd shop || useradd --system --user-group shop")
    host.write(PLACE, POLICY)
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr + done.stdout
    put_client(world, host, "client")


def put_client(world: World, host: Host, name: str) -> None:
    for kind in ("pem", "key"):
        host.write(f"/run/secrets/client.{kind}", (world.folder / f"{name}.{kind}").read_text(), mode="600")


def certificates(folder: Path) -> None:
    """NAME.pem (with its chain) and NAME.key of every way in which a certificate can be wrong."""
    root = Authority("Test Root")
    (folder / "root.pem").write_bytes(pem(root.certificate))
    middle, stranger = root.authority("Test Intermediate"), Authority("A Stranger")
    for name, authority, days, begins, host, sends in (
        ("good", middle, 90, -1, NAME, [middle]),
        ("leaf over", middle, -1, -9, NAME, [middle]),
        ("not yet", middle, 90, 9, NAME, [middle]),
        ("other name", middle, 90, -1, "other.example", [middle]),
        ("no intermediate", middle, 90, -1, NAME, []),
        ("stranger", stranger, 90, -1, NAME, [stranger]),
        ("leaf ends", middle, 10, -1, NAME, [middle]),
        ("intermediate over", over := root.authority("Old Intermediate", ends=-1), 90, -1, NAME, [over]),
        ("intermediate ends", ends := root.authority("Next Intermediate", ends=10), 90, -1, NAME, [ends]),
        ("client", middle, 90, -1, "shop", []),
        ("client ends", middle, 10, -1, "shop", []),
    ):
        key, leaf = authority.leaf(host, begins, days)
        chain = pem(leaf) + b"".join(pem(each.certificate) for each in sends)
        (folder / f"{name}.pem").write_bytes(chain)
        (folder / f"{name}.key").write_bytes(key)


class Authority:
    def __init__(self, name: str, above: Authority | None = None, ends: int = 900) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name
        above = above or self
        public = self.key.public_key()
        builder = started(above.name, name, public, -900, ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(above.key, hashes.SHA256())

    def authority(self, name: str, ends: int = 900) -> Authority:
        return Authority(name, self, ends)

    def leaf(self, host: str, begins: int, ends: int) -> tuple[bytes, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = started(self.name, host, key.public_key(), begins, ends)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        form = serialization.PrivateFormat.PKCS8
        private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        return private, builder.sign(self.key, hashes.SHA256())


def started(
    issuer: str, subject: str, key: ec.EllipticCurvePublicKey, begins: int, ends: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (issuer, subject)]
    builder = x509.CertificateBuilder().issuer_name(names[0]).subject_name(names[1]).public_key(key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now + datetime.timedelta(days=begins))
    return builder.not_valid_after(now + datetime.timedelta(days=ends, hours=12))


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
