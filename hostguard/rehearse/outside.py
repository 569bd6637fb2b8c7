"""A process in another network namespace, and the line to it: one JSON line a question, one an answer."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from hostguard.rehearse import links
from hostguard.rehearse.namespaces import CLONE_NEWNET, die_with_parent, unshare


class Outside:
    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _serve(theirs, serve)
        theirs.close()
        self._line = ours.makefile("rw", encoding="utf-8")
        self.hear()  # it has its namespace

    def hear(self) -> Any:
        answer = json.loads(self._line.readline() or '{"error": "its process ended"}')
        if isinstance(answer, dict) and "error" in answer:
            raise OSError(f"in a namespace beside the host: {answer['error']}")
        return answer

    def ask(self, **question: Any) -> Any:
        print(json.dumps(question), file=self._line, flush=True)
        return self.hear()


def _serve(line: socket.socket, serve: Callable[[socket.socket], None]) -> NoReturn:
    die_with_parent()
    unshare(CLONE_NEWNET)
    links.up("lo")
    tell(line, True)
    try:
        serve(line)
    except Exception as error:
        with contextlib.suppress(OSError):  # nobody listens any more
            tell(line, {"error": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)


def questions(line: socket.socket) -> Iterator[dict[str, Any]]:
    """What is asked, until the line ends."""
    for text in line.makefile("r", encoding="utf-8"):
        yield json.loads(text)


def tell(line: socket.socket, answer: Any) -> None:
    line.sendall(json.dumps(answer).encode() + b"\n")
