"""One connection to each place that a policy sanctions, by the account that may; and certificates in files.

Nothing is sent but a handshake. No key of a certificate leaves the host.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - who connects may be an account that can not read our Python
import errno
import socket
import ssl
import struct
import time
from typing import Any, Dict, List

from .. import x509
from ..children import Call, together
from ..plain_file import opened
from ..resource import why
from . import Request

SECONDS = 5.0
"""How long a connection, and then a handshake, may take."""
AFTER = 1.0
"""How long a provider that asked for a certificate may take to refuse it: in TLS 1.3 it does after the handshake."""
DEADLINE = 20.0
MOST_CERTIFICATES = 10
"""So many of a chain, or of a file, are told of."""
LARGEST = 4 << 20
DAY = 86400
HANDSHAKE, ALERT = 22, 21
CERTIFICATE, CERTIFICATE_REQUEST = 11, 13
RESOLVE, CONNECT, FILES, TLS, WELL = "resolve", "connect", "files", "tls", ""
TCP_INFO, RTT_AT, RETRANSMITTED_AT = 11, 68, 100
"""In linux/tcp.h; tcpi_rtt and tcpi_total_retrans within struct tcp_info."""


def handshakes(request: Request) -> Any:
    """What became of a connection to each of `to`, in their order, and the host's clock (`at`).

    Of `to` each has `host` (a name, or an address), `port`, `account` (None: ours) and `tls`: whether a handshake is
    made; then maybe `ca` (a file; None: the system's), `certificate` and `key` (files).
    """
    answers = together([Call(to["account"], shake, to) for to in request["to"]], DEADLINE)
    return {"at": int(time.time()), "found": answers}


def shake(to: Dict[str, Any]) -> Dict[str, Any]:
    """`stage` is what failed ("": nothing did), `error` how; times in seconds."""
    found: Dict[str, Any] = {
        "stage": RESOLVE, "error": "", "address": "", "connect": 0.0, "round_trip": 0.0, "sent_again": 0,
        "handshake": 0.0, "version": "", "alert": 0, "verify": 0, "asked": False, "chain": [],
    }  # fmt: skip
    try:
        places = socket.getaddrinfo(to["host"], to["port"], type=socket.SOCK_STREAM)
    except OSError as error:
        return dict(found, error=_word(error))
    found["stage"] = CONNECT
    family, _, _, _, place = places[0]
    found["address"] = place[0]
    with socket.socket(family, socket.SOCK_STREAM) as caller:
        caller.settimeout(SECONDS)
        began = time.monotonic()
        try:
            caller.connect(place)
        except OSError as error:
            return dict(found, error=_word(error), connect=time.monotonic() - began)
        found["connect"] = time.monotonic() - began
        info = caller.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 104)
        found["round_trip"] = struct.unpack_from("=I", info, RTT_AT)[0] / 1e6
        found["sent_again"] = struct.unpack_from("=I", info, RETRANSMITTED_AT)[0]
        found["stage"] = TLS if to["tls"] else WELL
        return _handshake(caller, to, found) if to["tls"] else found


def _handshake(caller: socket.socket, to: Dict[str, Any], found: Dict[str, Any]) -> Dict[str, Any]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    heard = _Heard()
    # The one way in Python 3.8 to the whole chain, and to a provider that wants a certificate; ssl.py has it for tests.
    context._msg_callback = heard  # type: ignore[attr-defined]
    found["stage"] = FILES
    try:
        if to.get("ca"):
            context.load_verify_locations(to["ca"])
        else:
            context.load_default_certs()
        if to.get("certificate"):
            context.load_cert_chain(to["certificate"], to["key"])
        found["stage"] = TLS
        began = time.monotonic()
        with context.wrap_socket(caller, server_hostname=to["host"], do_handshake_on_connect=False) as secure:
            secure.do_handshake()
            found.update(version=secure.version() or "", handshake=time.monotonic() - began)
            if heard.asked:
                _wait(secure)
        found["stage"] = WELL
    except ssl.SSLCertVerificationError as error:
        found.update(error=error.verify_message, verify=error.verify_code)
    except OSError as error:
        found.update(error=_word(error))
    found.update(alert=heard.alert, asked=heard.asked, chain=heard.chain())
    return found


def _wait(secure: ssl.SSLSocket) -> None:
    """For a word against our certificate, or against its lack. Raises ssl.SSLError where it comes."""
    secure.settimeout(AFTER)
    with contextlib.suppress(socket.timeout):
        secure.recv(1)


class _Heard:
    """What the other end says in a handshake."""

    def __init__(self) -> None:
        self.alert, self.asked, self.certificates = 0, False, b""

    def __call__(self, _of: Any, direction: str, _version: Any, content: Any, kind: Any, data: bytes) -> None:
        if direction != "read":
            return
        if int(content) == ALERT and len(data) > 1:
            self.alert = data[1]
        elif int(content) == HANDSHAKE and int(kind) == CERTIFICATE_REQUEST:
            self.asked = True
        elif int(content) == HANDSHAKE and int(kind) == CERTIFICATE:
            self.certificates = data[4:]

    def chain(self) -> List[Dict[str, Any]]:
        found = []
        for der in _listed(self.certificates)[:MOST_CERTIFICATES]:
            try:
                found.append(x509.described(der))
            except x509.NoCertificate:
                continue
        return found


def _listed(data: bytes) -> List[bytes]:
    """The certificates of a handshake's message: TLS 1.3 (RFC 8446, 4.4.2) has a context first, which is empty, and
    extensions behind each; TLS 1.2 (RFC 5246, 7.4.2) begins with three bytes of length."""
    newer = len(data) > 4 and data[0] == 0 and int.from_bytes(data[1:4], "big") == len(data) - 4
    at, found = (4 if newer else 3), []
    while at + 3 <= len(data):
        length = int.from_bytes(data[at : at + 3], "big")
        found.append(data[at + 3 : at + 3 + length])
        at += 3 + length
        at += 2 + int.from_bytes(data[at : at + 2], "big") if newer else 0
    return found


def _word(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error)
    if isinstance(error, socket.timeout):
        return "timeout"
    if isinstance(error, socket.gaierror):
        names = {getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")}
        return names.get(error.errno or 0, str(error))
    return errno.errorcode.get(error.errno or 0, str(error))


def certificates(request: Request) -> Any:
    """Of the files `paths`: how many certificates each has (`all`), and those that end first, with the days until then;
    None for no file."""
    return {path: _of_file(path) for path in request["paths"]}


def _of_file(path: str) -> Any:
    try:
        with opened(path, links=True) as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            return {"error": "more than {} bytes".format(LARGEST), "all": 0, "first": []}
        found = sorted((x509.described(der) for der in x509.of_pem(text)), key=lambda each: each["ends"])
        for each in found:
            each["days"] = int((each["ends"] - time.time()) // DAY)
    except FileNotFoundError:
        return None
    except (OSError, x509.NoCertificate) as error:
        return {"error": why(error, path), "all": 0, "first": []}
    return {"error": "", "all": len(found), "first": found[:MOST_CERTIFICATES]}
