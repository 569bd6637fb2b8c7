"""Whether what runs is the program that the policy names, and whether root alone can change that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.control import Verdict, verdict
from hostguard.policy.gateway import Gateway

VERSION = re.compile(r"version: [0-9a-f]+/(\d+)\.(\d+)\.(\d+)")


def asks(g: Gateway) -> Mapping[str, Any]:
    asked = {"path": g.program, "admin": g.admin, "hashed": g.sha256 is not None}
    return {"program": {"collect": "envoy-program", **asked}}


def judges(g: Gateway, said: Mapping[str, Any]) -> Verdict:
    pinned = f", with the SHA-256 {g.sha256[:16]}…" if g.sha256 else ""
    expected = f"Envoy {g.version_min} or later at {g.program}, which root alone can change{pinned}; and it runs"
    program = said["program"]
    if not program["there"]:
        return Verdict("fail", expected, f"{g.program} is not there: hostguard installs no Envoy")
    return verdict(expected, list(_found(g, program)), f"{g.program}: {_number(program['version'])}, and it runs")


def _found(g: Gateway, program: Mapping[str, Any]) -> Iterator[str]:
    for place in program["open_to"]:
        yield f"others than root may change {place}"
    if g.sha256 and program["sha256"] != g.sha256:
        yield f"its SHA-256 is {program['sha256']}"
    version = _number(program["version"])
    if not version and not program["open_to"]:
        yield f"it does not say that it is an Envoy: {program['version'][:60]!r}"
    elif version and _parts(version) < _parts(g.version_min):
        yield f"it is Envoy {version}"
    if not program["running"]:
        yield f"nobody answers at {g.admin}"
    for each in program["running"]:
        if not each["same"]:
            gone = " (replaced since it was started)" if each["exe"].endswith(" (deleted)") else ""
            yield f"process {each['pid']} runs {each['exe'].removesuffix(' (deleted)')}{gone}"


def _number(said: str) -> str:
    found = VERSION.search(said)
    return ".".join(found.groups()) if found else ""


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
