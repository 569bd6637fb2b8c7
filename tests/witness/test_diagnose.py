"""Each fault made on a whole host: the diagnosis names it, and nothing else. The last test prints who named what."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import Host, Lab
from tests.patience import until
from tests.witness.policy import PLACE

pytestmark = pytest.mark.needs("lab")

POLICY = """
version: 1
egress:
  via: proxy
  proxy_user: envoy
  resolvers: [10.0.0.2]
  time_servers: [10.0.0.3]
  providers:
    payments: {cidrs: [203.0.113.5/32]}
  inbound:
    ssh: {from: [10.77.0.0/24], ports: [22]}
limits: {nofile: 4096, units: [shop.service]}
platform: {clock_sync: off}
"""
NAMED: dict[str, list[str]] = {}
"""The rules that found something, by the fault that was made."""

# Opens so many files, says so, and waits.
FULL = """
import os, sys, time
kept = [os.open("/", os.O_RDONLY) for _ in range(int(sys.argv[1]))]
print("full", flush=True)
time.sleep(9999)
"""


@dataclass(frozen=True)
class World:
    lab: Lab
    host: Host


@dataclass(frozen=True)
class Fault:
    """`made` makes it, for as long as it is open; `rule` must name it; `says` must stand in what it says."""

    made: Callable[[World], contextlib.AbstractContextManager[Any]]
    rule: str
    says: str
    arguments: tuple[str, ...] = ()


@contextlib.contextmanager
def service(host: Host, name: str, program: str, *arguments: str, user: str = "root") -> Iterator[None]:
    """A unit that runs this program of Python's, and has said a word."""
    options = ["--property=StandardOutput=file:/run/said", f"--uid={user}"]
    host.run(["systemd-run", f"--unit={name}", *options, "python3", "-uc", program, *arguments])
    try:
        until(lambda: host.run("test -s /run/said", check=False).returncode == 0, "the program is ready")
        yield
    finally:
        host.run(f"systemctl stop {name}; rm -f /run/said", check=False)


@contextlib.contextmanager
def files_gone(world: World) -> Iterator[None]:
    with service(world.host, "shop.service", FULL, "3400"):
        yield


FAULTS = {
    "open files": Fault(files_gone, "open-files", "shop.service"),
}


@pytest.fixture(scope="module")
def world(lab: Lab) -> World:
    host = lab.host("ill")
    host.write(PLACE, POLICY)
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr + done.stdout
    return World(lab, host)


def diagnosed(host: Host, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = host.hostguard("diagnose", "--format", "json", *arguments)
    assert done.stdout, done.stderr
    (found,) = json.loads(done.stdout)["hosts"]
    return done.returncode, found


def test_a_host_without_a_fault_has_no_finding(world: World) -> None:
    code, found = diagnosed(world.host)
    NAMED["none"] = [each["rule"] for each in found["findings"]]
    assert (found["findings"], found["unread"], code) == ([], [], 0)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_no_other(world: World, name: str) -> None:
    fault = FAULTS[name]
    with fault.made(world):
        code, found = diagnosed(world.host, *fault.arguments)
    NAMED[name] = [each["rule"] for each in found["findings"]]
    assert ({*NAMED[name]}, found["unread"], code) == ({fault.rule}, [], 1), found["findings"]
    assert any(fault.says in " ".join(map(str, each.values())) for each in found["findings"]), found["findings"]


def test_a_host_that_is_well_again_has_no_finding(world: World) -> None:
    code, found = diagnosed(world.host)
    NAMED["none, after all of them"] = [each["rule"] for each in found["findings"]]
    assert (found["findings"], code) == ([], 0)


def test_the_confusion_table(capsys: pytest.CaptureFixture[str]) -> None:
    rules = sorted({fault.rule for fault in FAULTS.values()} | {rule for found in NAMED.values() for rule in found})
    width = max(map(len, NAMED))
    with capsys.disabled():
        print(f"\n{'fault made':<{width}}  {'  '.join(rules)}")
        for name, found in NAMED.items():
            print(f"{name:<{width}}  {'  '.join(f'{found.count(rule) or chr(183):^{len(rule)}}' for rule in rules)}")
    for name, found in NAMED.items():
        assert {*found} == ({FAULTS[name].rule} if name in FAULTS else set()), name
