"""The policy as JSON Schema (draft 2020-12), for editors: types, patterns and the text of every key.

What one value says of another (overlaps, a port range's parity) is not in it: `hostguard validate` is the judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hostguard.policy import grammar, model
from hostguard.policy.settings import Setting, settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TITLE = "hostguard policy"
NUMBER = "[0-9]{1,9}(?:\\.[0-9]{1,9})?"
OF: Mapping[Any, Mapping[str, Any]] = {
    grammar.network: {"type": "string", "pattern": "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$"},
    grammar.address: {"type": "string", "pattern": "^[0-9a-fA-F.:]+$"},
    grammar.port: {"type": "integer", "minimum": 1, "maximum": 65535},
    grammar.duration: {"type": "string", "pattern": f"^{NUMBER}(us|ms|s|m)$"},
    grammar.long_duration: {"type": "string", "pattern": f"^{NUMBER}(s|m|h|d)$"},
    grammar.size: {"type": ["string", "integer"], "pattern": "^[0-9]{1,15}[KMGT]?$"},
    grammar.percent: {"type": "string", "pattern": "^[0-9]{1,6}(?:\\.[0-9]{1,2})?%$"},
    grammar.share: {"type": "string", "pattern": "^[0-9]{1,3}(?:\\.[0-9]{1,3})?%$"},
    grammar.held_port: {"type": "integer", "minimum": 1, "maximum": 1023},
    grammar.truth: {"type": "boolean"},
    grammar.payload_schema: {"type": ["string", "object"]},
    grammar.mode: {"type": ["string", "integer"], "pattern": "^0[0-7]{2}[01]$"},
    grammar.path: {"type": "string", "pattern": "^(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}){2,8}$"},
    grammar.date: {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
    grammar.host_name: {"type": "string", "pattern": f"^(\\*\\.)?({grammar.LABEL}\\.)+{grammar.LABEL}$"},
    grammar.account: {"type": "string", "pattern": "^[a-z_][a-z0-9_-]{0,31}$"},
    grammar.sysctl_value: {"type": ["string", "integer"]},
}
"""What a validator of one value takes; the others are grammars, and in grammar.PATTERNS."""
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def schema() -> dict[str, Any]:
    """The whole policy."""
    found = _object(settings(model.Policy))
    found["properties"]["version"] = {"const": 1, "description": "The version of this format."}
    return {"$schema": DIALECT, "title": TITLE, **found, "required": ["version"]}


def _object(of: Iterable[Setting]) -> dict[str, Any]:
    of = list(of)
    found: dict[str, Any] = {
        "type": "object",
        "properties": {setting.path[-1]: _described(setting) for setting in of},
        "additionalProperties": False,
    }
    required = [setting.path[-1] for setting in of if setting.required]
    return {**found, "required": required} if required else found


def _described(setting: Setting) -> dict[str, Any]:
    text = " ".join(setting.text.split())
    described: dict[str, Any] = {"description": f"{text} Expected: {setting.expected}."}
    if setting.default not in (None, {}, [], ()):
        described["default"] = setting.default
    return {**described, **_kind(setting)}


def _kind(setting: Setting) -> dict[str, Any]:
    if setting.type == "list":
        element = _object(setting.inside) if setting.inside else _value(setting, setting.elements)
        return {"type": "array", "items": element}
    if setting.type == "dict":
        if setting.inside and not setting.named:
            return _object(setting.inside)
        value = _object(setting.inside) if setting.inside else _value(setting, "str")
        names = {"propertyNames": {"pattern": _whole(grammar.PATTERNS[setting.key])}} if setting.key else {}
        return {"type": "object", **names, "additionalProperties": value}
    if setting.choices:
        return {"enum": list(setting.choices)}
    return _value(setting, setting.type)


def _value(setting: Setting, kind: str) -> dict[str, Any]:
    if setting.reader in OF:
        return dict(OF[setting.reader])
    if setting.reader in grammar.PATTERNS:
        return {"type": "string", "pattern": _whole(grammar.PATTERNS[setting.reader])}
    return {"type": TYPES.get(kind, "string")}


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"
