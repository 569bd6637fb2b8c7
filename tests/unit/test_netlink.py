"""Netlink's messages and attributes, as bytes."""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from hostguard.host import netlink
from hostguard.host.sock_diag import INODE_AT, UID_AT, sock_diag


def test_another_reader_finds_what_was_packed() -> None:
    body = struct.pack("=8BI", socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0)
    body += netlink.attribute(1, socket.inet_aton("192.0.2.1"))
    body += netlink.attribute(29, b"\x01\xbb")  # two bytes, and two of padding
    body += netlink.attribute(4, struct.pack("=I", 33))
    message = rtmsg(netlink.message(26, netlink.REQUEST, body))
    message.decode()
    assert (message["header"]["type"], message["header"]["flags"]) == (26, netlink.REQUEST)
    assert (message.get_attr("RTA_DST"), message.get_attr("RTA_OIF")) == ("192.0.2.1", 33)


def test_what_is_packed_is_read_again() -> None:
    attributes = [(1, b""), (2, b"a"), (3, b"abcd"), (0x3FFF, b"abcde")]
    packed = b"".join(netlink.attribute(*each) for each in attributes)
    assert list(netlink.attributes(packed)) == attributes
    flagged = struct.pack("=HH", 8, 0x8000 | 5) + b"abcd"
    assert list(netlink.attributes(flagged)) == [(5, b"abcd")]
    messages = [(kind, body + bytes(-len(body) % 4)) for kind, body in attributes]
    assert list(netlink.messages(b"".join(netlink.message(k, 0, b) for k, b in messages))) == messages


@pytest.mark.parametrize("data", [b"", b"\0" * 3, b"\0" * 64, b"\xff" * 64, struct.pack("=IHHII", 3, 1, 0, 0, 0)])
def test_bytes_that_are_no_netlink_end(data: bytes) -> None:
    assert len(list(netlink.messages(data))) <= 1
    assert len(list(netlink.attributes(data))) <= 1


def test_an_error_is_told_by_its_number() -> None:
    refused = struct.pack("=i", -errno.EPERM)
    assert netlink.error_in(refused) == errno.EPERM
    with pytest.raises(PermissionError, match="nfnetlink_log: Operation not permitted"):
        netlink.refuse(refused, "nfnetlink_log")
    netlink.refuse(struct.pack("=i", 0), "nfnetlink_log")


def test_the_kernel_tells_of_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = sock_diag(socket.AF_INET, socket.IPPROTO_TCP)
        port, inode = server.getsockname()[1], os.fstat(server.fileno()).st_ino
        ours = [body for body in found if struct.unpack_from(">H", body, 4)[0] == port]
    assert [struct.unpack_from("=I", body, at)[0] for body in ours for at in (INODE_AT, UID_AT)] == [
        inode,
        os.geteuid(),
    ]
