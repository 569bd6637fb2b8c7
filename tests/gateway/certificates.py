"""Certificates of the tests' providers, made when they are wanted: a good one, and one for each possible fault."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

HOSTS = ("api.provider.test", "eu.provider.test")
GOOD, EXPIRED, WRONG_NAME, WRONG_CA, CLIENT = "good", "expired", "wrong-name", "wrong-ca", "client"
LEAVES = {
    GOOD: ("ca", HOSTS, 30),
    EXPIRED: ("ca", HOSTS, -1),
    WRONG_NAME: ("ca", ("another.test",), 30),
    WRONG_CA: ("other-ca", HOSTS, 30),
    CLIENT: ("ca", ("shop.test",), 30),
}
"""By name: who signs it, its names, and the days until its end."""
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make(folder: Path) -> None:
    """Writes NAME.pem and NAME.key of each, ca.pem and other-ca.pem."""
    for ca in ("ca", "other-ca"):
        authority(folder, ca)
    for name, (ca, hosts, days) in LEAVES.items():
        leaf(folder, name, ca, hosts, days)


def authority(folder: Path, name: str, days: int = 30) -> None:
    _openssl(folder, "req", "-x509", *KEY, "-subj", f"/CN={name}", "-days", str(days), "-keyout", f"{name}.key",
             "-out", f"{name}.pem")  # fmt: skip


def leaf(folder: Path, name: str, ca: str, hosts: Sequence[str], days: int = 30, subject: str = "a provider") -> None:
    names = (f"{'IP' if host[-1].isdigit() else 'DNS'}:{host}" for host in hosts)
    (folder / "names").write_text("subjectAltName=" + ",".join(names))
    _openssl(folder, "req", *KEY, "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", "request")
    _openssl(folder, "x509", "-req", "-in", "request", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial",
             "-days", str(days), "-extfile", "names", "-out", f"{name}.pem")  # fmt: skip


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
