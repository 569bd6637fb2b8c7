"""A host asked over ansible's own connection: here to this machine, as another account, or to nobody."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from hostguard.ansible.inventory import Inventory, InventoryError
from hostguard.fleet import asking
from hostguard.fleet.engine import EngineError, Event, Target
from tests.patience import slowness

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "python3"}
AS_NOBODY = {"ansible_become": True, "ansible_become_method": "su", "ansible_become_user": "nobody",
             "ansible_become_flags": "-s /bin/sh"}  # fmt: skip
SHADOW = {"do": "read", "bundle": {"resources": [], "areas": None, "evidence": {
    "shadow": {"collect": "text", "path": "/etc/shadow"}}}}  # fmt: skip


def asked(folder: Path, hosts: dict[str, Any], request: dict[str, Any]) -> dict[str, Event]:
    place = folder / "inventory.json"
    place.write_text(json.dumps({"all": {"hosts": hosts}}))
    events = list(asking.ask(Target((str(place),)), lambda _: request))
    assert events[0].result["hosts"] == list(hosts)
    return {event.host: event for event in events[1:] if event.status != "started"}


def test_each_host_answers_with_what_its_inventory_says(tmp_path: Path) -> None:
    policy = {"platform": {"cpu_min": "{{ 2 * 2 }}"}}
    found = asked(tmp_path, {"a": LOCAL, "b": {**LOCAL, "hostguard_policy": policy}}, SHADOW)
    assert {name: event.result["policy"] for name, event in found.items()} == {
        "a": {},
        "b": {"platform": {"cpu_min": 4}},
    }


@pytest.mark.needs("root")
def test_become_is_heeded(tmp_path: Path) -> None:
    found = asked(tmp_path, {"root": LOCAL, "nobody": {**LOCAL, **AS_NOBODY}}, SHADOW)
    shadows = {name: event.result["answer"]["evidence"]["shadow"] for name, event in found.items()}
    assert "said" in shadows["root"]
    assert shadows["nobody"] == {"unreadable": "/etc/shadow: Permission denied"}


def test_one_that_does_not_answer_holds_up_nobody(tmp_path: Path) -> None:
    silent = {"ansible_host": "127.77.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-o ConnectTimeout=2"}
    start = time.monotonic()
    found = asked(tmp_path, {"silent": silent, "a": LOCAL, "b": LOCAL}, SHADOW)
    assert {name: event.status for name, event in found.items()} == {"silent": "unreachable", "a": "ok", "b": "ok"}
    assert time.monotonic() - start < 60 * slowness()


def test_who_has_no_python_is_named(tmp_path: Path) -> None:
    event = asked(tmp_path, {"a": {**LOCAL, "ansible_python_interpreter": "/no/python"}}, SHADOW)["a"]
    assert event.status == "failed"
    assert "/no/python" in event.result["msg"]


def test_a_plugin_that_nobody_has(tmp_path: Path) -> None:
    event = asked(tmp_path, {"a": {"ansible_connection": "carrier_pigeon"}}, SHADOW)["a"]
    assert (event.status, "carrier_pigeon" in event.result["msg"]) == ("failed", True)


def test_an_inventory_without_hosts() -> None:
    with pytest.raises(InventoryError, match="found no hosts"):
        Inventory(["/dev/null"])
    with pytest.raises(EngineError, match="found no hosts that match 'b'"):
        list(asking.ask(Target(("a,",), limit="b"), lambda _: SHADOW))
