"""The part of JSON Schema (2020-12) that a gateway checks answers by; whatever else a schema says is refused by name.

A keyword that nobody checks would be a promise that nobody keeps, so there is no third kind beside these two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
SAID = frozenset(
    {"$comment", "$schema", "default", "deprecated", "description", "examples", "readOnly", "title", "writeOnly"}
)
"""Words for people and other programs."""
DEFINITIONS = ("$defs", "definitions")
MOST_EXACT = 2**53
"""Whole numbers beyond it are not told from their neighbours: the gateway's numbers are doubles."""


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_EXACT


def _number(value: Any) -> bool:
    exact = isinstance(value, int | float) and not isinstance(value, bool)
    return exact and math.isfinite(value) and abs(value) <= MOST_EXACT


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or _number(value)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def is_schema(value: Any) -> bool:
    return isinstance(value, Mapping | bool)


def _schemas_by_name(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) and is_schema(each) for name, each in value.items())


def _schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_schema, value))


def _types(value: Any) -> bool:
    return value in TYPES if isinstance(value, str) else bool(value) and _names(value) and set(value) <= set(TYPES)


CHECKED: dict[str, Callable[[Any], bool]] = {
    "type": _types,
    "enum": lambda value: isinstance(value, list) and bool(value) and all(map(_plain, value)),
    "const": _plain,
    "minimum": _number,
    "maximum": _number,
    "exclusiveMinimum": _number,
    "exclusiveMaximum": _number,
    "minLength": _whole,
    "maxLength": _whole,
    "required": _names,
    "properties": _schemas_by_name,
    "additionalProperties": is_schema,
    "minProperties": _whole,
    "maxProperties": _whole,
    "items": is_schema,
    "minItems": _whole,
    "maxItems": _whole,
    "allOf": _schemas,
    "anyOf": _schemas,
    "$ref": lambda value: isinstance(value, str) and (value == "#" or value.startswith("#/")),
}
"""Each keyword that is checked, and the form that its value must have."""


def inside(schema: Any) -> Iterator[tuple[str, Any]]:
    """The schemas directly inside one whose keywords have their form, each with its pointer from there."""
    for keyword in ("properties", *DEFINITIONS):
        for name, each in schema.get(keyword, {}).items():
            yield f"/{keyword}/{escaped(name)}", each
    for keyword in ("allOf", "anyOf"):
        for at, each in enumerate(schema.get(keyword, ())):
            yield f"/{keyword}/{at}", each
    for keyword in ("additionalProperties", "items"):
        if keyword in schema:
            yield f"/{keyword}", schema[keyword]


def escaped(name: str) -> str:
    """A name as one step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def by_pointer(schema: Any) -> dict[str, Any]:
    """Every schema in this one by its pointer, itself by the empty one; none inside a keyword of another form."""
    found = {"": schema}
    if isinstance(schema, Mapping):
        well = {key: value for key, value in schema.items() if _form(key, value)}
        for at, each in inside(well):
            found.update({at + further: deeper for further, deeper in by_pointer(each).items()})
    return found


def _form(keyword: str, value: Any) -> bool:
    if keyword in DEFINITIONS:
        return _schemas_by_name(value)
    return keyword in SAID or (keyword in CHECKED and CHECKED[keyword](value))


def unsupported(schema: Any) -> list[tuple[str, str]]:
    """What is not checked: the pointer of each such schema, and its keyword; none where all of it is.

    A keyword is refused too where its value has a form that is not supported, as a `$ref` out of the document or a
    number that a double can't hold. A schema that is no object at all is refused as a whole, with no keyword.
    """
    if not is_schema(schema):
        return [("", "")]
    schemas = by_pointer(schema)
    refused = []
    for pointer, each in schemas.items():
        for keyword, value in each.items() if isinstance(each, Mapping) else ():
            if not _form(keyword, value) or (keyword == "$ref" and not _leads(schemas, value[1:])):
                refused.append((pointer, str(keyword)))
    return refused


def _leads(schemas: Mapping[str, Any], pointer: str) -> bool:
    """Whether a reference ends at a schema that never asks itself about the same value. About a value's parts it may:
    they come to an end."""
    seen: set[str] = set()
    waiting = [pointer]
    while waiting:
        at = waiting.pop()
        if at not in schemas:
            return False
        for step in _same_value(at, schemas[at]):
            if step == pointer:
                return False
            if step not in seen:
                seen.add(step)
                waiting.append(step)
    return True


def _same_value(pointer: str, schema: Any) -> Iterator[str]:
    """The pointers of the schemas that this one asks about the value it is asked about itself."""
    if not isinstance(schema, Mapping):
        return
    for keyword in ("allOf", "anyOf"):
        if _form(keyword, schema.get(keyword)):
            yield from (f"{pointer}/{keyword}/{at}" for at in range(len(schema[keyword])))
    if _form("$ref", schema.get("$ref")):
        yield schema["$ref"][1:]
