"""What a host may answer: one schema for each question, and the one door that its bytes come in by (pure).

A host may be broken or hostile. Nothing of it is taken for what it says before it went through here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from hostguard.answer.collector import SAID
from hostguard.answer.event import EVENTS
from hostguard.answer.kind import VALUES, Mount
from hostguard.answer.question import SCHEMAS, Refusal
from hostguard.host import parameters
from hostguard.host.resource import (
    ABSENT,
    MISSING,
    NOT_APPLICABLE,
    NOT_RUNNING,
    UNREADABLE,
    VALUE,
    HostError,
    Observation,
    Resource,
    unreadable,
)
from hostguard.shape import Misfit, fit
from hostguard.visible import cut

LONGEST_NUMBER = 25
"""Digits. Python refuses to read some thousands of them, in a way of its own."""
MOST = 10_000
"""Generations, or resources: each is a line of what is shown. An allowlist of any length is one resource."""


def read(do: str, text: bytes | str) -> dict[str, Any]:
    """A host's answer to a question; {"error": …} where it says why it has none. Raises HostError for anything else."""
    try:
        node = json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            object_pairs_hook=_once, parse_constant=_no_number, parse_int=_whole, parse_float=_real,
        )  # fmt: skip
    except RecursionError:
        raise HostError("the host's answer makes no sense: its lists are too deep within each other") from None
    except ValueError as error:  # also of bytes that are no UTF-8
        raise HostError(f"the host's answer makes no sense: expected JSON: {error}") from None
    return checked(do, node)


def checked(do: str, node: Any) -> dict[str, Any]:
    """The same of an answer that is plain JSON already."""
    try:
        fit(dict[str, Any], node)
        if "error" in node and "outcome" not in node:
            # A transaction that failed has an error too, and tells what became of it.
            fit(Refusal, node)
            return {"error": cut(node["error"]), **({"late": True} if node.get("late") else {})}
        fit(_schema(do, node), node)
        for name in ("records", "resources", "leftovers"):
            if len(node.get(name) or ()) > MOST:
                raise Misfit(f"at {name}: found {len(node[name])}, expected at most {MOST}")
    except Misfit as misfit:
        raise HostError(f"the host's answer to {do!r} makes no sense: {misfit}") from None
    found: dict[str, Any] = node
    return found


def _schema(do: str, node: Mapping[str, Any]) -> Any:
    key, schemas = ("is", EVENTS) if do == "observe" else ("outcome", SCHEMAS[do])
    if not isinstance(schemas, dict):
        return schemas
    which = str(node.get(key))
    if which not in schemas:
        raise Misfit(f"at {key}: found {which[:40]!a}, expected one of {', '.join(schemas)}")
    return schemas[which]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:40]!a} is there twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"found {text}, expected a number")


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"found a number of {len(text)} digits")
    return int(text)


def _real(text: str) -> float:
    found = float(text)
    return found if math.isfinite(found) else _no_number(text[:40])


MAY_BE_ABSENT = ("file", "lookup", "mount", "slice", "ipset")
"""What these kinds take for a difference; of the others there is always something to be seen."""
MOST_PORTS = 1 << 20


def observed(resource: Resource, node: Any, *, image: bool) -> Observation:
    """What a host says that it saw of a resource: unreadable, with the reason, where that makes no sense. Only an
    `image` may leave to a host that runs what it can't tell."""
    if node is None:
        return unreadable(f"{resource['id']}: the host did not answer")
    try:
        fit(tuple[str, Any, str], node)
        seen, kind = Observation(*node), resource["kind"]
        if seen.state == VALUE:
            _value(resource, seen.value)
        elif seen.state == UNREADABLE:
            return seen if seen.reason.strip() else unreadable(f"{resource['id']}: the host does not say why")
        elif seen.state == ABSENT:
            _need(kind in MAY_BE_ABSENT, f"of a {kind} there is always something to be seen, and it says absent")
        elif seen.state == MISSING:
            _need(kind == "unit" and not resource.get("ours"), f"no {kind} can be missing, and it says so")
            _need(bool(seen.reason.strip()), "it says missing, and not what")
        elif seen.state in (NOT_APPLICABLE, NOT_RUNNING):
            may = image if seen.state == NOT_RUNNING else _need_not_apply(resource)
            _need(may, f"it says {seen.state.replace('_', ' ')}, which this {kind} can't be")
            _need(bool(seen.reason.strip()), f"it says {seen.state.replace('_', ' ')}, and not why")
        else:
            _need(False, f"it says {seen.state[:40]!a}, which is no state")
    except Misfit as misfit:
        return unreadable(f"{resource['id']}: the host's answer makes no sense: {misfit}")
    return seen


def _need_not_apply(resource: Resource) -> bool:
    """A service that does not run, a kernel without IPv6, without a hook for frames or older than a parameter, and in a
    container a module of the machine's. All else applies everywhere."""
    kind = resource["kind"]
    if kind in ("file", "sysctl"):
        return bool(resource.get("module") or resource.get("since"))
    return kind in ("process", "frames") or (kind == "ruleset" and resource["family"] == "ipv6")


def _need(holds: bool, said: str) -> None:
    if not holds:
        raise Misfit(said)


def _value(resource: Resource, node: Any) -> None:
    kind = resource["kind"]
    _need(kind in VALUES, f"found the kind {kind[:40]!a}, expected one of {', '.join(VALUES)}")
    fit(VALUES[kind], node)
    if kind == "mount" and node["type"] == "tmpfs":
        fit(Mount, node)
    if kind == "slice":
        # Of these every hierarchy of control groups has a file.
        wanted = [field for field in ("memory_max", "cpu_quota", "tasks_max") if resource.get(field) is not None]
        lacking = next((field for field in wanted if field not in node), "")
        _need(not lacking, f"there is no {lacking!r}, which was asked for")
    if kind == "sysctl" and resource.get("compare") == "ports":
        for text in (node["live"], node["boot"], resource["value"]):
            ports(text or "")


def ports(text: str) -> set[int]:
    """The kernel's list of ports. Raises Misfit for one that holds what no port is, or that would not fit in memory."""
    spans = [part.strip().partition("-") for part in text.split(",") if part.strip()]
    numbers = [(first, last or first) for first, _, last in spans]
    right = all(re.fullmatch("[0-9]{1,5}", each) for pair in numbers for each in pair)
    _need(
        right and sum(int(last) - int(first) + 1 for first, last in numbers if int(last) >= int(first)) <= MOST_PORTS,
        f"found {text[:40]!a}, expected a list of ports",
    )
    return parameters.ports(text)


def evidence(request: Mapping[str, Any], node: Any, *, image: bool) -> dict[str, Any]:
    """What a host says to a request for evidence: {"said": …}, {"unreadable": why}, or of an image {"not_running":
    why}."""
    if node is None:
        return {"unreadable": "the host did not answer"}
    try:
        fit(dict[str, Any], node)
        for name in ("unreadable", "not_running"):
            if name in node:
                fit(str, node[name], name)
                _need(bool(node[name].strip()), f"at {name}: found no word, expected why")
                _need(image or name != "not_running", "it says that it does not run, and answers")
                return {name: node[name]}
        _need("said" in node, "there is neither 'said' nor 'unreadable'")
        fit(SAID[request["collect"]], node["said"], "said")
    except Misfit as misfit:
        return {"unreadable": f"the host's answer makes no sense: {misfit}"}
    return {"said": node["said"]}
