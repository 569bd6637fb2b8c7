"""A question to each name server and time server that a policy sanctions, by the account that may."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from typing import Any, Dict, List, Tuple

from ..children import Call, together
from ..resource import HostError
from . import Request

SECONDS = 2.0
DEADLINE = 15.0
CODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
SILENT = "silent"
KINDS = {"A": 1, "AAAA": 28, "NS": 2}
CUT_SHORT = 0x0200
FAMILIES = {1: socket.AF_INET, 28: socket.AF_INET6}
NTP_EPOCH = 2208988800
"""Seconds from 1900 to 1970."""

Question = Tuple[str, str, str]
"""A server, a name, and what of it."""


def answers(request: Request) -> Any:
    """{server: {name: {"code", "addresses", "ttl"}}} of `servers` and `names`, asked as `account` (None: as ours).

    `code` is DNS's own word, or `silent`, or the name of an errno. `ttl` is the shortest, 0 where there is no address.
    With no name the root's own servers are asked for: any word is an answer.
    """
    names = request["names"]
    kinds = ("A", "AAAA") if names else ("NS",)
    asked = [(server, name, kind) for server in request["servers"] for name in (names or ["."]) for kind in kinds]
    said = together([Call(request["account"], ask, asked)], DEADLINE)[0]
    if "said" not in said:
        raise HostError(said["unreadable"])
    found: Dict[str, Dict[str, Any]] = {server: {} for server in request["servers"]}
    for (server, name, _), (code, addresses, ttl) in zip(asked, said["said"]):
        before = found[server].get(name, {"code": code, "addresses": [], "ttl": 0})
        ttls = [each for each in (before["ttl"], ttl) if each]
        found[server][name] = {
            # A server that fails one of two questions fails.
            "code": code if before["code"] == CODES[0] else before["code"],
            "addresses": before["addresses"] + addresses,
            "ttl": min(ttls) if ttls else 0,
        }
    return found


def ask(questions: List[Question]) -> List[Tuple[str, List[str], int]]:
    """(code, addresses, TTL) of each, all asked at once, and those that are not heard once more."""
    found: Dict[int, Tuple[str, List[str], int]] = {}
    begin = int.from_bytes(os.urandom(2), "big")
    for _ in range(2):
        open_ = {at: question for at, question in enumerate(questions) if at not in found}
        found.update(_round(open_, begin))
    return [found.get(at, (SILENT, [], 0)) for at in range(len(questions))]


def _round(questions: Dict[int, Question], begin: int) -> Dict[int, Tuple[str, List[str], int]]:
    found: Dict[int, Tuple[str, List[str], int]] = {}
    waiting: Dict[socket.socket, Tuple[int, Question]] = {}
    for at, (server, name, kind) in questions.items():
        caller = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            caller.connect((server, 53))
            caller.send(query((begin + at) & 0xFFFF, name, kind))
            waiting[caller] = at, (server, name, kind)
        except OSError as error:
            caller.close()
            found[at] = errno.errorcode.get(error.errno or 0, "EIO"), [], 0
    end = time.monotonic() + SECONDS / 2
    while waiting:
        ready, _, _ = select.select(list(waiting), [], [], max(0.0, end - time.monotonic()))
        if not ready:
            break
        for caller in ready:
            at, question = waiting[caller]
            try:
                data = caller.recv(65535)
            except OSError as error:
                found[at] = errno.errorcode.get(error.errno or 0, "EIO"), [], 0
            else:
                if data[:2] != struct.pack("!H", (begin + at) & 0xFFFF):
                    continue
                found[at] = _longer(question) if _is_cut(data) else read(data)
            del waiting[caller]
            caller.close()
    for caller in waiting:
        caller.close()
    return found


def _is_cut(data: bytes) -> bool:
    return len(data) >= 4 and bool(struct.unpack_from("!H", data, 2)[0] & CUT_SHORT)


def _longer(question: Question) -> Tuple[str, List[str], int]:
    """The same by TCP, for an answer that UDP does not hold."""
    server, name, kind = question
    asked = query(1, name, kind)
    try:
        with socket.create_connection((server, 53), SECONDS) as caller, caller.makefile("rb") as heard:
            caller.sendall(struct.pack("!H", len(asked)) + asked)
            (length,) = struct.unpack("!H", heard.read(2))
            return read(heard.read(length))
    except socket.timeout:
        return SILENT, [], 0
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "EIO"), [], 0
    except struct.error:
        return SILENT, [], 0


def query(number: int, name: str, kind: str) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode("ascii") for part in name.rstrip(".").split(".") if part)
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", KINDS[kind], 1)


def read(data: bytes) -> Tuple[str, List[str], int]:
    """(code, addresses, TTL) of an answer; FORMERR for one that makes no sense."""
    try:
        _, flags, asked, answered, _, _ = struct.unpack_from("!6H", data)
        code = CODES[flags & 0xF] if flags & 0xF < len(CODES) else "code {}".format(flags & 0xF)
        at = 12
        for _ in range(asked):
            at = _past_name(data, at) + 4
        addresses, ttls = [], []
        for _ in range(answered):
            at = _past_name(data, at)
            kind, _, ttl, length = struct.unpack_from("!HHIH", data, at)
            at += 10
            if kind in FAMILIES:
                addresses.append(socket.inet_ntop(FAMILIES[kind], data[at : at + length]))
            ttls.append(ttl)
            at += length
    except (struct.error, IndexError, ValueError, OSError):
        return CODES[1], [], 0
    return code, addresses, min(ttls) if addresses else 0


def _past_name(data: bytes, at: int) -> int:
    while data[at]:
        if data[at] & 0xC0:
            return at + 2
        at += 1 + data[at]
    return at + 1


def time_offsets(request: Request) -> Any:
    """{server: {"offset", "error"}} of the NTP `servers`: by how many seconds each is ahead of this host's clock."""
    said = together([Call(None, _offset, server) for server in request["servers"]], DEADLINE)
    blank = {"offset": 0.0, "error": ""}
    return {
        server: dict(blank, **(one["said"] if "said" in one else {"error": one["unreadable"]}))
        for server, one in zip(request["servers"], said)
    }


def _offset(server: str) -> Dict[str, Any]:
    """By RFC 4330: the middle of both ways."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as caller:
        caller.settimeout(SECONDS)
        error = SILENT
        for _ in range(2):
            try:
                caller.connect((server, 123))
                mark, began = os.urandom(8), time.time()
                caller.send(b"\x23" + bytes(39) + mark)
                data = caller.recv(512)
            except socket.timeout:
                continue
            except OSError as failed:
                return {"error": errno.errorcode.get(failed.errno or 0, "EIO")}
            ended = time.time()
            if len(data) < 48 or data[0] & 7 != 4 or data[24:32] != mark:
                error = "it says nothing that makes sense"
            elif not 1 <= data[1] <= 15 or data[0] >> 6 == 3:
                error = "it says that it has no time itself"
            else:
                received, sent = (_unix(data[at : at + 8]) for at in (32, 40))
                return {"offset": ((received - began) + (sent - ended)) / 2}
        return {"error": error}


def _unix(stamp: bytes) -> float:
    seconds, fraction = map(int, struct.unpack("!2I", stamp))
    # In 2036 the seconds begin anew (RFC 4330, 3).
    return seconds + (0 if seconds & 0x80000000 else 1 << 32) - NTP_EPOCH + fraction / (1 << 32)
