"""What an application gets, and what reaches a provider, while the provider is broken in one way or another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.provider import (
    BROKEN,
    Provider,
    answers,
    chunks,
    hangs,
    in_turn,
    resets,
    resets_within,
    silence,
    trickles,
)
from tests.gateway.proxy import (
    FIRST,
    MIB,
    PORT,
    PROVIDERS_PORT,
    REGIONS,
    Got,
    ask,
    assert_cut,
    gateway,
    running,
    upstream,
)
from tests.patience import slowness, until

pytestmark = [pytest.mark.needs("envoy"), pytest.mark.usefixtures("names")]
KEY = {"Idempotency-Key": "7"}


def post(**changes: Any) -> Got:
    return ask(**{"method": "POST", "body": b"pay", **changes})


# Cut


def test_a_provider_that_fails_is_cut_after_its_last_failure(pki: Path, first: Provider) -> None:
    first.behave = BROKEN
    up = upstream(retry={"tries": 1})
    with running(gateway(up, ca=pki / "ca.pem")) as proxy:
        assert [ask().status for _ in range(up.consecutive_5xx)] == [503] * up.consecutive_5xx
        assert len(first.seen) == up.consecutive_5xx
        assert_cut(proxy, first.seen)


def test_a_provider_that_is_well_again_is_asked_again(pki: Path, first: Provider) -> None:
    first.behave = BROKEN
    up = upstream(retry={"tries": 1}, ejection=1, interval=0.2)
    with running(gateway(up, ca=pki / "ca.pem")) as proxy:
        for _ in range(up.consecutive_5xx):
            ask()
        until(lambda: proxy.ejections() > 0, "an ejection")
        first.behave = answers()
        until(lambda: ask().status == 200, "an answer once the provider is well", seconds=10)


def test_tries_that_fail_count_as_well(pki: Path, first: Provider) -> None:
    first.behave = BROKEN
    up = upstream(consecutive_5xx=4)
    with running(gateway(up, ca=pki / "ca.pem")) as proxy:
        assert ask().status == 503
        assert len(first.seen) == up.retry.tries == up.consecutive_5xx
        assert_cut(proxy, first.seen)


# Another region


def test_a_safe_request_is_answered_by_the_next_region(pki: Path, first: Provider, second: Provider) -> None:
    first.behave = BROKEN
    with running(gateway(upstream(hosts=REGIONS), ca=pki / "ca.pem")):
        assert ask().status == 200
    assert (len(first.seen), len(second.seen)) == (1, 1)


def test_a_region_that_refuses_is_left_for_the_next(pki: Path, second: Provider) -> None:
    with running(gateway(upstream(hosts=REGIONS), ca=pki / "ca.pem")):
        assert [post().status for _ in range(10)] == [200] * 10
    assert len(second.seen) == 10


def test_a_region_that_is_silent_is_left_for_the_next(pki: Path, second: Provider) -> None:
    up = upstream(hosts=REGIONS, connect=3, per_try=20, total=30)
    with silence(FIRST, PROVIDERS_PORT), running(gateway(up, ca=pki / "ca.pem")):
        assert post().status == 200
    assert len(second.seen) == 1


@pytest.mark.usefixtures("first")
def test_the_next_region_is_not_asked_while_the_first_is_well(pki: Path, second: Provider) -> None:
    with running(gateway(upstream(hosts=REGIONS), ca=pki / "ca.pem")):
        assert [ask().status for _ in range(10)] == [200] * 10
    assert len(second.seen) == 0


# Sent once, or again


@pytest.mark.parametrize("behave", [BROKEN, resets, resets_within, hangs], ids=["503", "reset", "cut", "hangs"])
def test_a_request_that_is_not_safe_reaches_a_provider_once(
    pki: Path, first: Provider, second: Provider, behave: object
) -> None:
    first.behave = behave
    with running(gateway(upstream(hosts=REGIONS, per_try=0.5, total=3), ca=pki / "ca.pem")):
        assert post().status in (502, 503, 504)
        assert post(headers={"Idempotency-Key": ""}).status in (502, 503, 504)
    assert (len(first.seen), len(second.seen)) == (2, 0)


@pytest.mark.parametrize("behave", [BROKEN, resets, hangs], ids=["503", "reset", "hangs"])
def test_a_request_with_an_idempotency_key_is_sent_again(
    pki: Path, first: Provider, second: Provider, behave: object
) -> None:
    first.behave = behave
    with running(gateway(upstream(hosts=REGIONS, per_try=2, total=8), ca=pki / "ca.pem")):
        assert post(headers=KEY).status == 200
    assert [each.body for each in [*first.seen, *second.seen]] == [b"pay", b"pay"]


def test_no_header_counts_as_an_idempotency_key_where_the_policy_has_none(pki: Path, first: Provider) -> None:
    first.behave = BROKEN
    with running(gateway(upstream(retry={"idempotency_header": None}), ca=pki / "ca.pem")):
        assert post(headers=KEY).status == 503
        assert len(first.seen) == 1
        ask()
        assert len(first.seen) == 5


def test_a_try_whose_time_is_over_is_not_repeated_where_the_policy_says_so(pki: Path, first: Provider) -> None:
    first.behave = hangs
    with running(gateway(upstream(retry={"timeouts": False}, per_try=0.3), ca=pki / "ca.pem")):
        assert ask().status == 504
    assert len(first.seen) == 1


def test_a_body_beyond_the_connection_s_buffer_is_sent_again_whole(pki: Path, first: Provider) -> None:
    first.behave = in_turn([BROKEN], answers())
    body = bytes(range(256)) * (9 * MIB // 256)
    with running(gateway(ca=pki / "ca.pem")):
        assert post(body=body, headers=KEY).status == 200
    assert [each.body == body for each in first.seen] == [True, True]


ORDERS = {
    "x-envoy-retry-on": "5xx,retriable-status-codes",
    "x-envoy-retriable-status-codes": "503",
    "x-envoy-max-retries": "9",
    "x-envoy-upstream-rq-timeout-ms": "60000",
    "x-envoy-upstream-rq-per-try-timeout-ms": "60000",
    "x-envoy-hedge-on-per-try-timeout": "true",
    "x-envoy-internal": "true",
}
"""What Envoy obeys where it takes the sender for one of its own house."""


@pytest.mark.parametrize("sender", ["", "127.0.0.1", "10.0.0.1"])
@pytest.mark.parametrize("by_socket", [False, True])
def test_an_application_can_t_ask_for_other_tries_or_times(
    pki: Path, first: Provider, sender: str, by_socket: bool
) -> None:
    orders = {**ORDERS, **({"x-forwarded-for": sender} if sender else {})}
    with running(gateway(upstream(group="shop", per_try=1, total=3), ca=pki / "ca.pem")) as proxy:
        where = proxy.places.bound("payments") if by_socket else PORT
        first.behave = BROKEN
        assert post(where=where, headers=orders).status == 503
        first.behave = hangs
        assert post(where=where, headers=orders, timeout=30).status == 504
    assert len(first.seen) == 2
    assert [name for each in first.seen for name in each.headers if name.startswith("x-envoy")] == []


# Never a good answer that is cut


@pytest.mark.parametrize("behave", [resets_within, trickles], ids=["reset", "trickles"])
def test_an_answer_that_breaks_off_is_no_good_one(pki: Path, first: Provider, behave: object) -> None:
    first.behave = behave
    with running(gateway(upstream(per_try=1, total=1), ca=pki / "ca.pem")):
        got = ask()
    assert got.whole
    assert got.status in (502, 503, 504)


def test_time_is_over_for_a_provider_that_says_nothing(pki: Path, first: Provider) -> None:
    first.behave = hangs
    with running(gateway(upstream(per_try=2, total=5), ca=pki / "ca.pem")):
        assert ask().status == 504
    assert 2 <= len(first.seen) <= 3


def test_a_connection_that_idles_is_closed(pki: Path, first: Provider) -> None:
    with running(gateway(upstream(idle=0.2), ca=pki / "ca.pem")):
        assert ask().status == 200
        until(lambda: first.ended == 1, "the end of the connection")


# Told to wait


def limited(after: object, status: int = 429) -> object:
    return answers(status, b"{}", retry_after=after)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_short_retry_after_is_waited_for(pki: Path, first: Provider, method: str) -> None:
    first.behave = in_turn([limited(1)], answers())
    with running(gateway(ca=pki / "ca.pem")):
        assert ask(method=method).status == 200
    before, after = first.seen
    assert after.at - before.at >= 1


@pytest.mark.parametrize("after", [5, 30, 3600, "Fri, 27 Nov 2026 00:00:00 GMT", "-1", "1.5", None])
def test_any_other_retry_after_is_handed_on_at_once(pki: Path, first: Provider, after: object) -> None:
    first.behave = limited(after)
    with running(gateway(ca=pki / "ca.pem")):
        got = ask()
    assert (got.status, got.headers.get("retry-after")) == (429, None if after is None else str(after))
    assert len(first.seen) == 1


def test_nothing_is_waited_for_where_the_policy_says_so(pki: Path, first: Provider) -> None:
    first.behave = in_turn([limited(1), BROKEN], answers())
    with running(gateway(upstream(retry={"wait_max": 0}), ca=pki / "ca.pem")):
        assert ask().status == 429
        assert ask().status == 200
    assert len(first.seen) == 3


def test_a_region_that_must_be_left_alone_for_long_is_not_asked_again_at_once(pki: Path, first: Provider) -> None:
    first.behave = limited(30, 503)
    with running(gateway(ca=pki / "ca.pem")):
        got = ask()
    assert (got.status, got.headers["retry-after"], len(first.seen)) == (503, "30", 1)


def test_another_region_is_asked_where_the_first_must_be_left_alone(
    pki: Path, first: Provider, second: Provider
) -> None:
    first.behave = limited(30, 503)
    with running(gateway(upstream(hosts=REGIONS), ca=pki / "ca.pem")):
        assert ask().status == 200
    assert (len(first.seen), len(second.seen)) == (1, 1)


@pytest.mark.parametrize("status", [200, 202, 301, 503])
def test_a_retry_after_alone_repeats_no_request_that_is_not_safe(pki: Path, first: Provider, status: int) -> None:
    first.behave = limited(1, status)
    with running(gateway(ca=pki / "ca.pem")):
        assert post().status == status
    assert len(first.seen) == 1


def test_an_accepted_request_is_not_sent_again_for_its_retry_after(pki: Path, first: Provider) -> None:
    first.behave = limited(1, 202)
    with running(gateway(ca=pki / "ca.pem")):
        got = post(headers=KEY)
    assert (got.status, got.headers["retry-after"], len(first.seen)) == (202, "1", 1)
    assert [name for name in got.headers if name.startswith(("x-hostguard", "x-envoy"))] == []


# Sizes


def test_an_answer_beyond_the_limit_never_arrives(pki: Path, first: Provider) -> None:
    first.behave = chunks(11 * MIB)
    with running(gateway(ca=pki / "ca.pem")):
        got = ask()
    assert got.whole
    assert got.status in (500, 502)
    assert len(got.body) < 1000


def test_an_answer_beyond_its_own_limit_never_arrives_where_requests_may_be_larger(pki: Path, first: Provider) -> None:
    first.behave = chunks(2 * MIB)
    with running(gateway(upstream(payload={"response_max": MIB}), ca=pki / "ca.pem")):
        got = ask()
    assert (got.status, got.headers["x-hostguard-reason"]) == (502, "payload")


def test_an_answer_larger_than_the_buffers_arrives_whole(pki: Path, first: Provider) -> None:
    first.behave = chunks(9 * MIB)
    with running(gateway(ca=pki / "ca.pem")):
        got = ask()
    assert (got.status, len(got.body), got.whole) == (200, 9 * MIB, True)


def test_a_request_beyond_the_limit_is_refused_and_reaches_nobody(pki: Path, first: Provider) -> None:
    with running(gateway(ca=pki / "ca.pem")):
        got = post(body=bytes(11 * MIB))
        assert first.seen == []
    assert got.status == 413


def test_a_streamed_answer_arrives_as_it_comes(pki: Path, first: Provider) -> None:
    first.behave = trickles
    up = upstream(retry={"tries": 1}, payload={"stream": True}, per_try=5, total=5)
    with running(gateway(up, ca=pki / "ca.pem")):
        got = ask()
    assert (got.status, got.whole) == (200, False)


# Full


def test_requests_beyond_the_breaker_are_refused_at_once(pki: Path, first: Provider) -> None:
    first.behave = hangs
    seconds = 3 * slowness()  # both must still be under way when the others come
    up = upstream(protocol="http1", requests=2, connections=2, pending=1, retry={"tries": 1}, per_try=seconds,
                  total=seconds)  # fmt: skip
    with running(gateway(up, ca=pki / "ca.pem")), ThreadPoolExecutor(8) as pool:
        for number in (1, 2):
            pool.submit(ask)
            until(lambda number=number: len(first.seen) == number, "a request under way")
        further = list(as_completed([pool.submit(ask) for _ in range(6)]))
        refused = [each.result() for each in further][:5]
    assert {each.status for each in refused} == {503}
    assert all("overflow" in each.headers["x-hostguard-reason"] for each in refused)
    assert further[5].result().status == 504  # this one waited for its turn
