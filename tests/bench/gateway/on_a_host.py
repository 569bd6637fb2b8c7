"""The gateway on a whole host: what it adds to an apply, and how long a host is without it when it was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from tests.bench.audit import POLICY, SETTINGS
from tests.bench.figure import Curve, Figure, Unmeasured, in_turn
from tests.bench.gateway import stage
from tests.bench.gateway.programs import demand
from tests.lab import Host, Lab, LabError
from tests.lab.network import BRIDGE, RESOLVER, inside
from tests.lab.process import call
from tests.programs import ENVOY
from tests.witness.name_server import NameServer

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "11"))
KILLS = 10
LONGEST = 0.5
PROVIDER = "9.9.9.1"  # of the lab's world; a host's resolver takes no private address for a public name
UNIT = "hostguard-gateway.service"


def measure() -> list[Figure | Curve]:
    """On lab hosts with a policy in force, one with a gateway and one without: `hostguard apply --yes --confirm-within
    0` as a whole, in turn. Routes: a time-out of a provider, which changes its listener. The firewall: one CIDR of a
    provider is another one. Killed: the main process of the gateway's unit gets SIGKILL while an account asks the
    provider through it, one request after another, each on a new connection, and the time from the last good answer
    before to the first one after is what it is without."""
    demand()
    try:
        with Lab() as lab, tempfile.TemporaryDirectory(prefix="gw-") as folder:
            return on(lab, Path(folder))
    except LabError as error:
        raise Unmeasured(str(error)) from None


def on(lab: Lab, folder: Path) -> list[Figure | Curve]:
    stage.certificates.make(folder)
    lab.world.run(["ip", "address", "add", f"{PROVIDER}/32", "dev", BRIDGE])
    names = NameServer(lab, RESOLVER, folder)
    names.answer({host: [PROVIDER] for host in stage.HOSTS}, ttl=60)
    try:
        with stage.provider(stage.Stage(folder), address=PROVIDER, within=inside(lab.world.name)):
            guarded, bare = host(lab, folder, "guarded"), host(lab, folder, "bare")
            applied(guarded, policy())
            applied(bare, policy(gateway=False))
            return [*applies(guarded, bare), killed(guarded)]
    finally:
        names.stop()


def policy(*, gateway: bool = True, total: str = "6s", cidr: str = "198.51.100.0/28") -> str:
    found: dict[str, Any] = yaml.safe_load(stage.POLICY.read_text(encoding="utf-8"))
    found["egress"]["providers"]["files"] = {"cidrs": [cidr]}
    if gateway:
        found["gateway"]["providers"]["payments"]["timeouts"] = {"total": total}
    else:
        del found["gateway"]
    return yaml.safe_dump(found)


def host(lab: Lab, folder: Path, name: str) -> Host:
    found = lab.host(name)
    call(["podman", "cp", str(ENVOY), f"{found.container}:/usr/bin/envoy"])
    found.run("chown root:root /usr/bin/envoy && chmod 755 /usr/bin/envoy")
    found.run("for each in shop envoy; do getent passwd $each || useradd --system --user-group $each; done")
    found.run("mkdir -p /etc/hostguard/schemas")
    found.write("/etc/hostguard/bench-ca.pem", (folder / "ca.pem").read_text())
    found.write("/etc/hostguard/schemas/payments.json", (stage.EXAMPLES / "schemas/payments.json").read_text())
    return found


def applied(on_: Host, text: str) -> float:
    """The seconds that it took."""
    on_.write(POLICY, text)
    began = time.perf_counter()
    done = on_.run(["python3", "-m", "hostguard", "apply", "--yes", "--confirm-within", "0"], env=SETTINGS, check=False)
    taken = time.perf_counter() - began
    if done.returncode:
        raise Unmeasured(f"hostguard apply ended with {done.returncode}: {(done.stderr + done.stdout).strip()[-300:]}")
    return taken


def in_turns(on_: Host, *texts: str) -> Callable[[], float]:
    """An apply of the next of these policies, each another than the one before."""
    waiting = list(texts)

    def apply() -> float:
        waiting.append(waiting.pop(0))
        return applied(on_, waiting[-1])

    return apply


def applies(guarded: Host, bare: Host) -> list[Figure]:
    print(f"bench: {ROUNDS} rounds of applies", file=sys.stderr, flush=True)
    other = "198.51.100.16/28"
    routes, rules, without, same, same_without = in_turn(
        ROUNDS,
        in_turns(guarded, policy(total="5s"), policy()),
        in_turns(guarded, policy(cidr=other), policy()),
        in_turns(bare, policy(gateway=False, cidr=other), policy(gateway=False)),
        partial(applied, guarded, policy()),
        partial(applied, bare, policy(gateway=False)),
    )
    no_gateway = "the firewall changes, no gateway"
    return [
        Figure("apply, routes", "routes change", no_gateway, routes, without, "≤ 1.3"),
        Figure("apply, firewall", "the firewall changes, with a gateway", no_gateway, rules, without),
        Figure("apply, nothing", "nothing changes, with a gateway", "nothing changes, no gateway", same, same_without),
    ]


def killed(guarded: Host) -> Curve:
    print(f"bench: the gateway is killed {KILLS} times", file=sys.stderr, flush=True)
    gaps = []
    for _ in range(KILLS):
        settings = [f"{name}={value}" for name, value in SETTINGS.items()]
        watch = ["python3", "-m", "tests.bench.gateway.gap", "127.0.0.84", "84", "4"]
        command = guarded.inside(["runuser", "-u", "shop", "--", "env", *settings, *watch])
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            time.sleep(1.5)
            guarded.run(f"kill -KILL $(systemctl show --property=MainPID --value {UNIT})")
            said = json.loads(client.communicate(timeout=60)[0])
        if not said["failed"]:
            raise Unmeasured(f"no request noticed that the gateway was killed: {said}")
        gaps.append(said["gap"])
    row = ["SIGKILL", f"{KILLS}", f"{median(gaps):.2f} s", f"{max(gaps):.2f} s",
           f"≤ {LONGEST} s{', missed' if max(gaps) > LONGEST else ''}"]  # fmt: skip
    return Curve("Without a gateway", ["after", "times", "median", "longest", "wanted"], [row])
