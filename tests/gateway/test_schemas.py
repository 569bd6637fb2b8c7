"""JSON Schema in the running proxy: it says of a value what a validator of kept libraries says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostguard.policy.json_schema import unsupported
from tests.gateway.checks import Check, checking

pytestmark = pytest.mark.needs("envoy")
PAYMENT = {
    "type": "object",
    "required": ["id", "status"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "status": {"enum": ["paid", "failed", None]},
        "amount": {"type": "number", "exclusiveMinimum": 0},
        "lines": {"type": "array", "maxItems": 3, "items": {"$ref": "#/$defs/line"}},
        'odd "name" / ~ é\n': {"const": "é"},
    },
    "additionalProperties": False,
    "$defs": {"line": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 4}}}},
}
TREE = {"type": "object", "properties": {"inside": {"type": "array", "items": {"$ref": "#"}}}, "required": ["inside"]}
WIDE = {"type": "object", "properties": {f"p{at}": {"type": "integer"} for at in range(1000)}}
SCHEMAS: list[Any] = [
    True,
    False,
    PAYMENT,
    TREE,
    WIDE,
    {"type": ["integer", "null"], "maximum": 5, "minimum": -5},
    {"type": "number", "exclusiveMaximum": 1.5, "minimum": -0.5},
    {"type": "string", "minLength": 2, "maxLength": 3},
    {"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "boolean"}},
    {"type": "array", "minItems": 1, "maxItems": 2},
    {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 2}, {"required": ["a"], "type": "object"}]},
    {"allOf": [{"minimum": 2}, {"maximum": 4}], "type": "integer"},
    {"enum": [1, "1", True, None, 2.5]},
    {"const": False},
    {"items": {"items": {"type": "boolean"}}},
    {"properties": {"a": {"$ref": "#/properties/b"}, "b": {"type": "array"}}, "required": ["a"]},
]


@pytest.fixture(scope="module")
def check(pki: Path) -> Iterator[Check]:
    with checking(SCHEMAS, pki) as check:
        yield check


def expected(schema: Any, value: Any) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


VALUES = [
    {"id": 1, "status": "paid"},
    {"id": 1.0, "status": None, "amount": 0.01, "lines": [{"text": "aéß€"}, {}]},
    {"id": 1, "status": "paid", "lines": [{"text": "😀😀😀😀"}]},
    {"id": 1, "status": "paid", "lines": [{"text": "aéß€x"}]},
    {"id": 1, "status": "paid", "lines": [1]},
    {"id": 0, "status": "paid"},
    {"id": True, "status": "paid"},
    {"id": 1, "status": "Paid"},
    {"id": 1, "status": "paid", "amount": 0},
    {"id": 1, "status": "paid", "more": 1},
    {"id": 1, "status": "paid", 'odd "name" / ~ é\n': "é"},
    {"id": 1, "status": "paid", 'odd "name" / ~ é\n': "e"},
    {"id": 1},
    {"inside": [{"inside": [{"inside": []}]}]},
    {"inside": [{"inside": [{}]}]},
    {"p999": 1, "p0": 1},
    {"p999": "1"},
    {"a": []},
    {"a": {}},
    {"a": True, "b": False},
    {"a": False},
    {},
    [],
    [[True, False], [1]],
    [False, False],
    [1, 2, 3],
    "ab",
    "abcd",
    "é",
    "éé",
    "1",
    "",
    0,
    -0.0,
    1,
    2,
    2.5,
    3,
    5,
    -5,
    1e300,
    True,
    False,
    None,
]


@pytest.mark.parametrize("at", range(len(SCHEMAS)))
def test_it_says_what_a_validator_says(check: Check, at: int) -> None:
    assert unsupported(SCHEMAS[at]) == []
    for value in VALUES:
        for ascii_only in (True, False):
            text = json.dumps(value, ensure_ascii=ascii_only).encode()
            assert check(at, text) == expected(SCHEMAS[at], value), text


MEMBERS = ["id", "status", "a", "b", "lines", "text", "inside", "é"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-6, 6) | st.floats(-6, 6) | st.text(max_size=5) | st.just("paid"),
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "status", "a", "b", "lines", "text", "inside", "é"]), inside, max_size=5
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_it_says_what_a_validator_says_of_anything(check: Check, data: st.DataObject) -> None:
    value = data.draw(anything)
    at = data.draw(st.integers(0, len(SCHEMAS) - 1))
    indent = data.draw(st.sampled_from([None, 1]))
    text = json.dumps(value, indent=indent, ensure_ascii=data.draw(st.booleans()))
    assert check(at, text.encode()) == expected(SCHEMAS[at], value)


TWO_WAYS = {
    "nothing": [b"", b" "],
    "half of it": [b"{", b'"', b"[1,]", b'{"a":1,}', b"[1 2]", b'{"a"}'],
    "more than it": [b"1 1", b"{} x", b"truefalse", b"\xef\xbb\xbf1"],
    "no number": [b"01", b"-", b"1.", b".5", b"+1", b"0x10", b"1e", b"NaN", b"Infinity", b"1e999"],
    "no string": [b"'a'", b'"\x01"', b'"\\x"', b'"\\u12g4"', b"{1:1}"],
    "half a letter": [b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\u0041"'],
    "no UTF-8": [b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"'],
    "a member twice": [b'{"a":1,"a":1}', b'{"a":1,"\\u0061":1}'],
    "too deep": [b"[" * 65 + b"]" * 65, b"[" * 100_000],
}
ONE_WAY = [
    b" \t\r\n1 ",
    b'"\\ud83d\\ude00"',
    b'"\xf0\x9f\x98\x80\x7f"',
    b"-0",
    b"1E+2",
    b"1.5e-3",
    b'{"":{"":[]}}',
    b'{"__index": 1, "1": 2}',
    b'"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000"',
    '["ñ€😀\u07ff\u0800\uffff"]'.encode(),
    b"[" * 64 + b"]" * 64,
]


@pytest.mark.parametrize("what", TWO_WAYS)
def test_a_text_that_parsers_may_read_in_two_ways_is_refused(check: Check, what: str) -> None:
    for text in TWO_WAYS[what]:
        assert not check(SCHEMAS.index(True), text), text


def test_whatever_else_json_has_is_read(check: Check) -> None:
    for text in ONE_WAY:
        assert check(SCHEMAS.index(True), text), text
