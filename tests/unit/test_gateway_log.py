"""What is made of the gateway's log and counters on the host: lines as the real Envoy wrote them, and others."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from hostguard import answer
from hostguard.host.evidence import collect, gateway_log, gateway_state, journal

GOOD = (
    '{"at":"2026-11-26T15:24:27.213Z","cert_ends":"2026-12-26T15:24:20.000Z","cert_issuer":"CN=ca","cluster":'
    '"payments-old","connect":0,"detail":"via_upstream","failure":null,"flags":"-","handshake":1,"host":'
    '"api.provider.test","id":null,"method":"GET","ms":89,"provider":"payments","received":0,"refused":null,'
    '"retry_after":null,"sent":9,"status":200,"tls":"TLSv1.3","to":"127.173.79.1:8443","tries":2,"ttfb":42}'
)
EXPIRED = (
    '{"at":"2026-11-26T15:23:05.421Z","cert_ends":null,"cert_issuer":null,"cluster":"payments","connect":null,'
    '"detail":"upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435581:SSL_routines:'
    "OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:_certificate_verification_error_"
    'at_depth_0:_certificate_has_expired:TLS_error_end}","failure":"TLS_error:|268435581:SSL_routines:OPENSSL_internal:'
    "CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:_certificate_verification_error_at_depth_0:_"
    'certificate_has_expired:TLS_error_end","flags":"URX,UF","handshake":null,"host":"api.provider.test","id":null,'
    '"method":"GET","ms":135,"provider":"payments","received":0,"refused":null,"retry_after":null,"sent":121,'
    '"status":503,"tls":null,"to":"127.112.68.1:8443","tries":4,"ttfb":null}'
)
SECRET = "sk-live"  # noqa: S105 - of nobody


def line(recorded: str = GOOD, ago: float = 1, now: float | None = None, **changes: Any) -> str:
    """A recorded line, as if it was logged so many seconds ago."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime((now or time.time()) - ago))
    return json.dumps({**json.loads(recorded), "at": at, **changes})


def read(tmp_path: Path, *lines: str | bytes, since: float = 600, slow: int = 800) -> Any:
    path = tmp_path / "access.log"
    path.write_bytes(b"\n".join(each if isinstance(each, bytes) else each.encode() for each in lines))
    return asked(path, since, slow)


def asked(path: Path, since: float = 600, slow: int = 800) -> Any:
    request = {"collect": "gateway-log", "path": str(path), "since": since, "slow": {"payments": slow}}
    found = answer.evidence(request, collect({"log": request})["log"], image=False)
    assert "said" in found, found
    return found["said"]


def test_requests_of_one_kind_are_counted_together(tmp_path: Path) -> None:
    found = read(tmp_path, line(ms=10), line(ms=30), line(ms=20, tries=3), line(EXPIRED))
    good, expired = found["kinds"]
    assert (good["count"], good["tries"], good["cluster"], good["status"]) == (3, 3, "payments-old", 200)
    assert good["parts"] == {"connect": [0, 0], "handshake": [1, 1], "ttfb": [42, 42], "ms": [20, 30]}
    assert (good["cert_issuer"], good["cert_ends"]) == ("CN=ca", 1798298660)
    assert (expired["count"], expired["flags"], expired["parts"]) == (1, "URX,UF", {"ms": [135, 135]})
    assert expired["detail"] == "upstream_reset_before_response_started{remote_connection_failure"
    assert "certificate_has_expired" in expired["failure"]


def test_the_busiest_second_is_told(tmp_path: Path) -> None:
    now = time.time()  # once: a second may pass between two lines
    found = read(tmp_path, *(line(ago=ago, now=now) for ago in (9, 5, 5, 5)))
    (kind,) = found["kinds"]
    assert kind["busiest"] == 3
    assert kind["last"] - kind["first"] == 4


def test_an_answer_that_took_its_time_is_of_another_kind(tmp_path: Path) -> None:
    found = read(tmp_path, line(ms=799), line(ms=800))
    assert [kind["slow"] for kind in found["kinds"]] == [False, True]


def test_what_was_before_says_what_is_usual(tmp_path: Path) -> None:
    before = [line(ago=1000, ms=ms, ttfb=7) for ms in (10, 20, 30, 40, 50)]
    found = read(tmp_path, *before, line(EXPIRED, ago=1000), line(ms=900))
    assert found["usual"] == {"payments": {"connect": 0, "handshake": 1, "ttfb": 7, "ms": 30}}
    assert [kind["count"] for kind in found["kinds"]] == [1]
    assert read(tmp_path, *before[1:])["usual"] == {}, "four are not enough"


def test_a_log_that_was_rotated_away_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "access.log.1").write_text(line(EXPIRED, ago=100) + "\n")
    found = read(tmp_path, line())
    assert [kind["status"] for kind in found["kinds"]] == [503, 200]
    (tmp_path / "access.log").unlink()
    assert asked(tmp_path / "access.log")["there"]
    (tmp_path / "access.log.1").write_bytes(gzip.compress(line().encode()))
    assert read(tmp_path, line())["kinds"][0]["count"] == 1


def test_without_a_log_there_is_none(tmp_path: Path) -> None:
    assert asked(tmp_path / "none") == {"there": False, "start": 0, "kinds": [], "usual": {}, "more": 0, "odd": 0}


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("30", 30), ("0", 0), (" 7 ", 7), ("Thu, 26 Nov 2026 15:25:27 GMT", 60), ("Thu, 01 Jan 1970 00:00:00 GMT", 0)],
)
def test_a_retry_after_is_a_number_or_a_date(said: str, seconds: int) -> None:
    assert gateway_log._wait(1795706667.0, said) == seconds


@pytest.mark.parametrize("said", ["", "soon", "-1", "1e9", "9" * 400, "1.5", [], {}, True, "Thu, 99 Nov 2026", "٣"])
def test_a_retry_after_that_is_neither_is_counted_as_such(tmp_path: Path, said: Any) -> None:
    (kind,) = read(tmp_path, line(status=429, retry_after=said))["kinds"]
    assert (kind["retry_after"], kind["odd_retry_after"]) == (None, 1)


HOSTILE = (
    b"\xff\xfe\x00", b"[" * 5000, b"null", b"[]", b'{"provider": "payments"}', b'{"at": 7, "provider": "payments"}',
    b'{"at": "2026-99-99T99:99:99Z", "provider": "payments"}', b'{"at": "' + b"9" * 100_000, GOOD[:200].encode(),
    line(provider="another").encode(), line(provider=["payments"]).encode(), b"7",
)  # fmt: skip


def test_what_is_no_line_of_ours_is_counted_and_does_no_harm(tmp_path: Path) -> None:
    found = read(tmp_path, *HOSTILE, line())
    assert [kind["count"] for kind in found["kinds"]] == [1]
    assert found["odd"] == len(HOSTILE)


@pytest.mark.parametrize(
    "change",
    [
        {"ms": -1}, {"ms": "fast"}, {"ms": 10**30}, {"ms": 1e308}, {"ms": None}, {"ms": [1]}, {"ms": True},
        {"status": "200"}, {"status": {}}, {"flags": 7}, {"flags": ["UC"]}, {"cluster": {"a": []}}, {"tries": 10**40},
        {"cert_ends": "9999999999"}, {"cert_ends": "0000-00-00T00:00:00.000Z"}, {"cert_issuer": "\ud800\x1b[31m"},
        {"host": "x" * 10**6}, {"failure": "::add-mask::x"}, {"provider": ["payments"]}, {"provider": {}},
    ],
)  # fmt: skip
def test_a_field_that_is_not_what_it_should_be_fits_the_answer_all_the_same(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    found = read(tmp_path, line(**change), line())
    assert len(json.dumps(found)) < 5000
    assert sum(kind["count"] for kind in found["kinds"]) + found["odd"] == 2


def test_a_log_of_many_kinds_stays_short_and_says_how_many_are_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, *(line(failure=f"san {number}") for number in range(gateway_log.MOST_KINDS + 7)))
    assert (len(found["kinds"]), found["more"]) == (gateway_log.MOST_KINDS, 7)


def test_no_more_than_the_end_of_a_long_log_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_log, "LONGEST_TAIL", 3 * len(line()))
    found = read(tmp_path, *[line()] * 50)
    assert found["kinds"][0]["count"] in (2, 3)
    assert found["start"] > 0


def test_what_may_be_private_stays_on_the_host(tmp_path: Path) -> None:
    found = read(tmp_path, line(method=SECRET, id=SECRET, path=SECRET, authorization=SECRET))
    assert SECRET not in json.dumps(found)


STATS = """\
cluster.payments.upstream_rq_total: 12
cluster.payments-old.ssl.connection_error: 5
cluster.payments.http.upstream_rq_total: 3
cluster.payments.circuit_breakers.default.remaining_cx_pools: 18446744073709551615
cluster.payments.ssl.ciphers.TLS_AES_256_GCM_SHA384: 5
cluster.payments.http.http_upstream.credential_injector.failed: 2
cluster.dotted.name.upstream_rq_total: 9
cluster_manager.cds.version_text: "be20e7ae"
listener.127.0.0.84_84.downstream_cx_active: 3
listener._run_hostguard-gateway_payments_.http.sock.downstream_cx_active: 2
listener.127.0.0.84_84.worker_0.downstream_cx_active: 3
listener.admin.downstream_cx_active: 1
listener.127.0.0.84_84.downstream_global_cx_overflow: 9
listener_manager.lds.update_rejected: 2
server.uptime: 40
server.uptime: many
cluster.payments.update_failure: 99999999999999999999999999
cluster.\x1b[31m.update_failure: 1
"""


def test_counters_are_kept_by_name_and_added_up_over_listeners() -> None:
    own, clusters = gateway_state._counted(STATS)
    assert own == {
        "downstream_cx_active": 5,
        "downstream_global_cx_overflow": 9,
        "listener_manager.lds.update_rejected": 2,
        "server.uptime": 40,
    }
    assert clusters == {
        "payments": {"upstream_rq_total": 3, "credential_injector.failed": 2},
        "payments-old": {"ssl.connection_error": 5},
    }


def test_nobody_at_the_admin_is_an_answer(tmp_path: Path) -> None:
    request = {"collect": "gateway-state", "admin": str(tmp_path / "admin.sock"), "xds": ""}
    found = answer.evidence(request, collect({"s": request})["s"], image=False)
    assert found["said"]["running"] is False


@pytest.mark.parametrize(
    ("content", "version"),
    [(b'{"version_info": "abc"}', "abc"), (b"{broken", ""), (b"[]", ""), (b'{"version_info": 7}', ""), (b"\xff", "")],
)
def test_the_version_of_a_file_is_held_beside_the_running_one(tmp_path: Path, content: bytes, version: str) -> None:
    (tmp_path / "cds.json").write_bytes(content)
    stats = 'cluster_manager.cds.version_text: "old"\nlistener_manager.lds.version_text: ""\n'
    assert gateway_state._versions(stats, str(tmp_path)) == {"cds": ["old", version], "lds": ["", ""]}
    assert gateway_state._versions(stats, "") == {}


JOURNAL = """\
1795708829.064000 web1 bao[7]: 2026-11-26T16:00:29.064Z [ERROR] agent.auth.handler: error authenticating:
1795708829.064100 web1 bao[7]:   | URL: PUT http://127.0.0.1:8200/v1/auth/approle/login
1795708829.064200 web1 bao[7]:   | * invalid role or secret ID
1795708833.500000 web1 bao[7]:   | * invalid role or secret ID
permission denied
\x1b[31m permission denied
999999999999999999999999999999 web1 bao[7]: permission denied
1.2.3 web1 bao[7]: permission denied
"""


def test_of_a_unit_s_journal_the_words_that_were_asked_for_are_counted_alone() -> None:
    found = journal._counted(JOURNAL, ["invalid role or secret ID", "permission denied", "sealed"])
    assert found == {"invalid role or secret ID": [2, 1795708833.5]}
