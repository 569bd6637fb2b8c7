"""The real Envoy in the stage, with what the policy's own apply has written for it there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hostguard.controls.gateway import instance
from hostguard.host import envoy_admin, takeover
from hostguard.host.program import find
from hostguard.host.resource import HostError
from hostguard.policy import Policy
from hostguard.policy.gateway import ADMIN, LOGS, RUN, XDS, Gateway
from hostguard.rehearse import certificates
from hostguard.rehearse.mounts import MS_BIND, MS_NODEV, MS_NOSUID, mount

PLACE = "/run/hostguard-rehearsal"
"""Of the rehearsal's own, in the stage's /run: another account may come there, whatever leads to the program itself."""
PROGRAM, CA, SAID = f"{PLACE}/envoy", f"{PLACE}/ca.pem", f"{PLACE}/said"
WORKERS = "1"
SECONDS, PAUSE = 60.0, 0.02
"""An Envoy has to become ready, and between two looks."""
LAST_WORDS = 400


@dataclass(frozen=True)
class Behind:
    """What the stage needs for the gateway. `why_not`: why none can run here; "" where one can."""

    account: str
    hosts: tuple[str, ...] = ()
    """The names of its providers, for their certificate."""
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of the groups of its sockets, the accounts that may use them."""
    program: str = ""
    why_not: str = ""
    address: str = ""
    """Of its ports."""
    drain: int = 1
    """Seconds that it goes on when another takes over from it."""
    leaves: Mapping[str, certificates.Leaf] = field(default_factory=dict)
    """Certificates beside that of its providers."""
    authorities: tuple[str, ...] = ("ca",)
    """Who signs them; the gateway trusts the first."""


def behind(g: Gateway, program: str | None) -> Behind:
    """`program`: the Envoy that was asked for; else the policy's own, else the one on PATH."""
    members = {up.group: up.users for up in g.upstreams if up.group is not None}
    hosts = tuple(dict.fromkeys(host for up in g.upstreams for host in up.hosts))
    found = program or (g.program if os.access(g.program, os.X_OK) else find("envoy"))
    why_not = ""
    if found is None:
        why_not = f"no envoy is here: there is no {g.program}, and none on PATH; name one by --program"
    for needed, package in (("dnsmasq", "dnsmasq-base"), ("openssl", "openssl"), ("setpriv", "util-linux")):
        if not why_not and find(needed) is None:
            why_not = f"{needed} is not installed here (Debian: {package})"
    return Behind(g.account, hosts, members, os.path.realpath(found or ""), why_not, g.address)


def staged(policy: Policy) -> Policy:
    """The policy as the stage has it: with the stage's own Envoy, and an authority that signs the world's providers."""
    if policy.gateway is None:
        return policy
    moved = {"program": PROGRAM, "sha256": None, "ca": CA}
    return policy.model_copy(update={"gateway": policy.gateway.model_copy(update=moved)})


def prepare(b: Behind) -> str:
    """Put there what a host has before a policy comes: program, authority, the folder of logs. Why not, where that
    fails."""
    try:
        place = Path(PLACE)
        place.mkdir(mode=0o755)
        Path(PROGRAM).touch()
        mount(b.program, PROGRAM, "", MS_BIND)
        certificates.make(place, {"provider": certificates.Leaf(b.hosts), **b.leaves}, b.authorities)
        Path(XDS).mkdir(parents=True)
        mount("tmpfs", str(Path(LOGS).parent), "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    except (OSError, HostError) as error:
        return f"the gateway can't be set up here: {error}"
    return ""


@contextlib.contextmanager
def running(b: Behind, accounts: Mapping[str, int], all_accounts: bool) -> Iterator[str]:
    """Envoy, as its unit starts it; yields why there is none, "" where it serves."""
    settle(accounts[b.account])
    with Path(SAID).open("wb") as log:
        process = launch(b, accounts, all_accounts, log)
    try:
        yield why_not(process, b)
    finally:
        process.kill()
        process.wait()


def launch(b: Behind, accounts: Mapping[str, int], all_accounts: bool, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """The process, which may serve yet or not."""
    options = takeover.options(instance.BOOTSTRAP, WORKERS, str(b.drain))
    argv = [*(become(accounts[b.account]) if all_accounts else []), PROGRAM, *options]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def become(uid: int) -> list[str]:
    """The words before a command that make it the account's, with no more than its unit gives it."""
    caps = "-all,+net_bind_service"
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", f"--inh-caps={caps}",
            f"--ambient-caps={caps}"]  # fmt: skip


def why_not(process: subprocess.Popen[bytes], b: Behind) -> str:
    """Why it does not serve; "" as soon as it does."""
    if within(lambda: process.poll() is not None or ready(b)) and process.poll() is None:
        takeover.publish(RUN)
        return ""
    process.kill()  # what it has of ports by now is in the way of who stands in its place
    process.wait()
    words = Path(SAID).read_text(encoding="utf-8", errors="replace").strip()[-LAST_WORDS:]
    return f"envoy did not start: {words or f'it was not ready after {SECONDS:.0f} s'}"


def settle(uid: int) -> None:
    """What systemd does before it starts the unit: its folder, that of its logs, and those of its tmpfiles.d."""
    for path in (RUN, LOGS):
        Path(path).mkdir(parents=True, exist_ok=True)
        os.chown(path, uid, uid)
    for line in Path(instance.TMPFILES).read_text(encoding="utf-8").splitlines():
        if line[:2] == "d ":
            _, path, mode, *owner, _ = line.split()
            Path(path).mkdir(parents=True, exist_ok=True)
            os.chown(path, *(int(each) if each.isdecimal() else 0 for each in owner))
            Path(path).chmod(int(mode, 8))


def ready(b: Behind) -> bool:
    """Whether it serves, and knows where each provider is."""
    try:
        clusters = (live() and envoy_admin.ask(ADMIN, "/clusters")) or ""
    except HostError:
        return False
    return all(f"::hostname::{host}\n" in clusters for host in b.hosts)


def live() -> bool:
    """Whether it serves."""
    try:
        return (envoy_admin.ask(ADMIN, "/ready") or "").startswith("LIVE")
    except HostError:
        return False


def within(holds: Callable[[], bool]) -> bool:
    """Wait for it; whether it came within the time that an Envoy has."""
    end = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE)
    return True
