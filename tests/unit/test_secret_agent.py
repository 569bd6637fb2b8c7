"""The agent of a policy: what it is told for each way of logging in, and what judges make of what it left behind."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostguard.bundle import context_of
from hostguard.control import Verdict
from hostguard.controls.gateway import credentials
from hostguard.controls.secrets import fresh
from hostguard.controls.secrets.agent import CONFIGURATION, configuration, note, resources
from hostguard.host.evidence.secrets import secret_files
from hostguard.policy import keys
from hostguard.policy.gateway import Credential
from hostguard.policy.keys import Agent, Place
from hostguard.policy.load import PolicyError, of_variables
from hostguard.status import Severity
from tests.unit.a_gateway import GATEWAY, UPSTREAM

SERVER = "https://vault.example:8200"
APPROLE = {"role_id": "/etc/hostguard/role-id", "secret_id": "/var/lib/wrapped/secret-id"}
SECRETS = {
    "payments": {"path": "secret/data/payments"},
    "mtls": {"path": "secret/data/mtls", "certificate": "chain", "key": "key"},
}


def policy(**agent: Any) -> dict[str, Any]:
    said = {"server": SERVER, "ca": "/etc/ssl/vault.pem", "auth": APPROLE, "secrets": SECRETS, "poll": "10s", **agent}
    of = {"owner": "vault-agent", "group": "envoy", "agent": said}
    services = {"vault": {"hosts": ["vault.example"], "ports": [8200], "users": ["vault-agent"]}}
    egress = {"proxy_user": "envoy", "resolvers": ["10.0.0.2"], "services": services,
              "providers": {"p": {"hosts": ["api.provider.com"]}},
              "inbound": {"ssh": {"from": ["10.77.0.0/24"], "ports": [22]}}}  # fmt: skip
    return {"version": 1, "egress": egress, "secrets": of}


def agent(**said: Any) -> Agent:
    found = keys.derive(of_variables(policy(**said), "test").policy)
    assert found
    return found


def refused(tree: Mapping[str, Any]) -> list[str]:
    with pytest.raises(PolicyError) as error:
        of_variables(tree, "test")
    return [f"{each.key}: {each.expected}" for each in error.value.problems]


@pytest.mark.parametrize(
    ("auth", "type_", "config"),
    [
        (APPROLE, "approle", {"role_id_file_path": APPROLE["role_id"], "secret_id_file_path": APPROLE["secret_id"],
                              "remove_secret_id_file_after_reading": False}),
        ({**APPROLE, "wrapped_by": "auth/approle/role/host/secret-id"}, "approle",
         {"role_id_file_path": APPROLE["role_id"], "secret_id_file_path": APPROLE["secret_id"],
          "remove_secret_id_file_after_reading": True,
          "secret_id_response_wrapping_path": "auth/approle/role/host/secret-id"}),
        ({"method": "cert", "certificate": "/etc/h/c.pem", "key": "/etc/h/c.key", "role": "web"}, "cert",
         {"name": "web", "client_cert": "/etc/h/c.pem", "client_key": "/etc/h/c.key", "reload": True,
          "ca_cert": "/etc/ssl/vault.pem"}),
        ({"method": "jwt", "role": "web", "token": "/run/token/jwt"}, "jwt",
         {"path": "/run/token/jwt", "role": "web", "remove_jwt_after_reading": False}),
    ],
    ids=["approle", "wrapped", "cert", "jwt"],
)  # fmt: skip
def test_each_way_of_logging_in_gets_what_it_needs(auth: Any, type_: str, config: Any) -> None:
    said = configuration(agent(auth=auth))
    assert said["auto_auth"] == {"method": [{"type": type_, "mount_path": f"auth/{type_}", "config": config}]}
    assert "sink" not in said["auto_auth"]
    assert said["vault"] == {"address": SERVER, "ca_cert": "/etc/ssl/vault.pem", "retry": {"num_retries": 2}}


def test_a_login_by_the_cloud_is_vault_s_alone_and_reaches_the_cloud_s_metadata() -> None:
    auth = {"method": "aws", "role": "web"}
    assert any(line.startswith("secrets.agent.auth.method: ") for line in refused(policy(auth=auth)))
    found = agent(auth=auth, program="/usr/bin/vault")
    assert configuration(found)["auto_auth"]["method"][0]["config"] == {"type": "iam", "role": "web"}
    assert "IPAddressDeny" not in service(found)
    assert "IPAddressDeny=link-local multicast\n" in service(agent())


def service(of: Agent) -> str:
    return str(next(r["content"] for r in resources(of, "run-secrets.mount") if r["id"].endswith("agent.service")))


def test_every_secret_has_its_files_and_a_note_outside_of_the_folder_that_is_watched() -> None:
    said = configuration(agent())
    assert [(each["destination"], each["perms"]) for each in said["template"]] == [
        (path, "0440")
        for path in ("/run/secrets/mtls/pem", "/run/secrets/.agent/mtls", "/run/secrets/payments/new",
                     "/run/secrets/payments/old", "/run/secrets/.agent/payments")
    ]  # fmt: skip


def test_only_a_socket_makes_a_listener_and_all_three_of_its_rights_are_set() -> None:
    assert not {"listener", "api_proxy"} & set(configuration(agent()))
    (listener,) = configuration(agent(socket={"group": "shop"}))["listener"]
    assert (listener["socket_mode"], listener["socket_user"], listener["socket_group"]) == (
        "0660", "${uid:vault-agent}", "${gid:shop}")  # fmt: skip
    assert listener["require_request_header"] is True


def test_what_wraps_the_secret_id_may_be_removed_and_nothing_else_written() -> None:
    assert "ReadWritePaths=-" not in service(agent())
    wrapped = agent(auth={**APPROLE, "wrapped_by": "auth/approle/role/host/secret-id"})
    assert "ReadWritePaths=-/var/lib/wrapped\n" in service(wrapped)


@pytest.mark.parametrize("changed", [{"poll": "11s"}, {"sha256": "0" * 64}, {"socket": {"group": "shop"}}])
def test_what_it_is_started_with_makes_a_new_process(changed: dict[str, Any]) -> None:
    before, after = (resources(of, "run-secrets.mount")[-1]["mark"] for of in (agent(), agent(**changed)))
    assert before != after


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"secrets": {"a": {"path": "kv1/payments"}}},
            "secrets.agent.secrets.a.path: a path of a KV store",
        ),
        ({"overlap": "400d"}, "secrets.agent.overlap: a duration up to 366 days"),
        ({"overlap": "5s"}, "secrets.agent.overlap: at least `poll`"),
    ],
)
def test_what_can_t_be_meant_is_refused(changed: dict[str, Any], said: str) -> None:
    assert any(line.startswith(said) for line in refused(policy(**changed)))


@pytest.mark.parametrize(("mode", "taken"), [("0711", True), ("0750", True), ("0754", False), ("0713", False)])
def test_others_may_pass_through_the_root_and_do_no_more(mode: str, taken: bool) -> None:
    tree = policy()
    tree["secrets"]["mode"] = mode
    if taken:
        of_variables(tree, "test")
    else:
        assert any(line.startswith("secrets.mode: ") for line in refused(tree))


# Judges


def seen(**more: Any) -> dict[str, Any]:
    return {"age": 1, "size": 40, "in_memory": True, "owner": "vault-agent", "more": False,
            "readers": ["envoy", "vault-agent"], **more}  # fmt: skip


def told(judge: Any, said: Mapping[str, Any], **changed: Any) -> Verdict:
    verdict: Verdict = judge(context_of(of_variables(policy(**changed), "test")), said)
    return verdict


def test_a_secret_that_was_not_fetched_for_three_polls_is_named() -> None:
    one, other = (note(agent(), secret) for secret in agent().secrets)
    assert told(fresh.judge_fresh, {"notes": {one: seen(age=40), other: seen()}}).status == "pass"
    late = told(fresh.judge_fresh, {"notes": {one: seen(age=41), other: None}})
    assert late.status == "fail"
    assert late.actual == ("mtls was last fetched 41 s ago, and keeps that value; payments was never fetched since "
                           "this tmpfs was mounted")  # fmt: skip


@pytest.mark.parametrize(
    ("ages", "text", "status"),
    [
        ((90_000, 90_000), "2 30", "fail"),
        ((90_000, 90_000), "1 30", "pass"),  # an old rotation that ended
        ((90_000, 200_000), "2 30", "fail"),
        ((80_000, 200_000), "2 30", "pass"),  # it began with the newer of its files
        ((80_000, 80_000), "2 30", "pass"),
        ((90_000, None), "2 30", "pass"),  # gateway.credentials is told of that
    ],
)
def test_a_rotation_is_overdue_when_neither_key_changed_for_its_overlap(
    ages: tuple[int | None, ...], text: str, status: str
) -> None:
    files = dict(zip(("/run/secrets/payments/new", "/run/secrets/payments/old"), ages, strict=True))
    said = {"files": {path: age and seen(age=age) for path, age in files.items()},
            "notes": {"/run/secrets/.agent/payments": text}}  # fmt: skip
    assert told(fresh.judge_rotation, said, overlap="24h").status == status
    assert told(fresh.judge_rotation, said).status == "not_applicable"


KEY = replace(UPSTREAM, credential=Credential(Place("p", new="/run/secrets/p/new"), "Authorization", "", None))
SENDING = replace(GATEWAY, upstreams=(KEY,), account="envoy")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (None, "is not there"),
        (seen(size=1), "is empty"),
        (seen(size=2), "is empty"),  # a line's end of Windows
        (seen(in_memory=False), "is on a disk"),
        (seen(readers=["vault-agent"]), "can't be read by envoy"),
        (seen(readers=["envoy", "shop", "vault-agent"]), "may be read by shop"),
        (seen(more=True), "has an access list"),
    ],
)
def test_a_key_that_the_gateway_lacks_or_that_others_may_read_is_named(file: Any, said: str) -> None:
    verdict = credentials.judges(SENDING, {"files": {"/run/secrets/p/new": file}, "failed": {}})
    assert (verdict.status, verdict.severity) == ("fail", None)
    assert f"/run/secrets/p/new (for {KEY.name}) {said}" in verdict.actual


def test_requests_that_found_no_key_in_the_past_are_told_as_low() -> None:
    said = {"files": {"/run/secrets/p/new": seen()}, "failed": {"p": 0}}
    assert credentials.judges(SENDING, said).status == "pass"
    past = credentials.judges(SENDING, {**said, "failed": {"p": 3}})
    assert (past.status, past.severity) == ("fail", Severity.LOW)


def test_a_gateway_that_sends_no_key_needs_none() -> None:
    assert credentials.judges(GATEWAY, {"files": {}, "failed": {}}).status == "not_applicable"


# Evidence


@pytest.mark.needs("root")
def test_readers_are_those_that_pass_all_folders_and_may_read_the_file(tmp_path: Path) -> None:
    # Somebody who is in no group of root's.
    other = next(each for each in pwd.getpwall() if each.pw_uid and each.pw_gid)
    folder = tmp_path / "keys"
    folder.mkdir()
    key = folder / "new"
    key.write_text("a key that is not read")
    open_all_the_way(folder)

    def readers(folder_mode: int, mode: int, group: int = 0) -> list[str]:
        os.chown(key, 0, group)
        os.chown(folder, 0, group)
        folder.chmod(folder_mode)
        key.chmod(mode)
        found: list[str] = secret_files({"paths": [str(key)]})[str(key)]["readers"]
        return found

    assert readers(0o750, 0o440) == [each for each in readers(0o750, 0o440) if each != other.pw_name]
    assert other.pw_name in readers(0o2750, 0o440, other.pw_gid)
    assert other.pw_name not in readers(0o700, 0o444, other.pw_gid)  # no way through the folder
    assert other.pw_name not in readers(0o755, 0o404, other.pw_gid)  # its group may less than all others
    assert other.pw_name in readers(0o711, 0o444)


def open_all_the_way(folder: Path) -> None:
    for parent in folder.parents:
        if parent.stat().st_mode & 0o1 == 0:
            parent.chmod(parent.stat().st_mode | 0o111)


def test_a_file_that_is_not_there_is_none_and_its_bytes_are_counted_only(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("12345")
    found = secret_files({"paths": [str(tmp_path / "k"), str(tmp_path / "no")]})
    assert found[str(tmp_path / "no")] is None
    assert (found[str(tmp_path / "k")]["size"], found[str(tmp_path / "k")]["more"]) == (5, False)


def test_the_file_that_the_agent_reads_holds_paths_and_no_secret() -> None:
    (text,) = (r["content"] for r in resources(agent(), "run-secrets.mount") if r.get("path") == CONFIGURATION)
    assert "secret_id_file_path" in text
