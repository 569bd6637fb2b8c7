"""OpenBao with all of it in memory: on a lab host, where a boot fills it anew, or in the lab's world."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from tests.gateway import certificates
from tests.lab import Host, Lab
from tests.lab.network import VAULT
from tests.lab.process import silent
from tests.patience import until
from tests.programs import BAO

PROGRAM, PLAIN, TLS = "/usr/local/bin/bao", "http://127.0.0.1:8200", "https://127.0.0.1:8300"
OPTIONS = (f"--volume={BAO}:{PROGRAM}:ro",)
ROLE_ID, SECRET_ID = "the-role", "the-secret-id-of-this-host"
CA = "/etc/hostguard/vault-ca.pem"
FILES = "/etc/hostguard/role-id /etc/hostguard/secret-id"
FILL = f"""#!/bin/sh
set -e
cd "${{1:-/root}}"
export HOME="$PWD" BAO_ADDR=http://127.0.0.1:8200 BAO_TOKEN=root
until bao status; do sleep 0.1; done
bao auth enable approle
bao policy write reader reader.hcl
bao write auth/approle/role/host token_policies=reader token_ttl=20s token_max_ttl=1h role_id={ROLE_ID}
bao write auth/approle/role/host/custom-secret-id "secret_id=${{2:-{SECRET_ID}}}"
bao kv put secret/payments @payments.json
bao kv put secret/mtls @mtls.json
"""
READER = 'path "secret/data/*" {capabilities = ["read"]}\n'
SERVICE = f"""[Unit]
Before=hostguard-agent.service
[Service]
Environment=HOME=/root
ExecStart={PROGRAM} server -dev -dev-root-token-id=root -dev-no-store-token
ExecStartPost=/usr/local/bin/fill-vault
StandardOutput=null
[Install]
WantedBy=multi-user.target
"""


def install(host: Host, payments: str, mtls: str) -> None:
    """Start it, with these secrets as JSON, now and at each boot; and give the host what it logs in with."""
    host.write("/root/payments.json", payments, mode="600")
    host.write("/root/mtls.json", mtls, mode="600")
    host.write("/root/reader.hcl", READER)
    host.write("/usr/local/bin/fill-vault", FILL, mode="755")
    host.write("/etc/systemd/system/vault.service", SERVICE)
    host.write("/etc/hostguard/role-id", ROLE_ID)
    host.write("/etc/hostguard/secret-id", SECRET_ID)
    host.run(f"chgrp vault-agent {FILES}; chmod 640 {FILES}")
    host.run("systemctl daemon-reload; systemctl enable --quiet --now vault")


class Server:
    """One in the world, at VAULT over TLS, with the same secrets: a host knows of it what it fetches, and no more."""

    def __init__(self, lab: Lab, folder: Path, secret_id: str, payments: str, mtls: str) -> None:
        self.lab, self.folder = lab, folder
        certificates.authority(folder, "vault-ca")
        certificates.leaf(folder, "vault", "vault-ca", [VAULT])
        tls = {
            "address": f"{VAULT}:8200",
            "tls_cert_file": f"{folder}/vault.pem",
            "tls_key_file": f"{folder}/vault.key",
        }
        for name, text in (("payments.json", payments), ("mtls.json", mtls), ("reader.hcl", READER), ("fill", FILL),
                           ("server.json", json.dumps({"listener": [{"tcp": tls}]}))):  # fmt: skip
            (folder / name).write_text(text)
        options = ["-dev", "-dev-root-token-id=root", "-dev-no-store-token", f"-config={folder}/server.json"]
        self.process = lab.world.start_program(
            ["env", f"HOME={folder}", str(BAO), "server", "-log-level=err", *options]
        )
        self.run("sh", "fill", str(folder), secret_id)

    def run(self, *words: str) -> str:
        where = ["env", f"--chdir={self.folder}", f"PATH={Path(str(BAO)).parent}:/usr/bin:/bin", f"HOME={self.folder}",
                 f"BAO_ADDR={PLAIN}", "BAO_TOKEN=root"]  # fmt: skip
        return self.lab.world.run([*where, *words]).stdout

    def put(self, **fields: str) -> None:
        self.run("bao", "kv", "put", "secret/payments", *(f"{field}={said}" for field, said in fields.items()))

    def knows(self, token: str) -> bool:
        return bool(self.run("sh", "-c", f"bao token lookup -format=json {token} 2> /dev/null || :"))

    def silent(self) -> AbstractContextManager[None]:
        return silent(self.process)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def over_tls(host: Host) -> Iterator[None]:
    """Another server beside it, with certificates of its own making, whose authority is in CA."""
    server = [PROGRAM, "server", "-dev-tls", "-dev-tls-cert-dir=/root/tls", "-dev-listen-address=127.0.0.1:8300",
              "-dev-root-token-id=root", "-dev-no-store-token"]  # fmt: skip
    host.run(["mkdir", "-p", "/root/tls"])
    host.run(["systemd-run", "--quiet", "--collect", "--unit=vault-tls", "--setenv=HOME=/root", *server])
    host.run(f"until cp /root/tls/vault-ca.pem {CA}; do sleep 0.1; done; chmod 644 {CA}")
    until(lambda: "Sealed" in host.run([PROGRAM, "status", f"-address={TLS}", f"-ca-cert={CA}"], check=False).stdout,
          "it answers over TLS")  # fmt: skip
    yield
    host.run("systemctl stop vault-tls")


def bao(host: Host, *words: str, at: str = PLAIN) -> str:
    env = {"HOME": "/root", "BAO_ADDR": at, "BAO_TOKEN": "root", **({"BAO_CACERT": CA} if at == TLS else {})}
    return host.run([PROGRAM, *words], env=env).stdout.strip()


def put(host: Host, name: str = "payments", at: str = PLAIN, **fields: str) -> None:
    bao(host, "kv", "put", f"secret/{name}", *(f"{field}={said}" for field, said in fields.items()), at=at)


def holds(host: Host, path: str, said: str) -> None:
    """Wait until a file holds this."""
    until(lambda: host.run(["cat", path], check=False).stdout == said, f"{path} holds what the server has")
