"""What needs a new process of the gateway's, and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.bundle import compile_policy
from hostguard.controls.gateway import instance
from hostguard.controls.gateway.wanted import MIGRATE
from hostguard.host import systemctl
from hostguard.host.kinds import KINDS, unit
from hostguard.policy.gateway import Credential, Gateway
from hostguard.policy.keys import Place
from hostguard.policy.load import of_variables
from tests import breaks
from tests.gateway import minimal

GATEWAY = minimal.gateway("/usr/bin/envoy")
(PAYMENTS,) = GATEWAY.upstreams
FILES = replace(PAYMENTS, name="files", listen=85, group="office")


def wanted(g: Gateway = GATEWAY, **texts: Any) -> dict[str, Any]:
    said = {"bootstrap": "b", "twin": "t", "trust": "c", "secrets": {}, **texts}
    return {resource["id"]: resource for resource in instance.resources(g, **said)}


def marks(of: Mapping[str, Any]) -> str:
    mark = of[f"unit:{instance.UNIT}"]["mark"]
    assert of[f"file:{instance.MARK}"]["content"] == f"HOSTGUARD_MARK={mark}\n"
    assert next(iter(of)) == f"file:{instance.MARK}"
    return str(mark)


@pytest.mark.parametrize(
    "changed",
    [
        {"bootstrap": "other"},
        {"trust": "other"},
        {"secrets": {"/etc/hostguard/gateway/secret-payments-new.json": "where"}},
        {"g": replace(GATEWAY, workers=2)},
        {"g": replace(GATEWAY, program="/opt/envoy")},
        {"g": replace(GATEWAY, sha256="0" * 64)},
        {"g": replace(GATEWAY, drain=3)},
        {"g": replace(GATEWAY, nofile=7)},
    ],
)
def test_what_a_process_is_started_with_makes_a_new_one(changed: dict[str, Any]) -> None:
    assert marks(wanted(**changed)) != marks(wanted())


def test_a_provider_more_needs_no_new_process_but_a_folder() -> None:
    more = wanted(replace(GATEWAY, upstreams=(PAYMENTS, FILES)), twin="other")
    assert marks(more) == marks(wanted())
    folders = more[f"file:{instance.TMPFILES}"]["content"]
    assert "d /run/hostguard-gateway/files 2750 ${uid:envoy} ${gid:office} -\n" in folders


def test_the_folder_of_a_secret_is_there_before_a_process_and_stays_its_writer_s() -> None:
    place = Place("keys", new="/run/secrets/keys/new", old="/run/secrets/keys/old")
    keyed = replace(PAYMENTS, credential=Credential(place, "X-Api-Key", "", None))
    of = wanted(replace(GATEWAY, upstreams=(keyed,)))
    # Not among tmpfiles.d(5), which a boot reads before the tmpfs is mounted.
    assert "/run/secrets" not in of[f"file:{instance.TMPFILES}"]["content"]
    assert of[f"file:{instance.FOLDERS}"]["content"].count("d /run/secrets/keys - - - -\n") == 1
    service = of[f"file:/etc/systemd/system/{instance.UNIT}"]["content"]
    folders = f"+systemd-tmpfiles --create {instance.TMPFILES} {instance.FOLDERS}\n"
    for start in ("Start", "Reload"):
        assert service.index(folders) < service.index(f"Exec{start}=${{program:python3}}")
    assert f"ExecStartPre={folders}" in service
    assert f"ExecReload={folders}" in service
    assert "hostguard-agent.service" in service
    assert "hostguard-agent.service" not in wanted()[f"file:/etc/systemd/system/{instance.UNIT}"]["content"]


def test_a_provider_without_a_group_has_no_folder() -> None:
    of = wanted(replace(GATEWAY, upstreams=(replace(PAYMENTS, group=None),)))
    assert "payments" not in of[f"file:{instance.TMPFILES}"]["content"]


def test_the_twin_is_tried_as_the_account_that_will_run_it() -> None:
    (tried,) = [resource for resource in wanted().values() if "check" in resource]
    assert tried["path"] == instance.TWIN
    assert tried["as"] == "${uid:envoy}"
    assert tried["check"][0] == GATEWAY.program


def test_the_pin_is_looked_at_before_each_start() -> None:
    pinned = wanted(replace(GATEWAY, sha256="ab" * 32))[f"file:/etc/systemd/system/{instance.UNIT}"]["content"]
    starts = [line for line in pinned.splitlines() if line.startswith("Exec") and instance.START in line]
    assert [f"--sha256 {'ab' * 32} " in line for line in starts] == [True, True]


def test_listeners_come_after_what_they_need_and_go_before_it() -> None:
    order = list(KINDS)
    assert order.index("file") < order.index("unit") < order.index("xds") < order.index("lookup")


def test_a_process_that_is_the_one_of_before_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(unit, "run", called.append)
    monkeypatch.setattr(systemctl, "show", lambda units, _: {name: {"MainPID": "7"} for name in units})
    monkeypatch.setattr(unit, "let_go", lambda _: None)
    monkeypatch.setattr(unit, "_mark", lambda _: "now")
    resource = {"id": "u", "unit": "a.service", "mark": "wanted", "active": True}
    for before in ("now", "older"):
        unit.restore([resource], {"u": {"active": True, "enabled": True, "mark": before}})
    assert called == [["systemctl", "reload-or-restart", "--", "a.service"]]


@pytest.mark.parametrize(("kernel", "by"), [(None, "gateway.instance"), ({MIGRATE: 0}, "kernel.custom")])
def test_the_kernel_hands_over_what_waits_unless_the_policy_has_its_own_value(kernel: Any, by: str) -> None:
    text = (Path(breaks.__file__).parent / "gateway.yml").read_text(encoding="utf-8")
    data = {**yaml.safe_load(text), **({"kernel": kernel} if kernel else {})}
    found = compile_policy(of_variables(data, "p")).resources
    assert [each["control"] for each in found if each.get("key") == MIGRATE] == [by]
