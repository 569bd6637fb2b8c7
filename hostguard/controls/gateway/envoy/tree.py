"""What Envoy's configuration is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

Tree = dict[str, Any]
TYPE = "type.googleapis.com/envoy."


def as_json(tree: Mapping[str, Any]) -> str:
    """The same bytes for the same tree. Only lists have an order."""
    return json.dumps(tree, indent=1, sort_keys=True) + "\n"


def discovered(kind: str, resources: Iterable[Tree]) -> Tree:
    """The version is that of the content: the running proxy repeats it."""
    body = [{"@type": TYPE + kind, **each} for each in resources]
    return {"version_info": hashlib.sha256(as_json({"resources": body}).encode()).hexdigest(), "resources": body}


def typed(name: str, kind: str, **fields: Any) -> Tree:
    return {"name": name, "typed_config": {"@type": TYPE + kind, **fields}}


def watched(path: str, folder: str) -> Tree:
    return {"path_config_source": {"path": path, "watched_directory": {"path": folder}}, "resource_api_version": "V3"}


def tcp(address: str, port: int) -> Tree:
    return {"socket_address": {"address": address, "port_value": port}}


def duration(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def lua_filter(program: str) -> Tree:
    source = {"inline_string": program}
    return typed("envoy.filters.http.lua", "extensions.filters.http.lua.v3.Lua", default_source_code=source)
