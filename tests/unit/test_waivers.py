"""Waivers, gates and baselines: what fails for a reason, and what is never let through."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostguard import baseline
from hostguard.controls import CATALOGUE
from hostguard.policy import Waiver
from hostguard.report import render
from hostguard.result import HostReport, Report, Result
from hostguard.status import Exit, Severity, Status
from hostguard.waivers import Scope, Waived, cautions, heed, warnings

TODAY = date(2026, 11, 24)
FIN = next(control for control in CATALOGUE if control.id == "kernel.fin-timeout")


def waiver(control: str = FIN.id, hosts: Sequence[str] | None = None, days: int = 100) -> Waiver:
    ends = (TODAY + timedelta(days)).isoformat()
    return Waiver.model_validate({"control": control, "hosts": hosts, "reason": "r", "by": "jane", "expires": ends})


def host(name: str = "web1", status: Status = "fail") -> HostReport:
    return HostReport(name, (Result(FIN, status, FIN.severity, "30", "seen", "e"),))


def heeded(found: HostReport, *waivers: Waiver) -> Result:
    (result,) = heed(found, waivers, TODAY).report.results
    return result


@pytest.mark.parametrize(
    ("control", "hosts", "days", "status"),
    [
        (FIN.id, None, 100, "waived"),
        (FIN.id, None, 0, "waived"),
        (FIN.id, None, -1, "fail"),
        ("kernel.*", None, 100, "waived"),
        ("limits.*", None, 100, "fail"),
        ("kernel.fin-time", None, 100, "fail"),
        (FIN.id, ["web1"], 100, "waived"),
        (FIN.id, ["db*", "web?"], 100, "waived"),
        (FIN.id, ["web"], 100, "fail"),
        (FIN.id, ["WEB1"], 100, "fail"),
    ],
)
def test_what_a_waiver_is_for(control: str, hosts: list[str] | None, days: int, status: Status) -> None:
    assert heeded(host(), waiver(control, hosts, days)).status == status


def test_an_expired_waiver_is_told_and_waives_nothing() -> None:
    found = heeded(host(), waiver(days=-1))
    assert (found.status, found.actual) == ("fail", "seen; the waiver of jane expired on 2026-11-23")
    assert found.waiver == waiver(days=-1)
    assert heeded(host(), waiver(days=-1), waiver("kernel.*", days=0)).waiver == waiver("kernel.*", days=0)


waivers_of_any_kind = st.builds(
    waiver,
    st.sampled_from([FIN.id, "kernel.*", "limits.*", "kernel.nothing"]),
    st.sampled_from([None, ["web1"], ["db*"], ["db*", "web1"]]),
    st.integers(-400, 400),
)


@given(st.sampled_from(get_args(Status)), st.lists(waivers_of_any_kind, max_size=5), st.sampled_from(["web1", "db1"]))
def test_nothing_but_a_failure_under_a_waiver_in_force_changes(status: Status, given: list[Waiver], name: str) -> None:
    found = heeded(host(name, status), *given)
    about = [w for w in given if w.control in (FIN.id, "kernel.*") and (not w.hosts or name[:2] in str(w.hosts))]
    if status == "fail" and any(w.expires >= TODAY for w in about):
        assert (found.status, found.actual) == ("waived", "seen")
        assert found.waiver in about
        assert found.waiver is not None
        assert found.waiver.expires >= TODAY
    else:
        assert found.status == status
        assert (found.waiver is not None) == (status == "fail" and bool(about))


def warned(scope: Scope, hosts: Sequence[HostReport], *waivers: Waiver) -> list[str]:
    """What follows the name of the waiver, in a word or two."""
    found = warnings([heed(each, waivers, TODAY) for each in hosts], scope, TODAY)
    assert all(said.startswith("the waiver of jane for ") for said in found)
    return [said.partition(": ")[2] for said in found]


ENDS_SOON = "it expires on 2026-12-08"
NOT_NEEDED = "it fails on no host that the waiver is for; take it out of the policy"


@pytest.mark.parametrize(
    ("scope", "hosts", "given", "said"),
    [
        (Scope.FLEET, [host()], waiver(), []),
        (Scope.FLEET, [host()], waiver(days=14), [ENDS_SOON]),
        (Scope.FLEET, [host()], waiver(days=15), []),
        (Scope.FLEET, [host()], waiver(days=-1), []),  # the result says so
        (Scope.FLEET, [host("a"), host("b", "pass")], waiver(), []),
        (Scope.FLEET, [host("a", "pass"), host("b", "not_applicable")], waiver(), [NOT_NEEDED]),
        (Scope.FLEET, [host("a", "pass"), host("b", "unknown")], waiver(), []),
        (Scope.FLEET, [host("a")], waiver(hosts=["db*", "x"]), ["no host of this audit is db* or x"]),
        (Scope.FLEET, [host("a", "pass"), host("b")], waiver(hosts=["a"]), [NOT_NEEDED]),
        (Scope.PART, [host("a")], waiver(hosts=["db*", "x"]), []),
        (Scope.PART, [host("a", "pass")], waiver(), []),
        (Scope.PART, [host("a", "pass")], waiver(hosts=["a*"]), []),
        (Scope.PART, [host("a", "pass")], waiver(hosts=["a"]), [NOT_NEEDED]),
        (Scope.PART, [host("a", "pass")], waiver(hosts=["a", "b"]), []),
        (Scope.ONE, [host("a")], waiver(hosts=["b"]), []),
        (Scope.ONE, [host("a", "pass")], waiver(), [NOT_NEEDED]),
        (Scope.ONE, [host("a")], waiver("kernels.*"), ["there is no such control: did you mean kernel.*"]),
        (Scope.PART, [host("a")], waiver("x.y"), ["there is no such control: `hostguard checks` lists them"]),
    ],
)  # fmt: skip
def test_a_waiver_that_does_nothing_is_told(
    scope: Scope, hosts: list[HostReport], given: Waiver, said: list[str]
) -> None:
    found = warned(scope, hosts, given)
    assert len(found) == len(said)
    assert all(words.startswith(begin) for words, begin in zip(found, said, strict=True))


def test_a_waiver_of_an_inventory_is_for_the_hosts_that_have_it() -> None:
    only_a = waiver()
    found = [heed(host("a", "pass"), [only_a], TODAY), Waived(host("b"), host("b"), ())]
    assert len(warnings(found, Scope.FLEET, TODAY)) == 1


def test_without_a_host_too_there_is_something_to_say() -> None:
    assert cautions([waiver()], TODAY) == ()
    said = cautions([waiver("kernel.fin"), waiver(days=14), waiver(days=-1)], TODAY)
    assert [words.split(": ")[1].split()[:2] for words in said] == [
        ["there", "is"],
        ["it", "expires"],
        ["it", "expired"],
    ]


def report(*results: tuple[Status, Severity, bool]) -> Report:
    made = tuple(
        Result(FIN, status, severity, "", "", "", before="fail" if known else None)
        for status, severity, known in results
    )
    return Report("", "", "", (HostReport("h", made),))


HIGH, MEDIUM, LOW = Severity
any_result = st.tuples(st.sampled_from(get_args(Status)), st.sampled_from(Severity), st.booleans())


@given(st.lists(any_result, max_size=6), st.sampled_from(Severity))
def test_the_gate_by_its_own_words(results: list[tuple[Status, Severity, bool]], gate: Severity) -> None:
    counted = {HIGH: [HIGH], MEDIUM: [HIGH, MEDIUM], LOW: [HIGH, MEDIUM, LOW]}[gate]
    failed = any(status == "fail" and severity in counted and not known for status, severity, known in results)
    unseen = any(status == "unknown" for status, _, _ in results)
    assert report(*results).exit(gate) == (Exit.FAILED if failed else Exit.UNSEEN if unseen else Exit.WELL)


some_hosts = st.dictionaries(st.sampled_from("abc"), st.sampled_from(get_args(Status)), max_size=3).map(
    lambda statuses: Report("", "", "", tuple(host(name, status) for name, status in statuses.items()))
)


def as_json(found: Report) -> bytes:
    return render("json", found, colour=False, width=80).encode()


@given(some_hosts, some_hosts)
def test_a_baseline_knows_what_failed_in_it_and_nothing_else(earlier: Report, now: Report) -> None:
    was = {each.host: each.results[0].status for each in earlier.hosts}
    before = baseline.read(as_json(earlier))
    marked = baseline.mark(now, before)
    for each, same in zip(marked.hosts, now.hosts, strict=True):
        (result,), (plain,) = each.results, same.results
        assert (result.status, each.host) == (plain.status, same.host)
        assert result.known == (result.status == "fail" and was.get(each.host) == "fail")
    well = [each.host for each in now.hosts if each.results[0].status in ("pass", "not_applicable")]
    assert baseline.mended(marked) == sum(was.get(name) == "fail" for name in well)
    # A baseline of now forgives all that fails now, and nothing that could not be seen.
    forgiven = baseline.mark(now, baseline.read(as_json(now)))
    assert forgiven.exit() == (Exit.UNSEEN if now.count()["unknown"] else Exit.WELL)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff", b"[]", b"null", b"{}", b"[" * 100_000, b'{"schema": "hostguard.audit/2", "hosts": []}',
     b'{"schema": "hostguard.audit/1"}', b'{"schema": "hostguard.audit/1", "hosts": [{"host": "a"}]}',
     b'{"schema": "hostguard.audit/1", "hosts": [{"host": "a", "results": [{"id": "x", "status": "bad"}]}]}'],
)  # fmt: skip
def test_what_is_no_audit_is_no_baseline(raw: bytes) -> None:
    with pytest.raises(baseline.NoBaseline) as error:
        baseline.read(raw)
    assert str(error.value).isprintable()


def test_the_formats_say_it() -> None:
    kept = heed(host(), [waiver()], TODAY).report
    found = baseline.mark(Report("", "", "", (kept, host("b"), host("c")), ("a word",)), {("b", FIN.id): "fail"})
    plain = json.loads(as_json(found))
    results = [each["results"][0] for each in plain["hosts"]]
    assert results[0]["waiver"] == {"reason": "r", "by": "jane", "expires": "2027-03-04"}
    assert (results[0]["status"], results[1]["baseline"], plain["warnings"]) == ("waived", "known", ["a word"])
    assert not {"waiver", "baseline"} & results[2].keys()
    table = render("table", found, colour=False, width=100)
    assert f"waived {FIN.id} on web1  until 2027-03-04 by jane: r\n" in table
    assert f"known  {FIN.id}" in table
    assert "b: 1 fail, 0 of them new" in table
    assert "c: 1 fail, 1 of them new" in table


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hostguard", *arguments, "-p", str(folder / "policy.yml")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def policy(folder: Path, cpu_min: int, **words: str) -> None:
    made: dict[str, Any] = {"version": 1, "platform": {"cpu_min": cpu_min, "aes": "off", "clock_sync": "off"}}
    if words:
        made["waivers"] = [{"reason": "r", "by": "jane", "expires": "9999-12-31", **words}]
    (folder / "policy.yml").write_text(json.dumps(made))


def cpus_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    results = json.loads(done.stdout)["hosts"][0]["results"]
    return next(result for result in results if result["id"] == "platform.cpus")


def test_the_command_heeds_waivers_gates_and_baselines(tmp_path: Path) -> None:
    """On this machine, which has fewer than 65536 CPUs; what else it can't show decides between 0 and 3."""
    policy(tmp_path, 1)
    well = run(tmp_path, "audit", "--format", "json")
    assert cpus_of(well)["status"] == "pass"
    assert well.returncode in (0, 3)
    policy(tmp_path, 65536)
    failed = run(tmp_path, "audit", "--format", "json")
    assert (failed.returncode, cpus_of(failed)["status"]) == (1, "fail")
    (tmp_path / "old.json").write_text(failed.stdout)
    known = run(tmp_path, "audit", "--format", "json", "--baseline", str(tmp_path / "old.json"))
    assert (known.returncode, cpus_of(known)["baseline"]) == (well.returncode, "known")
    gated = run(tmp_path, "audit", "--format", "json", "--fail-on", "high")
    assert cpus_of(gated)["severity"] != "high"
    assert (gated.returncode, cpus_of(gated)["status"]) == (well.returncode, "fail")
    assert "1 fails below --fail-on high" in gated.stderr
    policy(tmp_path, 65536, control="platform.cpus")
    waived = run(tmp_path, "audit", "--format", "json")
    assert (waived.returncode, cpus_of(waived)["status"]) == (well.returncode, "waived")
    assert "warning" not in waived.stderr
    policy(tmp_path, 1, control="platform.cpus")
    mended = run(tmp_path, "audit", "--format", "json", "--baseline", str(tmp_path / "old.json"))
    assert "1 finding of the baseline is fixed: write a new baseline" in mended.stderr
    assert "hostguard: warning: the waiver of jane for platform.cpus: it fails on no host" in mended.stderr
    assert json.loads(mended.stdout)["warnings"]


def test_the_command_refuses_what_is_no_baseline(tmp_path: Path) -> None:
    policy(tmp_path, 1)
    for path, said in ((tmp_path / "absent", "can't read"), (tmp_path / "policy.yml", "schema: Field required")):
        done = run(tmp_path, "audit", "--baseline", str(path))
        assert (done.returncode, done.stdout) == (2, "")
        assert f"--baseline {path}: {said}" in done.stderr


def test_validate_says_what_it_can_of_waivers(tmp_path: Path) -> None:
    policy(tmp_path, 1, control="platform.cpuss", expires="2020-01-01")
    done = run(tmp_path, "validate")
    assert done.returncode == 0
    assert "there is no such control: did you mean platform.cpus" in done.stderr
    assert "it expired on 2020-01-01" in done.stderr
