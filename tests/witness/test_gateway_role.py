"""The role `gateway` on a host that has nothing: its README's playbook as it stands, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.ansible.role_docs import ROLES
from hostguard.policy.gateway import UNIT
from tests.lab import Host, Lab, diff
from tests.lab.fleet import Fleet
from tests.lab.network import MANAGEMENT, RESOLVER
from tests.programs import ENVOY
from tests.witness.name_server import NameServer
from tests.witness.playbook import EVENTS, Run, run

pytestmark = pytest.mark.needs("lab", "envoy")

README = (ROLES / "gateway" / "README.md").read_text(encoding="utf-8")
PLAYBOOK, TASKS = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PROGRAM = "/usr/bin/envoy"
GATEWAY, RESOLVING = "hostguard.hostguard.gateway", "hostguard.hostguard.name_resolver"


def example() -> dict[str, Any]:
    """The README's play, in the lab: its hosts, its addresses, and the hash of the Envoy that is here."""
    text = PLAYBOOK
    (pin,) = re.findall(r"[0-9a-f]{64}", text)
    for said, here in (("hosts: gateways", "hosts: all"), ("192.0.2.53", RESOLVER),
                       ("192.0.2.0/24", f"{MANAGEMENT}/24"), (pin, sha256(Path(str(ENVOY))))):  # fmt: skip
        assert said in text
        text = text.replace(said, here.replace(".1/24", ".0/24"))
    (found,) = yaml.safe_load(text)
    assert found["roles"] == [GATEWAY, RESOLVING]
    found["vars"]["hostguard_policy"]["gateway"]["drain"] = "1s"  # there is nobody to wait for
    return dict(found)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="module")
def names(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    server = NameServer(lab, RESOLVER, tmp_path_factory.mktemp("names"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fleet(lab: Lab, names: NameServer, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    assert names.zone.exists()  # sudo looks for the host's own name, and waits long for nobody
    fleet = Fleet(lab, tmp_path_factory.mktemp("gated"), ["gated"])
    shutil.copy(str(ENVOY), fleet.folder / "envoy")
    fleet.hosts["gated"].run("systemctl disable --now envoy; rm /etc/systemd/system/envoy.service; userdel envoy")
    # Ansible's own folder in the host.
    assert play(fleet, {"roles": [], "pre_tasks": [{"ansible.builtin.ping": {}}]}).code == 0
    return fleet


@pytest.fixture
def host(fleet: Fleet) -> Host:
    return fleet.hosts["gated"]


def play(fleet: Fleet, changes: Mapping[str, Any], *options: str) -> Run:
    """The README's play with other keys; those of `vars` one by one, and None for without."""
    wanted = {**example(), **changes}
    wanted["vars"] = {key: value for key, value in {**example()["vars"], **changes.get("vars", {})}.items() if value}
    path = fleet.folder / "play.yml"
    path.write_text(yaml.safe_dump([wanted]))
    done = run(fleet, path, *options, env=EVENTS)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"event"')]
    results = tuple(event["result"] for event in events if event["event"] == "result")
    return Run(done.returncode, results, done.stdout + done.stderr)


def changed(done: Run) -> int:
    return sum(bool(result.get("changed")) for result in done.results)


def untouched(host: Host, before: dict[str, str]) -> bool:
    """A dump does not look at programs."""
    return diff(before, host.dump()) == [] and host.run(["test", "-e", PROGRAM], check=False).returncode == 1


def main_pid(host: Host) -> str:
    return host.out(["systemctl", "show", "--property=MainPID", "--value", UNIT])


def runs_the_file(host: Host) -> bool:
    return host.run(f"test /proc/{main_pid(host)}/exe -ef {PROGRAM}", check=False).returncode == 0


def asked(host: Host, account: str) -> str:
    curl = ["curl", "-so", "/dev/null", "--max-time", "10", "-w", "%{http_code}", "http://127.0.0.84:84/"]
    return host.run(["runuser", "-u", account, "--", *curl], check=False).stdout


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"hostguard_gateway_binary": None, "hostguard_gateway_sha256": None}, f"found nothing at {PROGRAM}"),
        ({"hostguard_gateway_sha256": "0" * 64}, f"expected {'0' * 64}"),
        ({"hostguard_gateway_binary": "nowhere/envoy"}, "hostguard_gateway_binary: "),
        ({"hostguard_gateway_sha256": None}, "hostguard_gateway_sha256: found nothing"),
    ],
    ids=["no program", "another file", "no file", "no hash"],
)
def test_what_it_refuses_touches_nothing(fleet: Fleet, host: Host, given: Mapping[str, Any], word: str) -> None:
    before = host.dump()
    done = play(fleet, {"vars": given, "pre_tasks": []})
    assert done.code == 2, done.text
    assert word in done.last["msg"], done.text
    assert untouched(host, before)


def test_a_check_of_an_empty_host_ends_before_the_apply_and_says_so(fleet: Fleet, host: Host) -> None:
    before = host.dump()
    done = play(fleet, {"roles": [GATEWAY]}, "--check")
    assert done.code == 0, done.text
    assert "is not there yet" in done.last["msg"]
    assert changed(done)
    assert untouched(host, before)


def test_the_readme_s_playbook_puts_a_provider_behind_a_gateway(fleet: Fleet, host: Host) -> None:
    done = play(fleet, {})
    assert done.code == 0, done.text
    assert runs_the_file(host)
    assert host.out(f"stat -c '%U %a' {PROGRAM}; getent passwd envoy").split("\n")[0] == "root 755"
    # The world has no such provider: the gateway says so to the account that may ask, and nobody else hears of it.
    assert (asked(host, "shop"), asked(host, "root"), asked(host, "nobody")) == ("503", "000", "000")
    again = play(fleet, {})
    assert (again.code, changed(again)) == (0, 0), again.text


def test_another_program_takes_over_in_the_readme_s_other_playbook_too(fleet: Fleet, host: Host) -> None:
    old = main_pid(host)
    with (fleet.folder / "envoy").open("ab") as file:
        file.write(b"\0")  # past its end: the same program in another file
    pin = {"hostguard_gateway_sha256": sha256(fleet.folder / "envoy")}
    whole = {"vars": pin, "roles": [], **yaml.safe_load(TASKS)}
    foretold = play(fleet, whole, "--check")
    assert (foretold.code, changed(foretold)) == (0, 1), foretold.text
    assert (main_pid(host), runs_the_file(host)) == (old, True)
    done = play(fleet, whole)
    assert done.code == 0, done.text
    assert main_pid(host) not in (old, "0")
    assert runs_the_file(host)
    assert asked(host, "shop") == "503"


def test_an_account_that_is_there_stays_as_it_is(fleet: Fleet, host: Host) -> None:
    host.run("usermod --shell /bin/true envoy")
    before = host.out("getent passwd envoy; getent group shop")
    pin = {"hostguard_gateway_sha256": sha256(fleet.folder / "envoy")}
    done = play(fleet, {"vars": pin, "roles": [GATEWAY]})
    assert (done.code, changed(done)) == (0, 0), done.text
    assert host.out("getent passwd envoy; getent group shop") == before


def test_a_policy_without_a_gateway_gives_it_back_and_asks_for_no_program(fleet: Fleet, host: Host) -> None:
    without = {"egress": example()["vars"]["hostguard_policy"]["egress"]}
    done = play(fleet, {"vars": {"hostguard_policy": without, "hostguard_gateway_binary": None}, "roles": [GATEWAY]})
    assert (done.code, done.last["outcome"]) == (0, "applied"), done.text
    assert main_pid(host) == "0"
    assert host.run(f"ls {PROGRAM} && id envoy", check=False).returncode == 0
