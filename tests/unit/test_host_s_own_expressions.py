"""What a host says never keeps the controller busy: in the steps of an expression's engine, which no clock disturbs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from hostguard.controls.gateway import dump, runtime

GIVEN = 60
"""Seconds of the processor. Before, each of these took hours; now milliseconds."""

LIMITED = f"import resource; resource.setrlimit(resource.RLIMIT_CPU, ({GIVEN}, {GIVEN}));"


@pytest.mark.parametrize(
    "work",
    [
        "from hostguard.controls.egress import passage as p; import re;"
        "[re.search(b.says, chr(10) * 3_000_000, re.MULTILINE) for b in p.BROKERS]",
        "from hostguard.controls.egress import caches; caches._asks_resolved(chr(10) * 3_000_000)",
        "from hostguard.controls.gateway import runtime as r;"
        "print(r._member('a' + '::/' * 300_000), r.members('a::1.2.3.4:5::x::y'))",
        "from hostguard.controls.gateway import dump;"
        "assert dump.taken({'safe_regex': {'regex': '.*' * 30 + '!'}}, 'x' * 60);"
        "assert dump.taken({'safe_regex': {'regex': '(x+)+!'}}, 'x' * 60)",
    ],
    ids=["settings", "a switch", "members", "a matcher"],
)
def test_it_ends_soon(work: str) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED + work], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a::10.0.0.1:443::cx_active::3", ("a", "10.0.0.1:443", "cx_active", "3")),
        ("a::b::[2001:db8::1]:443::health_flags::healthy", ("a::b", "[2001:db8::1]:443", "health_flags", "healthy")),
        ("admin::/run/x/admin.sock::rq_total::7", ("admin", "/run/x/admin.sock", "rq_total", "7")),
        ("a::default_priority::max_connections::1024", None),
        ("a::observability_name::a", None),
    ],
)
def test_a_member_of_a_cluster(line: str, found: Any) -> None:
    assert runtime._member(line) == found


@pytest.mark.parametrize(
    ("regex", "text", "taken"),
    [
        (r"(/certs|/clusters)(\?.*)?", "/certs?x", True),
        (r"(/certs|/clusters)(\?.*)?", "/quitquitquit", False),
        (r".*\.example\.com", "stranger.hostguard.invalid", False),
        (r"[^.]+\.[^.]+", "a.b", True),
        ("(", "x", True),
    ],
)
def test_a_matcher_that_is_answered_at_once_is(regex: str, text: str, taken: bool) -> None:
    assert dump.taken({"safe_regex": {"regex": regex}}, text) == taken
