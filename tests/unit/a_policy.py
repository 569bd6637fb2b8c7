"""A small policy with other values, read from a file of its own: what is taken, and what is refused where."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.policy.load import LoadedPolicy, PolicyError, Problem, load

GONE = object()
Change = Callable[[Mapping[str, Any]], LoadedPolicy]
Refused = Callable[[Mapping[str, Any]], list[Problem]]


def put(tree: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with other values at these keys."""
    tree = copy.deepcopy(tree)
    for key, value in changes.items():
        *way, last = key.split("/") if "/" in key else key.split(".")
        node = tree
        for part in way:
            node = node.setdefault(part, {})
        if value is GONE:
            del node[last]
        else:
            node[last] = value
    return tree


def changing(base: dict[str, Any], folder: Path) -> Change:
    """This policy with other values, read from a file of one key a line."""

    def read(changes: Mapping[str, Any]) -> LoadedPolicy:
        path = folder / "policy.yml"
        path.write_text(yaml.safe_dump(put(base, changes), sort_keys=False), encoding="utf-8")
        return load(path)

    return read


def refusing(changed: Change) -> Refused:
    """The problems of a policy that is refused."""

    def read(changes: Mapping[str, Any]) -> list[Problem]:
        with pytest.raises(PolicyError) as error:
            changed(changes)
        return list(error.value.problems)

    return read
