"""What an application's log tells of a provider that refuses: words are counted, and no line leaves the host."""

from __future__ import annotations

import re

import pytest

from hostguard.diagnose.rules import refused
from tests.unit.diagnosed import asked, diagnosed, findings

WORDS = {"envoy.service": {"counts": {"429": 7, "401": 2}, "waits": [1, 30]}}


def test_words_of_a_log_are_counted_and_are_only_likely() -> None:
    many, unknown = findings(refused.RULE, asked(), {"words": WORDS})
    assert ("7 lines" in many.seen, "Retry-After from 1 to 30 s" in many.seen, many.sure) == (True, True, "likely")
    assert many.key == ("capacity", "peak_rps")
    assert ("2 lines" in unknown.seen, unknown.concerns) == (True, ("envoy.service",))


def test_a_host_without_a_journal_says_so() -> None:
    assert "no journal" in diagnosed(refused.RULE, asked(), {"words": None}).unread[0][1]


def test_where_there_is_a_gateway_its_own_log_is_read() -> None:
    assert refused.RULE.asks(asked("gateway.yml")) == "the gateway's own log tells of it"


@pytest.mark.parametrize(("line", "word"), [
    ("requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url", "429"),
    ('"POST /v1/charges HTTP/1.1" 429 0', "429"),
    ("status=429 retry_after=30", "429"),
    ("statusCode: 401", "401"),
    ("401 Unauthorized", "401"),
    ("took 429 ms", ""),
    ("order 401 is paid", ""),
])  # fmt: skip
def test_words_that_tell_of_a_refusal_and_numbers_that_do_not(line: str, word: str) -> None:
    found = [each for each, words in refused.WORDS.items() if re.search(words, line)]
    assert found == ([word] if word else [])


def test_how_long_to_wait_is_read_in_the_ways_in_which_it_is_written() -> None:
    assert re.findall(refused.WAIT, 'Retry-After: 30, retry_after=7, "retryAfter": 2') == ["30", "7", "2"]
