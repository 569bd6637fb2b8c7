"""The audit as JUnit XML, for the test pages of CI servers: a suite a host, a test case a control."""

from __future__ import annotations

from xml.etree import ElementTree

from hostguard.report.text import of_change, of_waiver
from hostguard.result import HostReport, Report, Result


def render(report: Report, *, colour: bool, width: int) -> str:  # noqa: ARG001 - the signature of every format
    root = ElementTree.Element("testsuites", {"name": "hostguard", **_counts(report)})
    for host in report.hosts:
        _host(root, report, host)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _host(root: ElementTree.Element, report: Report, host: HostReport) -> None:
    # Its readers expect a time without a zone.
    when = report.generated.removesuffix("Z")
    named = {"name": host.host, "hostname": host.host, "timestamp": when}
    suite = ElementTree.SubElement(root, "testsuite", {**named, **_counts(host)})
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("policy", report.policy_path), ("policy.sha256", report.policy_sha256)):
        if value:
            ElementTree.SubElement(properties, "property", name=name, value=value)
    for result in host.results:
        control = result.control
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{host.host}.{control.area}", name=control.id, time="0"
        )
        _outcome(case, result)


def _outcome(case: ElementTree.Element, result: Result) -> None:
    control = result.control
    message = f"{control.title}: expected {result.expected}, found {result.actual}"
    if result.known:
        # Every server takes a failure for a reason to fail the build, and none takes a skipped test for a good one.
        ElementTree.SubElement(case, "skipped", message=f"failed in the baseline already: {message}").text = _body(
            result
        )
    elif result.status == "fail" and result.preferred:
        ElementTree.SubElement(case, "skipped", message=f"preferred only: {message}").text = _body(result)
    elif result.status == "fail":
        failure = ElementTree.SubElement(case, "failure", type=str(result.severity), message=message)
        failure.text = _body(result)
    elif result.status == "unknown":
        error = ElementTree.SubElement(case, "error", type="unknown", message=f"could not be seen: {result.actual}")
        error.text = _body(result)
    elif result.status in ("waived", "not_applicable"):
        ElementTree.SubElement(case, "skipped", message=of_waiver(result) or result.actual)


def _body(result: Result) -> str:
    said = (
        ("expected", result.expected),
        ("actual", result.actual),
        ("evidence", result.evidence),
        ("waiver", of_waiver(result)),
        *(("drift", of_change(change)) for change in result.drift),
        ("to do", result.remediation),
    )
    return "\n".join(f"{name}: {text}" for name, text in said if text)


def _counts(of: Report | HostReport) -> dict[str, str]:
    count = of.count()
    failures = len(of.failing())
    counts = {
        "tests": sum(count.values()),
        "failures": failures,
        "errors": count["unknown"],
        "skipped": count["waived"] + count["not_applicable"] + count["fail"] - failures,
        "time": 0,
    }
    return {name: str(number) for name, number in counts.items()}
