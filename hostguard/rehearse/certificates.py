"""Certificates of a rehearsal's providers, made by openssl when they are wanted: no key is shipped or kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hostguard.host.program import run

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
LASTS = 2
"""Days; nothing of a rehearsal lasts longer."""
# The machine's own may be missing, or want what a name has not.
CONFIGURATION = "[req]\ndistinguished_name = name\n[name]\n"


@dataclass(frozen=True)
class Leaf:
    """A provider's certificate: its names, the authority that signs it, and the days until its end (-1: it is over)."""

    hosts: tuple[str, ...]
    authority: str = "ca"
    days: int = LASTS


def make(folder: Path, leaves: Mapping[str, Leaf], authorities: Iterable[str] = ("ca",)) -> None:
    """Writes NAME.pem and NAME.key of each authority and each leaf. Raises HostError, in openssl's words."""
    settings = folder / "openssl.cnf"
    settings.write_text(CONFIGURATION, encoding="ascii")

    def openssl(*words: str) -> None:
        run(["env", f"OPENSSL_CONF={settings}", "openssl", *words])

    for name in authorities:
        openssl("req", "-x509", *KEY, "-subj", f"/CN={name}", "-days", str(LASTS),
                "-addext", "basicConstraints=critical,CA:TRUE",
                "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem")  # fmt: skip
    for name, leaf in leaves.items():
        at = f"{folder}/{name}"
        names = Path(f"{at}.names")
        names.write_text("subjectAltName=" + ",".join(f"DNS:{host}" for host in leaf.hosts), encoding="ascii")
        openssl("req", *KEY, "-subj", "/CN=a provider", "-keyout", f"{at}.key", "-out", f"{at}.request")
        ca = f"{folder}/{leaf.authority}"
        openssl("x509", "-req", "-in", f"{at}.request", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial",
                "-days", str(leaf.days), "-extfile", str(names), "-out", f"{at}.pem")  # fmt: skip
