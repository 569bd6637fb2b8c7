"""Answers on their way through a schema: which are looked at, and what is left of one that is refused."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hostguard.controls.gateway import lua
from tests.gateway.checks import Check, checking
from tests.gateway.provider import Behaviour, Provider, answers, chunks
from tests.gateway.proxy import MIB, ask, gateway, running, upstream
from tests.patience import until

pytestmark = pytest.mark.needs("envoy")
PAYMENT = {
    "type": "object",
    "required": ["id", "status"],
    "properties": {
        "id": {"type": "integer"},
        "status": {"enum": ["paid", "failed"]},
        "lines": {"type": "array", "items": {"properties": {"text": {"type": "string", "maxLength": 4}}}},
    },
}


@pytest.mark.usefixtures("names")
def test_an_answer_that_is_no_good_one_passes_as_it_is(pki: Path, first: Provider) -> None:
    wrong = b'{"id": "x"}'
    passing = {
        "another status": (answers(404, wrong), "GET"),
        "another type": (answers(body=wrong, kind="text/plain"), "GET"),
        "no content": (answers(204, b""), "GET"),
        "only its head": (answers(body=wrong), "HEAD"),
    }
    with running(gateway(upstream(payload={"schema": PAYMENT}), ca=pki / "ca.pem")):
        for name, (behave, method) in passing.items():
            first.behave = behave
            got = ask(method=method)
            assert "x-hostguard-reason" not in got.headers, name
            assert got.body in (wrong, b""), name


def refusals() -> dict[str, Behaviour]:
    wrong, good = b'{"id": "x"}', b'{"id": 1, "status": "paid"}'
    return {
        "wrong": answers(body=wrong),
        "wrong, created": answers(201, wrong),
        "with a character set": answers(body=wrong, kind="Application/JSON; charset=utf-8"),
        "of no type": answers(body=wrong, kind=""),
        "empty": answers(body=b""),
        "compressed": answers(body=good, content_encoding="gzip"),
        "too large to check": chunks(MIB + 1),
    }


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("name", refusals())
def test_an_answer_that_is_refused_leaves_nothing_of_itself(pki: Path, first: Provider, name: str) -> None:
    first.behave = refusals()[name]
    with running(gateway(upstream(payload={"schema": PAYMENT}), ca=pki / "ca.pem")) as proxy:
        got = ask(headers={"Accept-Encoding": "gzip"})
        assert (got.status, got.headers["x-hostguard-reason"], got.whole) == (502, "payload", True)
        assert set(got.headers) == {"content-type", "content-length", "date", "x-hostguard-reason"}
        assert json.loads(got.body) == {"error": "the gateway refused the answer of the provider"}
        assert "accept-encoding" not in first.seen[0].headers
        until(lambda: bool(proxy.logged()), "a line of the log")
        assert proxy.logged()[0]["refused"]


@pytest.mark.usefixtures("names")
def test_the_log_names_the_place_and_none_of_the_answer(pki: Path, first: Provider) -> None:
    first.behave = answers(body=b'{"id": 1, "status": "paid", "lines": [{}, {"text": "4111111111111111"}]}')
    with running(gateway(upstream(payload={"schema": PAYMENT}), ca=pki / "ca.pem")) as proxy:
        assert ask().status == 502
        until(lambda: bool(proxy.logged()), "a line of the log")
        assert proxy.logged()[0]["refused"] == "/lines/1/text: longer than 4"


def test_a_check_that_has_a_fault_of_its_own_lets_nothing_pass(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy hands on what a failing program was to look at."""
    monkeypatch.setattr(lua, "checks", lambda _: "local C = {}\n")
    with checking([True], pki) as check:
        assert not check(0, b"1")


def test_alternatives_within_alternatives_end(pki: Path) -> None:
    """Each level doubles the work, and a provider chooses the number of levels."""
    end = {"required": ["end"]}
    schema = {"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}, "anyOf": [{"required": ["a"]}, end]}
    text = b'{"a":' * 60 + b"{}" + b"}" * 60
    with checking([schema], pki) as check:
        assert not check(0, text)


# Without memory that is written, then executed

FORBID = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0):
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
"""
"""PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN: the kernel's own form of MemoryDenyWriteExecute=."""
UNDER = (sys.executable, "-c", FORBID)
HOT = json.dumps([{"id": at, "status": "paid"} for at in range(2000)]).encode()
NEVER = "no memory protection of this kind before Linux 6.3"


def protects() -> bool:
    return subprocess.run([*UNDER, "/bin/true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not protects(), reason=NEVER)
def test_hot_loops_don_t_end_the_proxy_where_memory_is_protected(pki: Path) -> None:
    with checking([{"items": PAYMENT}], pki, UNDER) as check:
        assert [check(0, HOT) for _ in range(30)] == [True] * 30


@pytest.mark.skipif(not protects(), reason=NEVER)
def test_they_would_without_the_first_line_of_the_program(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lua, "HEAD", "")

    def often(check: Check) -> None:
        for _ in range(100):
            check(0, HOT)

    with checking([{"items": PAYMENT}], pki, UNDER) as check, pytest.raises((OSError, http.client.HTTPException)):
        often(check)
