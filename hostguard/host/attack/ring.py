"""The kernel's own rings: io_uring, which sends without a call that sends, and AF_XDP, which sends past all hooks."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
from typing import Any, Dict

from . import wire
from .shot import Shot, preparing
from .sockets import opened, to

IO_URING_SETUP, IO_URING_ENTER = 425, 426  # the same on every architecture
ENTRIES_AT, SUBMISSIONS, COMPLETIONS = 0x10000000, 0, 0x8000000
GET_EVENTS, OP_SEND = 1, 26
AF_XDP, SOL_XDP = 44, 283
XDP_MMAP_OFFSETS, XDP_TX_RING, XDP_UMEM_REG, XDP_FILL, XDP_COMPLETION = 1, 3, 4, 5, 6
XDP_COPY, TX_PAGES, CHUNK = 2, 0x80000000, 4096

_libc = ctypes.CDLL(None, use_errno=True)


def _called(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _number(memory: mmap.mmap, at: int, value: int) -> None:
    struct.pack_into("=I", memory, at, value)


def io_uring(shot: Shot) -> Dict[str, Any]:
    """One UDP packet, sent by the kernel for us."""
    parameters = ctypes.create_string_buffer(120)
    with preparing():
        ring = _called(_libc.syscall(IO_URING_SETUP, 1, parameters))
    try:
        # struct io_uring_params: where the parts of the two rings are
        tail, array = struct.unpack_from("=4xI16xI", parameters, 40)
        replies = struct.unpack_from("=20xI", parameters, 80)[0]
        shared, entry = mmap.PROT_READ | mmap.PROT_WRITE, 64
        submissions = mmap.mmap(ring, mmap.PAGESIZE, mmap.MAP_SHARED, shared, offset=SUBMISSIONS)
        entries = mmap.mmap(ring, mmap.PAGESIZE, mmap.MAP_SHARED, shared, offset=ENTRIES_AT)
        completions = mmap.mmap(ring, mmap.PAGESIZE, mmap.MAP_SHARED, shared, offset=COMPLETIONS)
        body = ctypes.create_string_buffer(shot.token, len(shot.token))
        with opened(shot, socket.SOCK_DGRAM) as caller:
            caller.connect(to(shot))
            what = struct.pack("=BBHiQQII", OP_SEND, 0, 0, caller.fileno(), 0, ctypes.addressof(body), len(body), 0)
            entries[:entry] = what.ljust(entry, b"\0")
            _number(submissions, array, 0)
            _number(submissions, tail, 1)
            _called(_libc.syscall(IO_URING_ENTER, ring, 1, 1, GET_EVENTS, None, 0))
            sent = struct.unpack_from("=8xi", completions, replies)[0]
        if sent < 0:
            raise OSError(-sent, os.strerror(-sent))
        return {}
    finally:
        os.close(ring)


def xdp(shot: Shot) -> Dict[str, Any]:
    """One frame, handed to the driver: no rule, no queueing discipline and no hook of netfilter's sees it."""
    with socket.socket(AF_XDP, socket.SOCK_RAW, 0) as out:
        frames = mmap.mmap(-1, 2 * CHUNK)
        memory = ctypes.addressof(ctypes.c_char.from_buffer(frames))
        out.setsockopt(SOL_XDP, XDP_UMEM_REG, struct.pack("=QQIIII", memory, 2 * CHUNK, CHUNK, 0, 0, 0))
        for ring in (XDP_FILL, XDP_COMPLETION, XDP_TX_RING):
            out.setsockopt(SOL_XDP, ring, struct.pack("=I", 2))
        producer, _, first = struct.unpack_from("=QQQ", out.getsockopt(SOL_XDP, XDP_MMAP_OFFSETS, 128), 32)
        shared = mmap.PROT_READ | mmap.PROT_WRITE
        queue = mmap.mmap(out.fileno(), mmap.PAGESIZE, mmap.MAP_SHARED, shared, offset=TX_PAGES)
        where = struct.pack("=HHIII", AF_XDP, XDP_COPY, socket.if_nametoindex(shot.interface), 0, 0)
        _called(_libc.bind(out.fileno(), where, len(where)))
        whole = wire.frames(shot)[0]
        frames[: len(whole)] = whole
        struct.pack_into("=QII", queue, first, 0, len(whole), 0)
        _number(queue, producer, 1)
        _called(_libc.sendto(out.fileno(), None, 0, socket.MSG_DONTWAIT, None, 0))
    return {}
