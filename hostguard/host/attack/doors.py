"""The gateway's doors, tried from this host itself: ports and sockets, what is asked there, and its place."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from typing import Any, Dict, Iterator, Tuple

from .. import proc_net
from .shot import Shot, label

SECONDS = 5.0
"""For an answer of this host itself."""
QUIET = 0.3
"""Seconds without a word after which nothing more is waited for: an answer that closes nothing may be followed."""
LONGEST_ANSWER = 1 << 20

Answer = Dict[str, Any]


def local(shot: Shot) -> Answer:
    """A connection to this host itself, and not a byte over it."""
    with connected(shot):
        return {"works": True}


def unix(shot: Shot) -> Answer:
    """The same, of the socket whose path is the address."""
    with connected(shot):
        return {"works": True}


def bind(shot: Shot) -> Answer:
    """Take a port, and give it back before anybody could be answered. Of a socket: a path beside it, since whoever may
    make that may rename it over the socket."""
    if not shot.address.startswith("/"):
        with socket.socket() as taken:
            # Connections that the gateway has closed hold its port for a minute, but for who asks so.
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((shot.address, shot.port))
            return {"works": True}
    path = "{}/.{}".format(os.path.dirname(shot.address), shot.mark)
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(path)
        os.unlink(path)
        return {"works": True}


def admin(shot: Shot) -> Answer:
    """Any TCP port of the gateway's account that is none of its doors: Envoy's admin on one would let in
    everybody."""
    doors = shot.options["doors"]
    found = list(_listening(pwd.getpwnam(shot.options["of"]).pw_uid))
    for address, port in (each for each in found if list(each) not in doors):
        with contextlib.suppress(OSError), socket.create_connection((address, port), SECONDS):
            return {"works": True, "where": "{} port {}".format(address, port)}
    return {"works": False, "runs": not doors or any(list(each) in doors for each in found)}


def _listening(uid: int) -> Iterator[Tuple[str, int]]:
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where somebody listens, as the table has it
    for name in ("tcp", "tcp6"):
        try:
            with open("/proc/net/" + name, encoding="ascii", newline="\n") as file:
                rows = list(proc_net.rows(file.read()))
        except FileNotFoundError:
            continue  # a kernel without IPv6
        for row in rows:
            if row.state == proc_net.LISTEN and row.uid == uid:
                address = proc_net.decode(row.address)[1]
                yield anywhere.get(address, address), row.port


def http(shot: Shot) -> Answer:
    """Ask, byte by byte as it is written. `status` is that of the first answer, 0 where none came; `own` says that the
    gateway itself gave it."""
    with connected(shot) as caller:
        with contextlib.suppress(OSError):  # its answer may come before it has read all
            caller.sendall(text(shot))
        said = _answer(caller)
    status = said[9:12]
    head = said.partition(b"\r\n\r\n")[0].lower()
    return {
        "works": said.endswith(ANSWERED),
        "status": int(status) if said.startswith(b"HTTP/1.") and status.isdigit() else 0,
        "own": b"\r\nx-hostguard-reason: " in head,
    }


ANSWERED = b"hostguard's own provider"
"""What a provider of the rehearsal answers with."""


def text(shot: Shot) -> bytes:
    """What is asked, with the shot's own label in its place."""
    return bytes(shot.options["text"].replace(shot.options["mark"], label(shot.mark)), "latin-1")


def _answer(caller: socket.socket) -> bytes:
    """All that comes until the other side says that it closes, or is quiet."""
    said = b""
    while len(said) < LONGEST_ANSWER:
        head, end, body = said.partition(b"\r\n\r\n")
        fields = head.lower().split(b"\r\n")
        if end and b"connection: close" in fields:
            length = next((each[16:] for each in fields if each.startswith(b"content-length: ")), b"")
            if length.isdigit() and len(body) >= int(length):
                break
        caller.settimeout(QUIET if end else SECONDS)
        try:
            part = caller.recv(65536)
        except OSError:
            break
        if not part:
            break
        said += part
    return said


def connected(shot: Shot) -> socket.socket:
    path, mapped = shot.address.startswith("/"), shot.options.get("mapped")
    caller = socket.socket(socket.AF_UNIX if path else socket.AF_INET6 if mapped else socket.AF_INET)
    caller.settimeout(shot.options.get("within", SECONDS))
    try:
        to = shot.address if path else ("::ffff:" + shot.address if mapped else shot.address, shot.port)
        caller.connect(to)
    except OSError:
        caller.close()
        raise
    return caller
