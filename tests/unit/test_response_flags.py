"""Envoy's response flags, in words."""

from __future__ import annotations

from hostguard.response_flags import flags, words


def test_a_field_has_each_flag_in_words() -> None:
    assert flags("URX,UF") == ("URX", "UF")
    said = words("URX,UF")
    assert said.startswith("no try was left")
    assert said.endswith("no connection to the provider came about")


def test_a_request_without_a_flag_has_no_word() -> None:
    assert (flags("-"), words("-"), words("")) == ((), "", "")


def test_a_flag_that_nobody_knows_yet_keeps_its_name() -> None:
    assert words("NEW,UC") == "flag NEW; the provider closed the connection under a request"
