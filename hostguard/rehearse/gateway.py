"""The real Envoy in the stage, with what the policy's own apply has written for it there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
PROGRAM, CA = f"{PLACE}/envoy", f"{PLACE}/ca.pem"
SECONDS, PAUSE = 10.0, 0.02
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
    return Behind(g.account, hosts, members, os.path.realpath(found or ""), why_not)


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
        certificates.make(place, {"provider": certificates.Leaf(b.hosts)})
        Path(XDS).mkdir(parents=True)
        mount("tmpfs", str(Path(LOGS).parent), "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    except (OSError, HostError) as error:
        return f"the gateway can't be set up here: {error}"
    return ""


@contextlib.contextmanager
def running(b: Behind, accounts: Mapping[str, int], all_accounts: bool) -> Iterator[str]:
    """Envoy, as its unit starts it; yields why there is none, "" where it serves."""
    uid = accounts[b.account]
    settle(uid)
    said = Path(PLACE, "said")
    options = ["-c", instance.BOOTSTRAP, "--disable-hot-restart", "--reject-unknown-dynamic-fields"]
    options += ["--concurrency", "1", "--log-level", "warning"]
    become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs",
              "--inh-caps=-all,+net_bind_service", "--ambient-caps=-all,+net_bind_service"]  # fmt: skip
    with said.open("wb") as log:
        argv = [*(become if all_accounts else []), PROGRAM, *options]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        if _within(lambda: process.poll() is not None or ready(b)) and process.poll() is None:
            takeover.publish(RUN)
            yield ""
        else:
            process.kill()  # what it has of ports by now is in the way of who stands in its place
            process.wait()
            words = said.read_text(encoding="utf-8", errors="replace").strip()[-LAST_WORDS:]
            yield f"envoy did not start: {words or f'it was not ready after {SECONDS:.0f} s'}"
    finally:
        process.kill()
        process.wait()


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
        if not (envoy_admin.ask(ADMIN, "/ready") or "").startswith("LIVE"):
            return False
        clusters = envoy_admin.ask(ADMIN, "/clusters") or ""
    except HostError:
        return False
    return all(f"::hostname::{host}\n" in clusters for host in b.hosts)


def _within(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE)
    return True
