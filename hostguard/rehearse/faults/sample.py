"""A body that fits a policy's schema, and one that does not (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hostguard.policy.json_schema import by_pointer

DEEPEST = 20
OF_TYPES: dict[str, Any] = {
    "object": {}, "array": [], "string": "hostguard", "integer": 7, "number": 7.5, "boolean": True, "null": None,
}  # fmt: skip
BUILT = {"type", "enum", "const", "required", "properties", "additionalProperties", "items", "minItems", "minLength",
         "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "$ref"}  # fmt: skip
NOT_BUILT = {"allOf", "anyOf", "minProperties", "maxProperties", "maxItems"}


def fitting(schema: Mapping[str, Any]) -> bytes | None:
    """None where the schema is more than this can follow."""
    try:
        return json.dumps(_fitting(schema, by_pointer(schema), 0)).encode()
    except LookupError:
        return None


def _fitting(schema: Any, all_of: Mapping[str, Any], depth: int) -> Any:
    if depth > DEEPEST or schema is False or (isinstance(schema, Mapping) and NOT_BUILT & schema.keys()):
        raise LookupError
    if not isinstance(schema, Mapping) or not BUILT & schema.keys():
        return {}
    if "$ref" in schema:
        if BUILT & schema.keys() != {"$ref"}:
            raise LookupError
        return _fitting(all_of[schema["$ref"][1:]], all_of, depth + 1)
    for whole in ("const", "enum"):
        if whole in schema:
            return schema[whole] if whole == "const" else schema[whole][0]
    kind = _kind(schema)
    if kind == "object":
        properties = schema.get("properties", {})
        more = schema.get("additionalProperties", True)
        return {name: _fitting(properties.get(name, more), all_of, depth + 1) for name in schema.get("required", ())}
    if kind == "array":
        return [_fitting(schema.get("items", True), all_of, depth + 1)] * schema.get("minItems", 0)
    if kind == "string":
        least, most = schema.get("minLength", 0), schema.get("maxLength", 1000)
        return "hostguard".ljust(least, "x")[: max(most, least)]
    return _number(schema, kind) if kind in ("integer", "number") else OF_TYPES[kind]


def _kind(schema: Mapping[str, Any]) -> str:
    said = schema.get("type")
    if said is not None:
        return str(said if isinstance(said, str) else said[0])
    if "items" in schema or "minItems" in schema:
        return "array"
    if "minLength" in schema or "maxLength" in schema:
        return "string"
    return "object" if {"required", "properties", "additionalProperties"} & schema.keys() else "integer"


def _number(schema: Mapping[str, Any], kind: str) -> Any:
    above, below = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        above = max(schema["exclusiveMinimum"] + 1, above if above is not None else schema["exclusiveMinimum"] + 1)
    if "exclusiveMaximum" in schema:
        below = min(schema["exclusiveMaximum"] - 1, below if below is not None else schema["exclusiveMaximum"] - 1)
    found = above if above is not None else (below if below is not None else OF_TYPES[kind])
    if (below is not None and found > below) or (kind == "integer" and found != int(found)):
        raise LookupError
    return int(found) if kind == "integer" else found


def misfit(schema: Mapping[str, Any]) -> bytes | None:
    """JSON of another type than the schema's own, or without what it requires; None where neither is to be had."""
    found = _resolved(schema)
    said = found.get("type", [])
    ours = {said} if isinstance(said, str) else {*said}
    if found.get("required") and "type" not in found:
        return b"{}"
    if "enum" in found or "const" in found:
        return b'["hostguard"]'  # enum and const hold plain values alone
    other = next((kind for kind in OF_TYPES if ours and kind not in {*ours, "integer", "number"}), None)
    return None if other is None else json.dumps(OF_TYPES[other]).encode()


def _resolved(schema: Any) -> Mapping[str, Any]:
    found, all_of = schema, by_pointer(schema)
    for _ in range(DEEPEST):
        if isinstance(found, Mapping) and "$ref" in found:
            found = all_of.get(found["$ref"][1:], {})
    return found if isinstance(found, Mapping) else {}
