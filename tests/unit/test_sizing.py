"""The numbers: by hand for the example, and in every direction."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from hostguard.policy.model import Policy
from hostguard.policy.sizing import Sizing, size


def sized(rps: float, p99: str, headroom: float, **more: object) -> Sizing:
    capacity = {"peak_rps": rps, "p99": p99, "headroom": headroom}
    return size(Policy.model_validate({"version": 1, "capacity": capacity, **more}))


def test_the_example_by_hand() -> None:
    numbers = sized(2000, "800ms", 2.0)
    assert numbers.concurrency == 3200  # 2000 × 0.8 × 2
    assert numbers.nofile == 65535  # 2 × 3200 + 1024 is less
    assert numbers.somaxconn == 4096  # 2000 × 2, up to a power of two
    assert numbers.memory_low == 164 * 2**20  # 6400 × 16 KiB + 64 MiB
    assert numbers.memory_high == 464 * 2**20  # 6400 × 64 KiB + 64 MiB
    by_name = {number.name: number.value for number in numbers.numbers}
    assert by_name["ports needed"] == 3200 + 4000
    assert by_name["ports without reuse"] == 3200 + 4000 * 60
    assert by_name["ephemeral ports"] == 65535 - 10240 + 1


def test_what_connection_tracking_must_hold() -> None:
    egress = {"via": "direct", "providers": {"p": {"cidrs": ["203.0.113.5/32"]}}}
    (number,) = (n for n in sized(2000, "800ms", 2.0, egress=egress).numbers if n.name == "tracked connections")
    assert number.value == 3200 + 4000 * 120
    assert "a section `kernel`" in number.note
    for own, buckets in (("500000", 125000), ("0", 120800)):
        kernel = {"net.netfilter.nf_conntrack_max": own}
        numbers = sized(2000, "800ms", 2.0, egress=egress, kernel=kernel)
        (number,) = (n for n in numbers.numbers if "tracked" in n.name)
        assert (number.note, number.set_to, numbers.buckets) == ("", own, buckets)
    assert sized(2000, "800ms", 2.0).tracked is None, "no rules, no tracking"


def test_without_a_capacity_the_article_s_minimum_holds() -> None:
    numbers = size(Policy.model_validate({"version": 1, "limits": {}}))
    assert (numbers.nofile, numbers.concurrency, numbers.memory_high) == (65535, None, None)


rates, milliseconds, rooms = st.integers(1, 10**6), st.integers(1, 60_000), st.integers(100, 1000)


@given(rates, milliseconds, rooms)
def test_concurrency_is_littles_law(rps: int, p99: int, room: int) -> None:
    exact = Fraction(rps) * Fraction(p99, 1000) * Fraction(room, 10)
    assert sized(rps, f"{p99}ms", room / 10).concurrency == ceil(exact)


@given(rates, milliseconds, rooms, st.sampled_from(["rps", "p99", "headroom"]))
def test_more_load_never_asks_for_less(rps: int, p99: int, room: int, grows: str) -> None:
    small = sized(rps, f"{p99}ms", room / 100)
    large = sized(
        min(rps * 2, 10**7) if grows == "rps" else rps,
        f"{min(p99 * 2, 3_600_000) if grows == 'p99' else p99}ms",
        room / 50 if grows == "headroom" else room / 100,
    )
    for name in (
        "nofile",
        "somaxconn",
        "syn_backlog",
        "file_max",
        "nr_open",
        "concurrency",
        "memory_low",
        "memory_high",
    ):
        assert getattr(large, name) >= getattr(small, name), name


@given(st.integers(1024, 10**9), st.integers(0, 20))
def test_the_kernel_allows_what_the_limits_promise(nofile: int, count: int) -> None:
    limits = {"nofile": nofile, "units": [f"u{n}.service" for n in range(count)]}
    numbers = size(Policy.model_validate({"version": 1, "limits": limits}))
    assert numbers.nofile == nofile <= numbers.nr_open
    assert numbers.file_max >= nofile * (count + 1)
