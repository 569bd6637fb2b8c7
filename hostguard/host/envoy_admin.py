"""What a running Envoy says of itself, by the admin that it serves on a Unix socket.

It is asked by whoever may change the host, and is one of the programs that third parties talk to: an answer has an end
in time and in size, comes from the account that it must come from, and is nothing until it was read as JSON.
"""

from __future__ import annotations

import io
import json
import re
import socket
import struct
import time
from typing import Any, Dict, Optional

from .resource import HostError

SECONDS = 10.0
MOST = 64 * 1024**2
"""Bytes of an answer: a dump has some 20 KiB for each provider."""
DUMP = "/config_dump?name_regex=%5B%5E%3A%5D%2A"
"""What a gateway of ours tells of itself: all whose name has no colon, so no secret. Envoy takes no private key for one
where its certificate is in the same file, and tells it."""
CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


def ask(admin: str, target: str, account: Optional[int] = None, seconds: float = SECONDS) -> Optional[str]:
    """The body of GET `target`; None where nobody listens at `admin`.

    Raises HostError where it is not `account` that answers, and for an answer that is none, late, too long, or no 200.
    """
    end = time.monotonic() + seconds
    request = "GET {} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".format(target).encode("ascii")
    said = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            try:
                connection.connect(admin)
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            peer = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
            if account is not None and peer[1] != account:
                raise HostError("{} is served by the account {}, not {}".format(admin, peer[1], account))
            connection.sendall(request)
            while True:
                connection.settimeout(max(end - time.monotonic(), 0.001))
                part = connection.recv(1 << 16)
                if not part:
                    break
                said += part
                if len(said) > MOST:
                    raise HostError("{} says more than {} MiB to GET {}".format(admin, MOST >> 20, target))
    except socket.timeout:
        raise HostError("{} did not answer GET {} within {:.0f} s".format(admin, target, seconds)) from None
    except OSError as error:
        raise HostError("{}: {}".format(admin, error.strerror or error)) from None
    import http.client  # here: a third of what every other call of the host program would import

    try:
        answer = http.client.HTTPResponse(_Heard(bytes(said)))  # type: ignore[arg-type]  # a socket, as far as it is used
        answer.begin()
        body = answer.read().decode("utf-8", "backslashreplace")
    except (http.client.HTTPException, ValueError) as error:
        raise HostError("{}: what it says to GET {} is no HTTP ({!r})".format(admin, target, error)) from None
    if answer.status != http.client.OK:
        kind = Refused if answer.status == http.client.FORBIDDEN else HostError
        raise kind("{}: GET {} is answered with {}: {}".format(admin, target, answer.status, body.strip()[:200]))
    return body


class Refused(HostError):
    """What was asked for is not to be told."""


class _Heard:
    """As much of a socket as `http.client` asks of one."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._said)


def ask_json(admin: str, target: str, account: Optional[int] = None) -> Optional[Dict[str, Any]]:
    """The same of what is an object in JSON."""
    body = ask(admin, target, account)
    if body is None:
        return None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HostError("{}: what it says to GET {} is no object in JSON".format(admin, target))
    return found


COUNTED = re.compile(r"([a-z_.]+): (?:(\d{1,19})|\"([^\"\n]*)\")")


def stats(admin: str, pattern: str, account: Optional[int] = None) -> Optional[Dict[str, str]]:
    """Counters, gauges and texts with names that match a regular expression of RE2's."""
    body = ask(admin, "/stats?filter=" + pattern, account)
    if body is None:
        return None
    found = (COUNTED.fullmatch(line) for line in body.splitlines())
    return {each[1]: each[2] or each[3] or "" for each in found if each}
