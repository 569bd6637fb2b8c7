"""The host program's own command line: one request as JSON on stdin, one answer as JSON on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any, Dict, List

from . import snapshot, store, transaction, watcher, window
from .resource import HostError


def answer(request: Dict[str, Any]) -> Dict[str, Any]:
    """Do what a request asks: {"do": read | apply | rollback | confirm | history, …}."""
    do = request["do"]
    if do == "read":
        return snapshot.take(request["bundle"])
    if do == "apply":
        return transaction.apply(request["bundle"], request["options"], lambda _: None)
    if do == "rollback":
        return transaction.rollback(request["to"], lambda _: None, restart=request["restart"])
    if do == "confirm":
        return {"outcome": "applied", "generation": window.confirm()}
    if do == "history":
        return {"records": store.records()}
    raise HostError("the host program does not know {!r}: the controller is newer than it".format(do))


def main(arguments: List[str]) -> int:
    if arguments[:1] == ["expire"]:
        watcher.expire(int(arguments[1]))
        return 0
    if arguments[:1] == ["recover"]:
        watcher.after_boot()
        return 0
    if arguments[:1] == ["recover-rules"]:
        watcher.rules_after_boot()
        return 0
    try:
        said = answer(json.load(sys.stdin))
    except HostError as error:
        said = {"error": str(error)}
    json.dump(said, sys.stdout)
    return 0
