"""On a lab's host: `ADDRESS PORT SECONDS`, requests one after another, each on a connection of its own.

Prints the longest time between two good answers, in seconds, how many were good, and how many were not.
"""

from __future__ import annotations

import http.client
import json
import sys
import time


def good(address: str, port: int) -> bool:
    wire = http.client.HTTPConnection(address, port, timeout=5)
    try:
        wire.request("GET", "/")
        return wire.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        wire.close()


def watch(address: str, port: int, seconds: float) -> dict[str, float]:
    began = last = time.monotonic()
    gap, answered, failed = 0.0, 0, 0
    while time.monotonic() < began + seconds:
        if good(address, port):
            now = time.monotonic()
            # The first has none before it.
            gap, last, answered = max(gap, now - last if answered else 0.0), now, answered + 1
        else:
            failed += 1
        time.sleep(0.001)
    return {"gap": gap, "answered": answered, "failed": failed}


if __name__ == "__main__":
    json.dump(watch(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])), sys.stdout)
