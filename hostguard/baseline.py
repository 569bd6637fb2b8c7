"""An earlier audit as a baseline: what failed then is known, and only what is new counts (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from hostguard.control import Status
from hostguard.verdict import HostReport, Report

Failure = tuple[str, str]
"""A host, and a control that fails there."""

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


def read(raw: bytes) -> frozenset[Failure]:
    """What failed in an audit that was written as JSON. Raises NoBaseline for anything else."""
    try:
        audit = _Audit.model_validate_json(raw)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, detail["loc"]))
        said = " ".join(detail["msg"].split())
        raise NoBaseline(f"{where}: {said}" if where else said) from None
    return frozenset((host.host, r.id) for host in audit.hosts for r in host.results if r.status == "fail")


def mark(report: Report, baseline: frozenset[Failure]) -> Report:
    """The report, with what the baseline has marked as known."""
    return replace(report, hosts=tuple(_marked(host, baseline) for host in report.hosts))


def _marked(host: HostReport, baseline: frozenset[Failure]) -> HostReport:
    results = (
        replace(r, known=True) if r.status == "fail" and (host.host, r.control.id) in baseline else r
        for r in host.results
    )
    return replace(host, results=tuple(results))


def mended(report: Report, baseline: frozenset[Failure]) -> int:
    """How much of the baseline is well by now. What is waived, or was not looked at, is not."""
    well = ((host.host, r.control.id) for host in report.hosts for r in host.results if r.status in WELL)
    return len(baseline.intersection(well))
