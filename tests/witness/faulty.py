"""A provider with a fault, as a program of the world's: `python -m tests.witness.faulty FOLDER ADDRESS FAULT`.

FOLDER holds certificates (tests/gateway/certificates.py). It says "ready" once it listens.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.gateway import certificates
from tests.gateway.provider import (
    BROKEN,
    Behaviour,
    Closed,
    Provider,
    Request,
    answers,
    hangs,
    in_turn,
    silence,
    trickles,
)

PORT = 443
LATE, BUSY = 2.0, 0.3
"""Seconds: above the objective of the tests' policy, and well below."""


def _closes(_: Request, __: ssl.SSLSocket) -> None:
    raise Closed


def _after(seconds: float) -> Behaviour:
    def behave(request: Request, wire: ssl.SSLSocket) -> None:
        time.sleep(seconds)
        answers()(request, wire)

    return behave


FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "closes": {"behave": in_turn([answers(), _closes], answers())},
    "expired": {"certificate": certificates.EXPIRED},
    "wrong-name": {"certificate": certificates.WRONG_NAME},
    "wrong-ca": {"certificate": certificates.WRONG_CA},
    "ends-soon": {"certificate": "soon"},
    "wants-a-certificate": {"clients": "ca"},
    "hangs": {"behave": hangs},
    "trickles": {"behave": trickles},
    "limits": {"behave": answers(429, b"{}", Retry_After=30)},
    "fails": {"behave": BROKEN},
    "late": {"behave": _after(LATE)},
    "busy": {"behave": _after(BUSY)},
    "refuses-the-key": {"behave": answers(401, b"{}")},
}
"""By name: what tests/gateway's provider is told."""
SILENT = "silent"


def main() -> None:
    folder, address, fault = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    with contextlib.ExitStack() as open_:
        if fault == SILENT:
            open_.enter_context(silence(address, PORT))
        else:
            open_.enter_context(Provider(address, PORT, folder, **FAULTS[fault]))
        print("ready", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
