"""An earlier audit as a baseline: what failed then is known, and only what is new counts (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from hostguard.control import JudgingControl
from hostguard.result import HostReport, Report, Result
from hostguard.status import Status

Baseline = Mapping[tuple[str, str], Status]
"""The status of each control, by host and ID."""

WELL: tuple[Status, ...] = ("pass", "not_applicable")


class _Result(BaseModel):
    id: str
    status: Status


class _Host(BaseModel):
    host: str
    results: list[_Result]


class _Audit(BaseModel):
    schema_: Literal["hostguard.audit/1"] = Field(alias="schema")
    hosts: list[_Host]


class NoBaseline(Exception):
    """What was named as a baseline is no audit."""


def read(raw: bytes) -> Baseline:
    """What an audit that was written as JSON said. Raises NoBaseline for anything else."""
    try:
        audit = _Audit.model_validate_json(raw)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, detail["loc"]))
        said = " ".join(detail["msg"].split())
        raise NoBaseline(f"{where}: {said}" if where else said) from None
    return {(host.host, result.id): result.status for host in audit.hosts for result in host.results}


def mark(report: Report, baseline: Baseline) -> Report:
    """The report, with what the baseline said of each result."""
    return replace(report, hosts=tuple(_marked(host, baseline) for host in report.hosts), compared=True)


def _marked(host: HostReport, baseline: Baseline) -> HostReport:
    results = (replace(result, before=baseline.get((host.host, result.control.id))) for result in host.results)
    return replace(host, results=tuple(results))


def mended(report: Report) -> int:
    """How much of what failed in the baseline is well by now. What is waived, or was not looked at, is not."""
    return sum(r.before == "fail" and r.status in WELL for host in report.hosts for r in host.results)


def worse(before: Iterable[HostReport], after: Iterable[HostReport]) -> list[tuple[str, Result]]:
    """What decides a gate after a change and was not so before it, each with its host.

    What a control wants was written in between: where it fails in other words than before, that is new.
    """
    known = {(report.host, r.control.id): r for report in before for r in report.results}

    def new(host: str, result: Result) -> bool:
        was = known.get((host, result.control.id))
        same_words = isinstance(result.control, JudgingControl) or (was is not None and was.actual == result.actual)
        return was is None or was.status != result.status or not same_words

    return [
        (report.host, r)
        for report in after
        for r in report.results
        if (r.decides or r.status == "unknown") and new(report.host, r)
    ]
