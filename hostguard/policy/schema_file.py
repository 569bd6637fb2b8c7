"""The JSON Schema that a policy names by its file, read beside the policy and put in its place.

What is kept of a policy for later, on a host, has the schema itself in it: there is no such file then.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from hostguard.policy import grammar
from hostguard.policy.document import Path, safe

LARGEST = 2**18
"""Bytes of a file: a schema becomes a program that each answer goes through."""
EXPECTED = "a file with a JSON Schema"


class NotASchema(Exception):
    """What a schema's file is instead."""

    def __init__(self, found: str, expected: str = EXPECTED) -> None:
        super().__init__(found)
        self.found, self.expected = found, expected


def named(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Each schema of a policy's plain data that is named by its file: where, and the path."""
    providers = _inside(data, "gateway", "providers")
    for name, provider in providers.items():
        schema = _inside(provider, "payload").get("schema")
        if isinstance(schema, str):
            yield ("gateway", "providers", name, "payload", "schema"), schema


def _inside(data: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def place(path: str, folder: FilePath | None) -> FilePath:
    """The file that is meant. Raises NotASchema for a path that leads out of the policy's folder by its own words."""
    if folder is None:
        raise NotASchema("a path, though the policy is no file beside which it could be", "the schema itself")
    if not grammar.SCHEMA_FILE.fullmatch(path):
        raise NotASchema(ascii(path[:60]), "a path from the policy's folder, such as schemas/payments.json")
    return folder / path


def read(file: FilePath) -> tuple[bytes, Any]:
    """The file's bytes and what JSON says in them. Raises NotASchema."""
    try:
        raw = _bounded(file)
    except OSError as error:
        raise NotASchema(f"{file.name}: {error.strerror or 'it can not be read'}") from None
    try:
        return raw, json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except NotASchema:
        raise
    except UnicodeDecodeError as error:
        raise NotASchema(f"{file.name}: byte {error.start} is no UTF-8", "UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise NotASchema(f"{file.name}:{error.lineno}:{error.colno}: no JSON ({error.msg})", "JSON") from None
    except (ValueError, RecursionError):
        raise NotASchema(f"{file.name}: numbers or nesting without end", "JSON") from None


def _bounded(file: FilePath) -> bytes:
    # A named pipe would be waited for, and a device never end.
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NotASchema(f"{file.name}: no regular file")
        raw = opened.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise NotASchema(f"{file.name}: more than {LARGEST // 1024} KiB", f"at most {LARGEST // 1024} KiB")
    return raw


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise NotASchema(f"the key {safe(key)} twice in one object", "each key once")
        found[key] = value
    return found


def _no_number(word: str) -> Any:
    raise NotASchema(f"{word}, which is no number of JSON", "JSON")
