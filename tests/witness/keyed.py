"""A provider that takes some keys and no others: `python -m tests.witness.keyed FOLDER ADDRESS [CLIENTS]`.

The keys are the lines of FOLDER/keys, read anew for each request; CLIENTS is the authority of the certificate that a
client must show. It tells what it was asked with in FOLDER/asked.json.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections import Counter
from pathlib import Path

from tests.gateway.provider import Behaviour, Provider, Request, answers

PAUSE = 0.1


def takes(folder: Path, asked: Counter[str]) -> Behaviour:
    """200 for who has one of the keys, 401 for all others."""
    good, refused = answers(200), answers(401)

    def behave(request: Request, wire: ssl.SSLSocket) -> None:
        key = request.headers.get("authorization", "")
        known = key.removeprefix("Bearer ") in (folder / "keys").read_text().split()
        asked[f"{key} {'taken' if known else 'refused'}"] += 1
        (good if known else refused)(request, wire)

    return behave


def main() -> None:
    folder, asked, clients = Path(sys.argv[1]), Counter[str](), "".join(sys.argv[3:])
    with Provider(sys.argv[2], 443, folder, behave=takes(folder, asked), clients=clients):
        print("ready", flush=True)
        while True:
            (folder / "asked.new").write_text(json.dumps(dict(asked)))
            (folder / "asked.new").rename(folder / "asked.json")
            threading.Event().wait(PAUSE)


if __name__ == "__main__":
    main()
