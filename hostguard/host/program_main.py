"""The host program's own command line: one request as JSON on stdin, one answer as JSON on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any, Dict, Iterator, List

from .resource import HostError, NotRoot, TooLate


def answer(request: Dict[str, Any]) -> Dict[str, Any]:
    """Do what a request asks: {"do": read | image | apply | rollback | confirm | history | drift | prove | login, …}"""
    # Imported where they are used: a host compiles what is imported, at every call.
    do = request["do"]
    if do == "read":
        from . import snapshot

        return snapshot.take(request["bundle"])
    if do == "image":
        from . import image

        return image.take(request["bundle"])
    if do == "apply":
        from . import transaction

        return transaction.apply(request["bundle"], request["options"], lambda _: None)
    if do == "rollback":
        from . import transaction

        chosen = {"confirm_within": 0, "restart": False, "check": False, **request.get("options", {})}
        return transaction.rollback(request["to"], chosen, lambda _: None)
    if do == "confirm":
        from . import transaction

        return {"outcome": "applied", "generation": transaction.confirm()}
    if do == "history":
        from . import store

        return {"records": [_described(record) for record in store.records()]}
    if do == "drift":
        from . import traces

        return traces.take()
    if do == "prove":
        from .attack import prove

        return prove.prove(request)
    if do == "login":
        from . import login

        return {"files": login.keep(request)}
    raise HostError("the host program does not know {!r}: the controller is newer than it".format(do))


def _described(record: Dict[str, Any]) -> Dict[str, Any]:
    """What may leave the host of a generation: what it replaced was other tools', and may be a secret."""
    shown = {key: record[key] for key in ("number", "created", "status", "by")}
    policy = {key: record["policy"][key] for key in ("path", "sha256")}
    return dict(shown, policy=policy, changes=len(record["changes"]), to=record.get("to"))


def answer_or_error(request: Dict[str, Any]) -> Dict[str, Any]:
    """The answer, or {"error": why there is none}."""
    try:
        return answer(request)
    except (HostError, OSError) as error:
        return _refusal(error)


def answers(request: Dict[str, Any], end: int) -> Iterator[Dict[str, Any]]:
    """The one answer to a request, or all that come until `end` can be read from."""
    if request["do"] != "observe":
        yield answer_or_error(request)
        return
    from . import observe

    try:
        yield from observe.observe(request, end)
    except (HostError, OSError) as error:
        yield _refusal(error)


def _refusal(error: Exception) -> Dict[str, Any]:
    return {"error": _in_words(error), **({"late": True} if isinstance(error, TooLate) else {})}


def _in_words(error: Exception) -> str:
    """For a caller from afar, and without root here."""
    if isinstance(error, PermissionError):
        error = NotRoot("{}: needs root".format(error.filename))
    how = " on the host (with --host: --sudo; with ansible: become)"
    return str(error) + (how if isinstance(error, NotRoot) else "")


def main(arguments: List[str]) -> int:
    if not arguments:
        json.dump(answer_or_error(json.load(sys.stdin)), sys.stdout)
        return 0
    try:
        _watch(*arguments)
    except (HostError, OSError) as error:
        print("hostguard: " + _in_words(error), file=sys.stderr)  # systemd starts it again
        return 1
    return 0


def _watch(what: str, generation: str = "") -> None:
    """What the units of a window and of a boot ask for."""
    from . import watcher  # as a program only: a question over ansible has no use for it

    if what in ("expire", "recover-until-done"):
        watcher.begun_again_if_ended()
    if what == "expire":
        watcher.expire(int(generation))
    elif what == "recover":
        watcher.after_boot()
    elif what == "recover-until-done":
        watcher.until_it_is_done()
    elif what == "recover-rules":
        watcher.rules_after_boot()
    else:
        raise HostError("the host program knows no {!r}".format(what))
