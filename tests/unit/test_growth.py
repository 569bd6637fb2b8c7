"""Twice as long an allowlist takes twice the work and not four times: counted in calls, which no clock disturbs."""

from __future__ import annotations

import gc
import ipaddress
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostguard.bundle import compile_policy
from hostguard.host import store
from hostguard.impact import Networks, Socket, matchers
from hostguard.policy.load import LoadedPolicy, PolicyError, Problem, load
from hostguard.report.plan import MOST_COMPARED, MOST_LINES, changed_lines

EXAMPLE = Path(__file__).parents[2] / "examples" / "hostguard.yml"
CIDRS = 'cidrs: [203.0.113.5/32, "2001:db8::5/128"]'
GROWTH = 2.5
"""Twice the work, some more for sorting, and far from four times."""


def policy(items: list[str], ports: list[int] | None = None) -> LoadedPolicy | tuple[Problem, ...]:
    """The example policy with these for its provider's networks, or what is wrong with it."""
    text = EXAMPLE.read_text(encoding="utf-8")
    assert CIDRS in text
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yml"
        ports_too = f"\n    other: {{cidrs: [198.51.100.0/24], ports: {ports}}}" if ports else ""
        path.write_text(text.replace(CIDRS + "\n      ports: [443]", f"cidrs: {json.dumps(items)}{ports_too}"))
        try:
            return load(path)
        except PolicyError as error:
            return error.problems


def network(at: int) -> str:
    return f"11.{at >> 8 & 255}.{at & 255}.0/24"


def steps(work: Callable[[], object]) -> int:
    """How many calls it takes, of Python's functions, of those written in C, and of generators."""
    count = 0

    def counted(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    # Python 3.11.2, Debian 12's, was seen to crash where it collects garbage under a profiler (mended in 3.11.5: frames
    # that are freed late, python/cpython#106092).
    gc.disable()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def compiled(length: int) -> object:
    loaded = policy([network(at) for at in range(length)])
    assert isinstance(loaded, LoadedPolicy)
    return compile_policy(loaded)


def half_bad(length: int) -> object:
    """Every second is no network, and all others overlap: looked at in two rounds."""
    problems = policy([f"x{at}" if at % 2 else "11.0.0.0/24" for at in range(length)])
    assert isinstance(problems, tuple)
    assert len(problems) == length - 1
    return problems


def cut(length: int) -> object:
    """As many connections as networks."""
    loaded = policy([network(at) for at in range(length)])
    assert isinstance(loaded, LoadedPolicy)
    assert loaded.policy.egress
    may_leave, _ = matchers(loaded.policy.egress)
    here = ipaddress.ip_address("10.77.0.11")
    ends = (ipaddress.ip_network(network(at))[7] for at in range(length))
    return [may_leave(Socket("tcp", 1, here, 40000, end, 443, "envoy", "")) for end in ends]


@pytest.mark.parametrize("work", [compiled, half_bad, cut], ids=lambda work: work.__name__)
def test_the_work_grows_with_the_length(work: Callable[[int], object]) -> None:
    work(64)  # what is imported and remembered at the first time is no growth
    once, twice = steps(lambda: work(2 * MOST_COMPARED)), steps(lambda: work(4 * MOST_COMPARED))
    assert once > MOST_COMPARED
    assert twice < GROWTH * once


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["x", "11.0.0.1/8", "11.0.0.0/24", "12.0.0.0/24", "13.0.0.0/24"]), min_size=1))
def test_every_problem_names_the_place_that_it_stands_at(items: list[str]) -> None:
    found = policy(items)
    problems = found if isinstance(found, tuple) else ()
    named: set[int] = set()
    for problem in problems:
        match = re.search(r"cidrs\[(\d+)\]$", problem.key)
        assert match, problem
        assert items[int(match[1])] == problem.found.strip("'")
        named.add(int(match[1]))
    # What is no network, and every network that stands above already.
    wrong = {at for at, item in enumerate(items) if item in ("x", "11.0.0.1/8") or item in items[:at]}
    assert named == wrong


def test_a_list_that_names_one_twice_is_refused_however_long() -> None:
    problems = policy(["11.0.0.0/24"], [*range(1, 60001), 17])
    assert isinstance(problems, tuple)
    assert [problem.expected for problem in problems] == ["each once (17 is there twice)"]


addresses = st.ip_addresses(v=4, network="11.0.0.0/26") | st.ip_addresses(v=6, network="2001:db8::/122")


@settings(max_examples=200)
@given(st.lists(st.tuples(addresses, st.integers(0, 6))), addresses)
def test_networks_hold_what_ipaddress_says(found: list[tuple[Any, int]], address: Any) -> None:
    networks = [ipaddress.ip_network((first, first.max_prefixlen - hosts), strict=False) for first, hosts in found]
    index = Networks()
    for each in networks:
        index.add(each)
    assert index.hold(address) == any(address in each for each in networks)


def test_a_plan_of_many_lines_stays_readable() -> None:
    before = [f"add hostguard-4-envoy {network(at)},tcp:443" for at in range(2 * MOST_COMPARED)]
    after = [line.replace("443", "444") if at % 2 else line for at, line in enumerate(before)]
    shown = changed_lines("\n".join(before), "\n".join(after))
    assert len(shown) == MOST_LINES + 1
    assert {line[0] for line in shown[:-1]} == {"+", "-"}
    assert shown[-1] == f"… and {2 * MOST_COMPARED - MOST_LINES} more lines"
    assert changed_lines("\n".join(before), "\n".join([*before, "new"])) == ["+new"]
    assert "another order" in changed_lines("\n".join(before), "\n".join(before[::-1]))[0]


def test_the_newest_generation_is_read_and_not_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "GENERATIONS", str(tmp_path))
    (tmp_path / "000001.json").write_text("{what nobody may read")
    for number, status in ((2, store.APPLIED), (3, store.ROLLED_BACK)):
        (tmp_path / f"{number:06d}.json").write_text(json.dumps({"number": number, "status": status}))
    current = store.current()
    assert current is not None
    assert current["number"] == 2
    assert store.new_record({})["number"] == 4
