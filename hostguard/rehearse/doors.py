"""The gateway's doors on the stage: each attempt at them, first where nothing guards and then at the gateway itself.

Before, somebody else stands in its place and lets everybody in, and requests go to the provider directly: what is not
seen to come through there proves nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hostguard.attack.aim import NAMED, Attempt
from hostguard.host.attack.doors import text
from hostguard.host.attack.shot import Shot, label
from hostguard.rehearse.outside import Outside
from hostguard.rehearse.provider import LENIENT, next_request, strays

Answer = dict[str, Any]
FIRST_FREE = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
ADMIN_PORT = 9901
"""Where the article has it."""
SECONDS = 5.0


class Doors:
    def __init__(self, world: Outside, accounts: Mapping[str, int], all_accounts: bool, why_not: str) -> None:
        self.world, self.accounts, self.all_accounts, self.why_not = world, accounts, all_accounts, why_not

    def attempt(self, attempt: Attempt, shot: Shot, fire: Callable[[Shot], Answer], when: str) -> Answer:
        """{"left": whether somebody came in, or what came out, "works": it was answered}."""
        way = shot.way
        if self.why_not and way != "local":  # the rules of a port need no gateway behind it
            return {"not tried": self.why_not}
        if way == "http":
            return self._asked(attempt, shot, fire if when == "after" else directly)
        if when == "before" or self.why_not:
            with self._nobody_guards(shot):
                answer = fire(shot)
        else:
            answer = fire(shot)
        return {**answer, "left": int(answer["works"])}

    def _asked(self, attempt: Attempt, shot: Shot, fire: Callable[[Shot], Answer]) -> Answer:
        own, target = shot.options["own"], f"/{label(shot.mark)}"
        self.world.ask(do="reached")
        answer = fire(shot)
        calls = self.world.ask(do="reached")
        if not attempt.sanctioned:
            return {**answer, "left": len(strays(calls, own, target))}
        asked = [next_request(each["raw"].encode("latin-1"), LENIENT) for each in calls]
        arrived = [each[0].target for each in asked if each] == [target]
        return {**answer, "left": 0, "works": answer["works"] and arrived and not strays(calls, own, "")}

    @contextlib.contextmanager
    def _nobody_guards(self, shot: Shot) -> Iterator[None]:
        path = Path(shot.address) if shot.address.startswith("/") else None
        with contextlib.ExitStack() as stack:
            if path is not None and shot.way != "admin":
                path.parent.mkdir(parents=True)
                path.parent.chmod(0o777)
                stack.callback(_removed, path.parent)
            if shot.way == "bind":
                first = FIRST_FREE.read_text(encoding="ascii")
                FIRST_FREE.write_text("0", encoding="ascii")
                stack.callback(FIRST_FREE.write_text, first, encoding="ascii")
            elif shot.way == "admin":
                stack.enter_context(self._listening(("127.0.0.1", ADMIN_PORT), self.accounts[shot.options["of"]]))
            elif path is not None:
                stack.enter_context(self._listening(str(path), 0))
            else:
                stack.enter_context(self._listening((shot.address, shot.port), 0))
            yield

    @contextlib.contextmanager
    def _listening(self, at: Any, uid: int) -> Iterator[None]:
        family = socket.AF_UNIX if isinstance(at, str) else socket.AF_INET
        os.seteuid(uid)  # a socket is who made it's
        try:
            listener = socket.socket(family)
        finally:
            os.seteuid(0)
        with listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(at)
            if isinstance(at, str):
                Path(at).chmod(0o777)
            listener.listen()
            yield


def _removed(folder: Path) -> None:
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()
    with contextlib.suppress(OSError):  # others are in it
        folder.parent.rmdir()


def directly(shot: Shot) -> Answer:
    """What is asked, of the provider itself."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((NAMED, shot.options["port"]), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=shot.options["own"]) as wire,
    ):
        wire.sendall(text(shot))
        return {"works": b"404" in wire.recv(65536)}
