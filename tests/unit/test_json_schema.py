"""Which part of JSON Schema a policy may use: what is not checked is named, and nothing is passed over in silence."""

from __future__ import annotations

from typing import Any

import pytest

from hostguard.policy.json_schema import CHECKED, by_pointer, unsupported

GOOD: list[Any] = [
    True,
    {},
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "t",
        "default": {"pattern": 1},
        "examples": [],
    },
    {"type": ["object", "null"], "properties": {"pattern": {"type": "string"}}, "required": ["format"]},
    {"enum": [1, 2.5, "a", None, True], "const": None, "minimum": -1.5},
    {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"items": False}}},
    {"definitions": {"x": {"anyOf": [True, {"allOf": [{}]}]}}, "additionalProperties": {"$ref": "#/definitions/x"}},
    {"properties": {"inside": {"$ref": "#"}, "more": {"items": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}},
]
BAD: list[tuple[Any, list[tuple[str, str]]]] = [
    ("object", [("", "")]),
    ([], [("", "")]),
    ({"pattern": "^a"}, [("", "pattern")]),
    ({"oneOf": [{}], "format": "date"}, [("", "format"), ("", "oneOf")]),
    ({"properties": {"a/b": {"not": {}}}}, [("/properties/a~1b", "not")]),
    ({"items": [{}]}, [("", "items")]),
    ({"items": {"additionalProperties": {"uniqueItems": True}}}, [("/items/additionalProperties", "uniqueItems")]),
    ({"$defs": {"x": {"if": {}}}}, [("/$defs/x", "if")]),
    ({"allOf": [{}, {"multipleOf": 2}]}, [("/allOf/1", "multipleOf")]),
    ({"$ref": "other.json"}, [("", "$ref")]),
    ({"$ref": "#/$defs/absent"}, [("", "$ref")]),
    ({"$ref": "#anchor"}, [("", "$ref")]),
    ({"$ref": "#/properties/a/enum/0", "properties": {"a": {"enum": [1]}}}, [("", "$ref")]),
    ({"$ref": "#"}, [("", "$ref")]),
    ({"anyOf": [{"$ref": "#"}]}, [("/anyOf/0", "$ref")]),
    (
        {"properties": {"a": {"$ref": "#/properties/b"}, "b": {"allOf": [{"$ref": "#/properties/a"}]}}},
        [("/properties/a", "$ref"), ("/properties/b/allOf/0", "$ref")],
    ),
    ({"$id": "https://example.com/x"}, [("", "$id")]),
    ({"type": "strin"}, [("", "type")]),
    ({"type": []}, [("", "type")]),
    ({"type": [["object"]]}, [("", "type")]),
    ({"type": {"a": 1}}, [("", "type")]),
    ({"enum": []}, [("", "enum")]),
    ({"enum": [{}]}, [("", "enum")]),
    ({"const": 2**53 + 1}, [("", "const")]),
    ({"minimum": float("inf")}, [("", "minimum")]),
    ({"maximum": True}, [("", "maximum")]),
    ({"exclusiveMinimum": True}, [("", "exclusiveMinimum")]),
    ({"minLength": -1}, [("", "minLength")]),
    ({"maxItems": 1.5}, [("", "maxItems")]),
    ({"required": "a"}, [("", "required")]),
    ({"properties": {"a": 1}}, [("", "properties")]),
    ({"anyOf": []}, [("", "anyOf")]),
    ({"whatever": 1}, [("", "whatever")]),
    ({1: {}}, [("", "1")]),
]


@pytest.mark.parametrize("schema", GOOD, ids=str)
def test_a_schema_of_keywords_that_are_checked_is_taken(schema: Any) -> None:
    assert unsupported(schema) == []


@pytest.mark.parametrize(("schema", "refused"), BAD, ids=lambda each: str(each)[:60])
def test_whatever_else_a_schema_says_is_named_by_its_place(schema: Any, refused: list[tuple[str, str]]) -> None:
    assert sorted(unsupported(schema)) == refused


@pytest.mark.parametrize("keyword", CHECKED)
def test_a_keyword_of_another_form_is_named(keyword: str) -> None:
    for value in (1j, [1j], b"x"):
        assert unsupported({keyword: value}) == [("", keyword)]


def test_a_schema_is_found_by_its_pointer() -> None:
    schema = {"properties": {"a~/b": {"items": {"anyOf": [True]}}}}
    assert list(by_pointer(schema)) == [
        "",
        "/properties/a~0~1b",
        "/properties/a~0~1b/items",
        "/properties/a~0~1b/items/anyOf/0",
    ]
