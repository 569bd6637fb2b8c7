"""Find, read, merge and validate a policy; every error at once, each with its file, line and key."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hostguard.policy import checks, schema_file
from hostguard.policy.document import Document, NotADocument, Path, dotted, read
from hostguard.policy.model import NO_SECTIONS, Policy

PLACES = (FilePath("hostguard.yml"), FilePath("/etc/hostguard/policy.yml"))
LONGEST_SHOWN = 60
MOST_ROUNDS = 50
LINES_DEEP = 5  # as far as gateway.providers.NAME.timeouts.try


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a policy. `line` 0: the whole file, or a value that came from an inventory.

    `column` (from 1; 0: none) and `excerpt`, the line with a caret, are of what is no YAML.
    """

    file: str
    line: int
    key: str
    found: str
    expected: str
    column: int = 0
    excerpt: str = ""

    def __str__(self) -> str:
        where = ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])
        key = f"{self.key}: " if self.key else ""
        return f"{where}: {key}found {self.found}, expected {self.expected}"


class PolicyError(Exception):
    """A policy that can't be used. `problems` holds every reason that was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy that can be used, where it came from, and what deserves a word (`warnings`)."""

    policy: Policy
    path: str
    sha256: str
    warnings: tuple[Problem, ...]
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    """Where in the file a section, and each of its keys, stands; without what an inventory sets instead."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What was read, with the refinements over it and without files: for who writes it down for another host."""
    files: tuple[FilePath, ...] = ()
    """The other files that it was read from."""

    def line_of(self, path: Sequence[str | int]) -> int | None:
        """That of the key at this path, or of the nearest one above it that the file has."""
        steps = tuple(str(step) for step in path)
        return next((self.lines[steps[:end]] for end in range(len(steps), 0, -1) if steps[:end] in self.lines), None)


def find(named: FilePath | None) -> FilePath:
    """The policy to use. Raises PolicyError where there is none."""
    if named is not None:
        return named
    for place in PLACES:
        if place.is_file():
            return place
    expected = "a policy there, in /etc/hostguard/policy.yml, or named with --policy (`hostguard init` writes one)"
    raise PolicyError([Problem(str(PLACES[0]), 0, "", "no such file", expected)])


def load(path: FilePath, overlays: Iterable[tuple[str, Mapping[str, Any]]] = ()) -> LoadedPolicy:
    """Read a policy and lay refinements over it, each a name and a dict: dicts merge deep, lists are replaced.

    Raises PolicyError with every problem that was found.
    """
    name = str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyError([Problem(name, 0, "", error.strerror or str(error), "a policy file")]) from None
    return parse(raw, name, overlays, path.parent)


def parse(
    raw: bytes,
    name: str,
    overlays: Iterable[tuple[str, Mapping[str, Any]]] = (),
    folder: FilePath | None = None,
) -> LoadedPolicy:
    """The policy in what was read of a file of this name; `folder` is where the files that it names are looked for.

    Raises PolicyError with every problem that was found.
    """
    try:
        document = read(raw)
    except NotADocument as error:
        said = (error.line, error.key, error.found, error.expected, error.column, error.excerpt)
        raise PolicyError([Problem(name, *said)]) from None
    if not isinstance(document.data, dict):
        found = "an empty file" if document.data is None else shown(document.data)
        raise PolicyError([Problem(name, 1, "", found, "a mapping that begins with `version: 1`")])
    return _loaded(_Source(name, document), document.data, raw, list(overlays), folder)


def of_variables(variables: Mapping[str, Any], name: str) -> LoadedPolicy:
    """A policy that is no file: an inventory's variable of this name. `version` may be left out.

    Raises PolicyError with every problem that was found.
    """
    return _loaded(_Source(name, Document()), {"version": 1}, b"", [(name, variables)])


def _loaded(
    source: _Source,
    data: dict[str, Any],
    raw: bytes,
    overlays: Sequence[tuple[str, Mapping[str, Any]]],
    folder: FilePath | None = None,
) -> LoadedPolicy:
    digest = hashlib.sha256(raw)
    for overlay_name, overlay in overlays:
        data = source.merge(data, overlay, overlay_name, ())
        digest.update(json.dumps(overlay, sort_keys=True).encode())
    unread: list[Problem] = []
    files: list[FilePath] = []
    for path, named in schema_file.named(data):
        try:
            file = schema_file.place(named, folder)
            content, schema = schema_file.read(file)
        except schema_file.NotASchema as error:
            unread.append(source.problem(path, error.found, error.expected))
            schema = {}
        else:
            digest.update(content)
            files.append(file)
        data = _with(data, path, schema)
    policy, problems = _validate(data, source)
    problems += unread
    if policy is None or problems:
        raise PolicyError(sorted(problems, key=lambda problem: (problem.file, problem.line)))
    warnings = tuple(source.problem(path, found, said) for path, found, said, _ in checks.cautions(policy))
    lines = {
        tuple(map(str, path)): line
        for path, line in source.document.lines.items()
        if len(path) <= LINES_DEEP and _by_name(path) and not source.overlays(path)
    }
    return LoadedPolicy(policy, source.file, digest.hexdigest(), warnings, lines, data, tuple(files))


def _by_name(path: Path) -> bool:
    """Lists may have a hundred thousand items, and nobody asks for the line of one."""
    return all(isinstance(step, str) for step in path)


class _Source:
    """Which file and line a value came from."""

    def __init__(self, file: str, document: Document) -> None:
        self.file, self.document = file, document
        self.overlaid: dict[Path, str] = {}

    def merge(self, below: Any, above: Any, name: str, path: Path) -> Any:
        if isinstance(below, dict) and isinstance(above, Mapping):
            merged = dict(below)
            for key, item in above.items():
                merged[key] = self.merge(below.get(key), item, name, (*path, key))
            return merged
        self.overlaid[path] = name
        return above

    def overlays(self, path: Path) -> bool:
        """Whether what stands at `path` came from a refinement."""
        return any(path[:length] in self.overlaid for length in range(1, len(path) + 1))

    def problem(self, path: Path, found: str, expected: str) -> Problem:
        heads = [path[:length] for length in range(len(path), 0, -1)]
        for head in heads:
            # What stands below a replaced value came with it, whatever stood there in the file.
            if head in self.overlaid:
                return Problem(self.overlaid[head], 0, dotted(path), found, expected)
        for head in heads:
            if head in self.document.lines:
                return Problem(self.file, self.document.lines[head], dotted(path), found, expected)
        return Problem(self.file, 1, dotted(path), found, expected)


def _validate(data: dict[str, Any], source: _Source) -> tuple[Policy | None, list[Problem]]:
    """The policy where it holds, and every problem.

    What is malformed is taken out and the rest looked at again, so that a bad address does not hide that two
    others overlap; what would only be said because of the taking out is not said.
    """
    problems = [
        Problem(source.file, line, dotted(path), "a key that stands above already", "each key once")
        for path, line in source.document.duplicates
    ]
    problems += [
        source.problem((key,), "nothing", "its settings ({} for all defaults), or no such key")
        for key, section in data.items()
        if section is None and key not in NO_SECTIONS
    ]
    taken: list[Path] = []
    rest: Any = data
    adapter = TypeAdapter(Policy)
    for _ in range(MOST_ROUNDS):
        before = _Taken(taken)
        try:
            policy = adapter.validate_python(rest)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=True)
            paths = [_place(detail) for detail in details]
            original = [before.original(path) for path in paths]
            problems += [
                source.problem(path, _found(detail), _expected(detail, path))
                for detail, path in zip(details, original, strict=True)
                if not before.explain(path)
            ]
            taken += original
            rest = _without(rest, paths)
            if rest is None:
                return None, problems
            continue
        for path, found, expected, of in checks.contradictions(policy):
            if not any(map(before.explain, (path := before.original(path), *of))):
                problems.append(source.problem(path, found, expected))
        return policy, problems
    return None, problems


class _Taken:
    """What was taken out of a policy, to be asked for as many times as there are problems: 100,000, if need be."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = set(paths)
        self.above = {path[:length] for path in paths for length in range(len(path) + 1)}
        gone: dict[Path, set[int]] = {}
        for path in paths:
            if path and isinstance(path[-1], int):
                gone.setdefault(path[:-1], set()).add(path[-1])
        # By list: for each value taken out, in order, how many of those that stayed stand before it.
        self.kept_before = {path: [at - count for count, at in enumerate(sorted(of))] for path, of in gone.items()}

    def explain(self, path: Path) -> bool:
        """Whether a problem at `path` may be there only because of what was taken out of it, or with it."""
        return path in self.above or any(path[:length] in self.paths for length in range(1, len(path)))

    def original(self, path: Path) -> Path:
        """A path as it was before values were taken out of the lists on its way."""
        whole: Path = ()
        for part in path:
            if isinstance(part, int):
                part += bisect_right(self.kept_before.get(whole, ()), part)
            whole = (*whole, part)
        return whole


def _place(detail: Any) -> Path:
    """Where in the policy an error is: pydantic marks a bad key of a dict with a word of its own."""
    return tuple(part for part in detail["loc"] if part != "[key]")


def _with(data: Any, path: Path, value: Any) -> Any:
    """A copy with another value at `path`, which is there."""
    if not path:
        return value
    return {**data, path[0]: _with(data[path[0]], path[1:], value)}


def _without(data: Any, paths: Iterable[Path]) -> Any:
    """A copy without the values at `paths`; None where the whole of it is at fault."""
    gone: dict[str | int, list[Path]] = {}
    for path in paths:
        if not path:
            return None
        gone.setdefault(path[0], []).append(path[1:])
    if isinstance(data, dict):
        kept = {key: item for key, item in data.items() if key not in gone}
        # A key that was expected and is not there: nothing to take out, so its parent goes.
        if any(key not in data for key in gone):
            return None
        for key, rests in gone.items():
            left = _without(data[key], rests)
            if left is not None:
                kept[str(key)] = left
        return kept or None
    if isinstance(data, list | tuple):
        left_over = []
        for at, item in enumerate(data):
            left = _without(item, gone[at]) if at in gone else item
            if left is not None:
                left_over.append(left)
        return left_over or None
    return None


def _found(detail: Any) -> str:
    if detail["type"] == "missing":
        return "nothing"
    if detail["type"] == "extra_forbidden":
        return "an unknown key"
    return shown(detail["input"])


def shown(value: Any) -> str:
    """A value as an error shows it: on one line, short, and without control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, bool):
        return str(value).lower()
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def _expected(detail: Any, path: Path) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "expected":
        return str(context["expected"])
    if kind == "extra_forbidden":
        known = known_keys(path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=2)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"one of {', '.join(known)}{meant}"
    if kind == "literal_error":
        return f"{context['expected']}"
    if kind == "missing":
        return "a value: this key can't be left out"
    if kind in ("tuple_type", "list_type"):
        return "a list"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "a mapping"
    return str(detail["msg"])


def known_keys(path: Path) -> list[str]:
    """The keys that may stand in the section at `path`."""
    schema = _schema()
    node: Any = schema
    for part in path:
        node = _inside(node, part, schema)
    node = _dereferenced(node, schema)
    return sorted(node.get("properties", {}))


@functools.cache
def _schema() -> Any:
    return Policy.model_json_schema(by_alias=True)


def _inside(node: Any, part: str | int, schema: Any) -> Any:
    node = _dereferenced(node, schema)
    return node.get("properties", {}).get(part) or node.get("additionalProperties") or node.get("items") or {}


def _dereferenced(node: Any, schema: Any) -> Any:
    while isinstance(node, Mapping):
        options = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
        if len(options) == 1:
            node = options[0]
        elif "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        else:
            return node
    return {}
