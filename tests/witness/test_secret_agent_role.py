"""The role `secret_agent` on a host that has nothing: its README's playbook as it stands, what it refuses, and where
the secrets that pass through it are not."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.ansible.role_docs import ROLES
from hostguard.policy.keys import UNIT
from tests.lab import Host, Lab, diff
from tests.lab.fleet import Fleet
from tests.lab.host import PODMAN
from tests.lab.network import MANAGEMENT
from tests.lab.process import call
from tests.programs import BAO
from tests.witness import vault
from tests.witness.playbook import EVENTS, Run, run
from tests.witness.vault import bao, holds, put

pytestmark = pytest.mark.needs("lab", "bao")

README = (ROLES / "secret_agent" / "README.md").read_text(encoding="utf-8")
PLAYBOOK, TASKS = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PROGRAM, KEY, NOTE = "/usr/bin/bao", "/run/secrets/payments/new", "/run/secrets/.agent/payments"
ROLE_ID, SECRET_ID = "/etc/vault-agent/role-id", "/etc/vault-agent/secret-id"
AT_SERVER = "auth/approle/role/web1"
WRAPPED = ["bao", "write", "-wrap-ttl=10m", "-field=wrapping_token", "-f", f"{AT_SERVER}/secret-id"]
PLANTED = {"role_id": "5ecret-role-id", "secret_id": "5ecret-secret-id", "key": "5ecret-key"}
NO_COMMAND: dict[str, Any] = {"hostguard_secret_agent_secret_id_command": None}


def example() -> dict[str, Any]:
    """The README's play, in the lab: its hosts, its server, and the hash of the program that is here."""
    text = PLAYBOOK
    (pin,) = re.findall(r"[0-9a-f]{64}", text)
    (role_id,) = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", text)
    for said, here in (("hosts: gateways", "hosts: all"), ("https://192.0.2.20:8200", vault.TLS),
                       ("192.0.2.0/24", f"{MANAGEMENT}/24".replace(".1/24", ".0/24")), (pin, sha256(Path(str(BAO)))),
                       (role_id, PLANTED["role_id"])):  # fmt: skip
        assert said in text
        text = text.replace(said, here)
    (found,) = yaml.safe_load(text)
    found["vars"]["hostguard_policy"]["secrets"]["agent"]["poll"] = "2s"  # a test does not wait for a minute
    return dict(found)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="module")
def fleet(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A host, which also has the server; and a controller whose `bao` asks that one."""
    fleet = Fleet(lab, tmp_path_factory.mktemp("keyed"), ["keyed"])
    host = fleet.hosts["keyed"]
    call([*PODMAN, "cp", str(BAO), f"{host.container}:{vault.PROGRAM}"])
    host.run(f"chmod 755 {vault.PROGRAM}; userdel vault-agent; mkdir /etc/hostguard")
    shutil.copy(str(BAO), fleet.folder / "bao")
    there = ["exec", "--env=HOME=/root", f"--env=BAO_ADDR={vault.TLS}", "--env=BAO_TOKEN=root",
             f"--env=BAO_CACERT={vault.CA}", host.container, vault.PROGRAM]  # fmt: skip
    commands = fleet.folder / "commands"
    commands.mkdir()
    asks = commands / "bao"
    asks.write_text(
        f'#!/bin/sh\n{" ".join([*PODMAN, *there])} "$@" | tee -a {fleet.folder}/handed-out\n'
        f"echo >> {fleet.folder}/handed-out\n"
    )
    asks.chmod(0o755)
    with vault.over_tls(host):
        (fleet.folder / "vault-ca.pem").write_text(host.run(["cat", vault.CA]).stdout)
        bao(host, "auth", "enable", "approle", at=vault.TLS)
        host.write("/root/reader.hcl", vault.READER)
        bao(host, "policy", "write", "reader", "/root/reader.hcl", at=vault.TLS)
        bao(host, "write", AT_SERVER, "token_policies=reader", f"role_id={PLANTED['role_id']}", at=vault.TLS)
        put(host, key=PLANTED["key"], at=vault.TLS)
        # Ansible's own folder in the host.
        assert play(fleet, {"roles": [], "pre_tasks": [{"ansible.builtin.ping": {}}]}).code == 0
        yield fleet


@pytest.fixture
def host(fleet: Fleet) -> Host:
    return fleet.hosts["keyed"]


def play(fleet: Fleet, changes: Mapping[str, Any], *options: str, env: Mapping[str, str] = EVENTS, **agent: Any) -> Run:
    """The README's play with other keys; those of `vars` one by one, and None for without; `agent` as the policy's
    agent has them."""
    first = example()
    wanted = {**first, **changes}
    wanted["vars"] = {key: value for key, value in {**first["vars"], **changes.get("vars", {})}.items() if value}
    wanted["vars"]["hostguard_policy"].get("secrets", {}).get("agent", {}).update(agent)
    path = fleet.folder / "play.yml"
    path.write_text(yaml.safe_dump([wanted]))
    done = run(fleet, path, *options, env={"PATH": f"{fleet.folder / 'commands'}:{os.environ['PATH']}", **env})
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"event"')]
    results = tuple(event["result"] for event in events if event["event"] == "result")
    return Run(done.returncode, results, done.stdout + done.stderr)


def changed(done: Run) -> int:
    return sum(bool(result.get("changed")) for result in done.results)


def handed_out(fleet: Fleet) -> list[str]:
    """What the controller's `bao` has printed so far."""
    path = fleet.folder / "handed-out"
    return path.read_text().split() if path.exists() else []


def main_pid(host: Host) -> str:
    return host.out(["systemctl", "show", "--property=MainPID", "--value", UNIT])


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"hostguard_secret_agent_binary": None, "hostguard_secret_agent_sha256": None}, f"found nothing at {PROGRAM}"),
        ({"hostguard_secret_agent_sha256": "0" * 64}, f"expected {'0' * 64}"),
        ({"hostguard_secret_agent_ca": "nowhere.pem"}, "hostguard_secret_agent_ca: "),
    ],
    ids=["no program", "another file", "no certificates"],
)
def test_what_it_refuses_touches_nothing(fleet: Fleet, host: Host, given: Mapping[str, Any], word: str) -> None:
    before = host.dump()
    done = play(fleet, {"vars": given})
    assert done.code == 2, done.text
    assert word in done.last["msg"], done.text
    assert diff(before, host.dump()) == []


def test_a_check_of_an_empty_host_ends_before_the_apply_and_hands_out_nothing(fleet: Fleet, host: Host) -> None:
    before = host.dump()
    done = play(fleet, {}, "--check", "--diff")
    assert done.code == 0, done.text
    assert "is not there yet" in done.last["msg"]
    assert changed(done)
    assert (diff(before, host.dump()), handed_out(fleet)) == ([], [])


def test_the_readme_s_playbook_brings_the_keys(fleet: Fleet, host: Host) -> None:
    done = play(fleet, {})
    assert done.code == 0, done.text
    assert host.run(["cat", KEY]).stdout == PLANTED["key"]
    modes = host.out(f"stat -c '%a %U %G' {KEY} {ROLE_ID} {SECRET_ID} {PROGRAM}").splitlines()
    assert modes == ["440 vault-agent envoy", *2 * ["400 vault-agent vault-agent"], "755 root root"]
    assert host.out("getent passwd vault-agent").endswith(":/nonexistent:/usr/sbin/nologin")
    assert host.run(["cat", SECRET_ID]).stdout == handed_out(fleet)[0]
    for options in (["--check", "--diff"], []):
        again = play(fleet, {}, *options)
        assert (again.code, changed(again)) == (0, 0), again.text
    assert len(handed_out(fleet)) == 1, "the second time nothing was asked of the server"


def login(**changes: Any) -> dict[str, Any]:
    """The README's play with the one task of the role that gives the login; without what is None."""
    said = example()["vars"]
    given = {"role_id": PLANTED["role_id"], "secret_id_command": ["bao"], "policy": said["hostguard_policy"], **changes}
    arguments = {key: value for key, value in given.items() if value}
    return {"roles": [], "tasks": [{"hostguard.hostguard.secret_agent_login": arguments}]}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"secret_id": "5ecret"}, "secret_id_command: found one beside secret_id"),
        ({"secret_id_command": None}, f"{SECRET_ID}: found nothing on the host"),
        ({"secret_id_command": ["false"]}, "false ended with 1 on the controller"),
        ({"secret_id_command": ["true"]}, "true printed nothing"),
        ({"secret_id_command": ["/nowhere"]}, "/nowhere could not be run on the controller"),
        ({"role_id": "5ecret\n5ecret"}, "role_id: found several lines"),
    ],
    ids=["two", "none", "a command that fails", "that says nothing", "that is none", "two lines"],
)
def test_a_login_that_is_none_is_said_and_not_shown(
    fleet: Fleet, host: Host, given: Mapping[str, Any], word: str
) -> None:
    host.run(["mv", SECRET_ID, "/root/kept"])
    try:
        done = play(fleet, login(**given), "-vvv")
    finally:
        host.run(["mv", "/root/kept", SECRET_ID])
    assert done.code == 2, done.text
    assert word in done.last["msg"], done.text
    assert "5ecret" not in done.text


def test_the_role_says_what_is_wrong_with_a_login(fleet: Fleet) -> None:
    given = {"hostguard_secret_agent_role_id": "5ecret\n5ecret"}
    done = play(fleet, {"vars": given})
    assert done.code == 2, done.text
    assert done.last["msg"].startswith("hostguard_secret_agent_role_id: found several lines"), done.text
    assert "5ecret" not in done.text


def test_another_program_and_other_certificates_start_it_anew_and_the_keys_stay(fleet: Fleet, host: Host) -> None:
    old = main_pid(host)
    with (fleet.folder / "bao").open("ab") as file:
        file.write(b"\0")  # past its end: the same program in another file
    with (fleet.folder / "vault-ca.pem").open("a") as file:
        file.write("\n")
    whole = {"vars": {"hostguard_secret_agent_sha256": sha256(fleet.folder / "bao")}, "roles": [],
             **yaml.safe_load(TASKS)}  # fmt: skip
    whole["vars"]["hostguard_policy"] = without_egress()
    foretold = play(fleet, whole, "--check")
    assert (foretold.code, changed(foretold), main_pid(host)) == (0, 3, old), foretold.text  # and the start
    done = play(fleet, whole)
    assert done.code == 0, done.text
    assert main_pid(host) not in (old, "0")
    assert host.run(f"test /proc/{main_pid(host)}/exe -ef {PROGRAM}", check=False).returncode == 0
    put(host, key="after", at=vault.TLS)
    holds(host, KEY, "after")
    put(host, key=PLANTED["key"], at=vault.TLS)
    again = play(fleet, whole)
    assert (again.code, changed(again)) == (0, 0), again.text


def without_egress() -> dict[str, Any]:
    """The README's policy without its rules, which would hold this host's server up."""
    found = example()["vars"]["hostguard_policy"]
    found["secrets"]["agent"]["secrets"]["payments"]["group"] = "envoy"
    return {"secrets": found["secrets"]}


ON_DISK = """
find / -xdev -type f -size -20M ! -path /root/planted ! -path '/etc/vault-agent/*' -exec grep -lFf /root/planted {} +
cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2> /dev/null | grep -caFf /root/planted
journalctl --no-pager | grep -cFf /root/planted
"""


def planted(host: Host, values: Sequence[str]) -> None:
    """Write them down for grep, as they are and as base64 has them."""
    encoded = [base64.b64encode(each.encode()).decode().rstrip("=")[:-1] for each in values]
    host.write("/root/planted", "\n".join([*values, *encoded]) + "\n", mode="600")


@pytest.mark.parametrize("how", ["by value", "wrapped"])
def test_no_secret_is_anywhere_but_in_its_file(fleet: Fleet, host: Host, how: str) -> None:
    """Not in output at -vvv with --diff, a log, a callback's JSON, cached facts or temporary files, here or there."""
    if how == "by value":
        bao(host, "write", f"{AT_SERVER}/custom-secret-id", f"secret_id={PLANTED['secret_id']}", at=vault.TLS)
        given = {
            "hostguard_secret_agent_secret_id_command": None,
            "hostguard_secret_agent_secret_id": PLANTED["secret_id"],
        }
        agent = {}
    else:
        given = {"hostguard_secret_agent_secret_id_command": WRAPPED}
        agent = {"auth": wrapped()}
    told = fleet.folder / f"told-{how.split()[0]}"
    env = {"ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.tree", "ANSIBLE_CALLBACK_TREE_DIR": str(told / "tree"),
           "ANSIBLE_LOG_PATH": str(told / "log"), "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "1",
           "ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(told / "facts")}  # fmt: skip
    told.mkdir()
    given["hostguard_secret_agent_sha256"] = sha256(fleet.folder / "bao")
    host.run(["rm", "-f", ROLE_ID])
    before = len(handed_out(fleet))
    output = ""
    for number, more in enumerate(({"ANSIBLE_STDOUT_CALLBACK": "default"}, EVENTS)):
        done = play(fleet, {"vars": given, "gather_facts": True}, "-vvv", "--diff", env={**env, **more}, **agent)
        assert done.code == 0, done.text
        output += done.text
        if number == 0:
            assert re.search(r"changed=[1-9]", done.text), done.text
        else:
            assert changed(done) == 0, done.text
    assert host.run(["cat", KEY]).stdout == PLANTED["key"]
    values = [*PLANTED.values(), *handed_out(fleet)[before:]]
    assert len(values) == (3 if how == "by value" else 4)
    here = [path for path in (*told.rglob("*"), *(fleet.folder / "ansible").rglob("*")) if path.is_file()]
    assert {"log", "keyed"} <= {path.name for path in here}
    for value in values:
        assert value not in output
        assert [path for path in here if value.encode() in path.read_bytes()] == []
    planted(host, values)
    assert host.run(ON_DISK, check=False).stdout.split() == ["0", "0"]


def wrapped() -> dict[str, str]:
    return {"role_id": ROLE_ID, "secret_id": "/var/lib/vault-agent/secret-id", "wrapped_by": f"{AT_SERVER}/secret-id"}


def test_what_wraps_is_handed_out_where_the_agent_needs_it_and_never_else(fleet: Fleet, host: Host) -> None:
    given = {"hostguard_secret_agent_secret_id_command": WRAPPED,
             "hostguard_secret_agent_sha256": sha256(fleet.folder / "bao")}  # fmt: skip
    assert play(fleet, {"vars": given}, auth=wrapped()).code == 0
    first = len(handed_out(fleet))

    def done(*options: str, **agent: Any) -> tuple[int, int]:
        ran = play(fleet, {"vars": given}, *options, auth=wrapped(), **agent)
        assert ran.code == 0, ran.text
        return changed(ran), len(handed_out(fleet)) - first

    assert done() == (0, 0)
    # What it had was in its memory; that it does not fetch any more shows once its last note is old.
    host.run(f"systemctl restart {UNIT}; touch -d '-1 hour' {NOTE}")
    assert done("--check") == (2, 0)  # and it would be started
    assert done()[1] == 1
    put(host, key="of the next login", at=vault.TLS)
    holds(host, KEY, "of the next login")
    assert host.out("ls /var/lib/vault-agent") == ""
    assert done() == (0, 1)
    # An apply that starts it anew takes its login away too.
    assert done(poll="3s")[1] == 2
    put(host, key=PLANTED["key"], at=vault.TLS)
    holds(host, KEY, PLANTED["key"])


def test_a_folder_of_somebody_else_s_is_not_the_agent_s_to_remove_files_from(fleet: Fleet) -> None:
    auth = {**wrapped(), "secret_id": "/etc/vault-agent/secret-id"}
    done = play(fleet, {"vars": {"hostguard_secret_agent_sha256": sha256(fleet.folder / "bao")}}, auth=auth)
    assert done.code == 2, done.text
    assert "/etc/vault-agent: found a folder of the account number 0" in done.last["msg"]


def test_a_policy_without_an_agent_gives_it_back_and_asks_for_no_program(fleet: Fleet, host: Host) -> None:
    without = {"secrets": {"owner": "vault-agent", "group": "envoy"}}
    done = play(fleet, {"vars": {"hostguard_policy": without, "hostguard_secret_agent_binary": None}})
    assert (done.code, done.last["outcome"]) == (0, "applied"), done.text
    assert main_pid(host) == "0"
    assert host.run(f"ls {PROGRAM} && id vault-agent", check=False).returncode == 0
