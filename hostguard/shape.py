"""Whether plain JSON is what a type says: the types of this package's answers are their schema (pure).

Known are str, int, float, bool, None, Any, Literal, list, dict, tuple, `X | Y` and TypedDict. A key that a TypedDict
does not name may be there, and means nothing to who does not know it.
"""

from __future__ import annotations

import functools
import types
import typing
from typing import Any

from hostguard.visible import one_line

DEEPEST = 32
"""Lists and mappings within each other, where any may be."""
SHOWN = 60


class Misfit(ValueError):
    """What is not of its type: where, what was found, and what was expected."""


def fit(kind: Any, node: Any, at: str = "") -> None:
    """Raises Misfit unless `node`, which is at `at`, is what `kind` says."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        _shallow(node, at, 0)
    elif typing.is_typeddict(kind):
        _need(isinstance(node, dict), node, at, "a mapping")
        for name, (of_key, required) in _keys(kind).items():
            if name in node:
                fit(of_key, node[name], f"{at}.{name}" if at else name)
            elif required:
                raise Misfit(f"at {at or 'the top'}: there is no {name!r}, expected {_words(of_key)}")
    elif origin is list:
        _need(isinstance(node, list), node, at, "a list")
        if arguments[0] is str and all(type(each) is str for each in node):
            return
        for number, each in enumerate(node):
            fit(arguments[0], each, f"{at}[{number}]")
    elif origin is dict:
        _need(isinstance(node, dict), node, at, "a mapping")
        for key, each in node.items():
            fit(arguments[1], each, f"{at}.{one_line(key)[:SHOWN]}")
    elif origin is tuple:
        _need(isinstance(node, (list, tuple)) and len(node) == len(arguments), node, at, f"{len(arguments)} values")
        for number, (each, of_each) in enumerate(zip(node, arguments, strict=True)):
            fit(of_each, each, f"{at}[{number}]")
    elif origin is types.UnionType:
        if not any(_fits(each, node) for each in arguments):
            # The one that is no None says more of what is wrong within it.
            fit(next(each for each in arguments if each is not types.NoneType), node, at)
    elif origin is typing.Literal:
        _need(any(type(node) is type(each) and node == each for each in arguments), node, at, _words(kind))
    else:
        _need(type(node) is kind or (kind is float and type(node) is int), node, at, _words(kind))


def _fits(kind: Any, node: Any) -> bool:
    try:
        fit(kind, node)
    except Misfit:
        return False
    return True


@functools.cache
def _keys(kind: Any) -> dict[str, tuple[Any, bool]]:
    # Of annotations that are text Python itself does not see which keys are not required.
    hints = typing.get_type_hints(kind, include_extras=True).items()
    spared = typing.NotRequired
    return {
        name: (typing.get_args(hint)[0] if typing.get_origin(hint) is spared else hint,
               typing.get_origin(hint) is not spared)
        for name, hint in hints
    }  # fmt: skip


def _need(holds: bool, node: Any, at: str, expected: str) -> None:
    if not holds:
        raise Misfit(f"at {at or 'the top'}: found {_shown(node)}, expected {expected}")


def _shown(node: Any) -> str:
    if isinstance(node, (list, dict)):
        return f"{'a list' if isinstance(node, list) else 'a mapping'} of {len(node)}"
    said = one_line(repr(node[: 2 * SHOWN] if isinstance(node, str) else node))
    return said if len(said) <= SHOWN else said[:SHOWN] + "…"


WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", types.NoneType: "null"}


def _words(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return " or ".join(repr(each) for each in typing.get_args(kind))
    if origin is types.UnionType:
        return " or ".join(map(_words, typing.get_args(kind)))
    return {list: "a list", dict: "a mapping", tuple: "a list"}.get(origin or kind) or WORDS.get(kind, "a mapping")


def _shallow(node: Any, at: str, depth: int) -> None:
    if isinstance(node, (list, dict)):
        if depth >= DEEPEST:
            raise Misfit(f"at {at or 'the top'}: found lists or mappings more than {DEEPEST} within each other")
        for each in node.values() if isinstance(node, dict) else node:
            if isinstance(each, (list, dict)):
                _shallow(each, at, depth + 1)
