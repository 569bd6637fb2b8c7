"""What a host hands on of a gateway, and what stays there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hostguard.host.evidence import gateway
from hostguard.host.resource import HostError

SECRET = "sk-live"  # noqa: S105 - of nobody


def test_fields_that_may_hold_a_secret_stay_on_the_host() -> None:
    route = {"route": {"cluster": "a", "timeout": "6s"}, "request_headers_to_add": [{"header": {"value": SECRET}}],
             "match": {"headers": [{"name": "x", "string_match": {"exact": SECRET}}]}}  # fmt: skip
    filters = [{"name": "lua", "typed_config": {"@type": "l", "value": SECRET, "inline_code": SECRET}}]
    tls = {"trusted_ca": {"inline_string": SECRET}, "private_key": {"inline_string": SECRET}}
    told = {"routes": [route], "http_filters": filters, "validation_context": tls, "value": {"value": SECRET}}
    found = gateway.kept(told)
    assert SECRET not in json.dumps(found)
    assert found == {
        "routes": [{"route": {"cluster": "a", "timeout": "6s"}}],
        "http_filters": [{"name": "lua", "typed_config": {"@type": "l"}}],
        "validation_context": {"trusted_ca": {"inline_string": ""}},
    }


def test_a_number_is_kept() -> None:
    assert gateway.kept({"healthy_panic_threshold": {"value": 50.0}}) == {"healthy_panic_threshold": {"value": 50.0}}


@pytest.mark.parametrize("body", [None, "no JSON"])
def test_what_is_no_answer_raises(monkeypatch: pytest.MonkeyPatch, body: str | None) -> None:
    def ask(*_: Any) -> str | None:
        return body

    monkeypatch.setattr(gateway, "ask", ask)
    with pytest.raises(HostError):
        gateway.envoy({"admin": "/run/admin.sock", "targets": ["config_dump"]})


def test_the_last_certificate_that_a_provider_showed_counts(tmp_path: Path) -> None:
    def line(provider: str, days: float) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + (days + 0.5) * 86400))
        return json.dumps({"provider": provider, "cert_ends": at, "path": SECRET})

    silent = json.dumps({"provider": "b", "cert_ends": None})
    log = tmp_path / "access.log"
    lines = ["cut", line("a", 3), line("c", 9), line("a", 40), line("b", -2), silent, "[]", "3"]
    log.write_text("\n".join(lines), encoding="utf-8")
    asked = {"path": str(log), "providers": ["a", "b"]}
    assert gateway.certificate_ends(asked) == {"a": 40, "b": -2}
    assert gateway.certificate_ends({**asked, "path": str(tmp_path / "none")}) == {}


def program(path: Path, **more: Any) -> Any:
    return gateway.envoy_program({"path": str(path), "admin": "/nowhere", "hashed": True, **more})


def test_a_program_that_others_may_change_is_not_called(tmp_path: Path) -> None:
    called = tmp_path / "called"
    envoy = tmp_path / "envoy"
    envoy.write_text(f"#!/bin/sh\ntouch {called}\n", encoding="utf-8")
    envoy.chmod(0o777)
    found = program(envoy)
    assert str(envoy) in found["open_to"]
    assert (found["version"], called.exists()) == ("", False)
    assert found["sha256"] == hashlib.sha256(envoy.read_bytes()).hexdigest()
    assert program(envoy, hashed=False)["sha256"] == ""
    link = tmp_path / "link"
    link.symlink_to(envoy)
    assert str(envoy) in program(link)["open_to"], "whoever may change what it leads to may change it"
    assert not program(tmp_path / "none")["there"]


def test_a_file_without_a_certificate_is_unreadable(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(HostError, match="no certificate"):
        gateway.authorities({"path": str(empty)})


def test_an_account_that_is_not_there_has_no_number() -> None:
    asked = {"users": ["root", "no-such-account"], "groups": ["root"]}
    assert gateway.accounts(asked) == {"users": {"root": 0, "no-such-account": None}, "groups": {"root": 0}}


OF_A_FILE = {
    "certificate-ends": {"providers": ["payments"]},
    "gateway-log": {"since": 60, "slow": {"payments": 500}},
    "certificates": {},
}


@pytest.mark.parametrize("collector", OF_A_FILE)
@pytest.mark.parametrize("made", ["pipe", "link", "folder"])
def test_what_stands_in_place_of_a_file_keeps_nobody_waiting(tmp_path: Path, collector: str, made: str) -> None:
    """Its folder is the gateway's or the agent's own, and root reads there. In a process of its own, which can hang."""
    path, target = tmp_path / "file", tmp_path / "pipe"
    os.mkfifo(target)
    made_by = {"pipe": lambda: target.rename(path), "link": lambda: path.symlink_to(target), "folder": path.mkdir}
    made_by[made]()
    request = {"collect": collector, "path": str(path), "paths": [str(path)], **OF_A_FILE[collector]}
    look = "import json, sys; from hostguard.host import evidence; "
    look += "print(json.dumps(evidence.collect({'it': json.loads(sys.argv[1])})))"
    argv = [sys.executable, "-c", look, json.dumps(request)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    answer = json.loads(done.stdout)["it"]
    assert answer.get("unreadable") or answer["said"][str(path)]["error"]
