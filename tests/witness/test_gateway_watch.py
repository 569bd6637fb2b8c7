"""What fails at the gateway of a whole host, seen by `watch` beside what its firewall denies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hostguard.policy.gateway import LOGS, UNIT
from tests.breaks import gateway
from tests.lab import Lab
from tests.lab.network import ENEMY
from tests.patience import ended
from tests.witness.name_server import NameServer
from tests.witness.policy import PLACE
from tests.witness.test_gateway_breaks import made, names  # noqa: F401 - the fixture
from tests.witness.test_learn import events, program
from tests.witness.world import reaches

pytestmark = pytest.mark.needs("lab", "envoy")

ASKS = "import urllib.request as u\ntry: u.urlopen('http://127.0.0.84:{}/v1/letter?key=secret')\nexcept OSError: pass"
ROTATES = f"mv {LOGS}/access.log {LOGS}/access.log.1; systemctl kill --kill-who=main --signal=USR1 {UNIT}"


def until(told: Iterator[dict[str, Any]], event: str) -> dict[str, Any]:
    return next(each for each in told if each["event"] == event)


def test_what_fails_at_the_gateway_is_told_beside_what_is_denied(lab: Lab, names: NameServer) -> None:  # noqa: F811
    assert names.zone.exists()
    host = made(lab, "watched", "gateway.yml")

    def apply() -> None:
        done = host.hostguard("apply", "--yes", "--confirm-within", "0")
        assert done.returncode == 0, done.stderr + done.stdout

    def asks(account: str, port: int) -> None:
        host.run(["runuser", "-u", account, "--", "python3", "-c", ASKS.format(port)])

    apply()
    host.run(f"{gateway.PLANT}; {gateway.RESTART}; {gateway.UP}")
    watching = program(host, "watch", "--format", "json")
    told = events(watching)
    assert next(told)["mode"] == "enforce"
    assert next(told)["state"] == "followed"
    asks("mail", 85)
    failed = until(told, "failed")
    assert (failed["provider"], failed["accounts"], failed["status"]) == ("letters", ["mail"], 503)
    assert {"UF", "UH"} & set(failed["flags"])
    reaches(host, "mail", ENEMY, 443)
    assert until(told, "attempt")["account"] == "mail"
    host.run(ROTATES)
    asks("shop", 84)
    failed = until(told, "failed")
    assert (failed["provider"], failed["accounts"]) == ("payments", ["shop"]), "by the log that came after"
    host.write(PLACE, host.out(f"cat {PLACE}").replace("gateway:\n", "gateway:\n  log: off\n"))
    apply()
    assert until(told, "gateway")["state"] == "off"
    host.run("pkill -INT -f '[h]ostguard watch'")
    rest = list(told)
    assert "secret" not in repr(rest)
    assert ended(watching) == 0
