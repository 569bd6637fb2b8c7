"""Providers over TLS: NAME=ADDRESS each. One answers with the path that was asked, and writes it into /var/log/NAME."""

from __future__ import annotations

import http.server
import ssl
import sys
import threading
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/world")


def provider(name: str, address: str) -> http.server.ThreadingHTTPServer:
    log = Path("/var/log", name)
    log.touch()

    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with log.open("a") as file:
                file.write(f"{self.path}\n")
            self.send_response(200)
            self.send_header("content-length", str(len(self.path)))
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *_: object) -> None:
            """It has a log."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{name}.pem", CERTIFICATES / f"{name}.key")
    server = http.server.ThreadingHTTPServer((address, 443), Answers)
    # The handshake is the connection's own thread's: one that is refused must not hold up the others.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


for given in sys.argv[1:]:
    threading.Thread(target=provider(*given.split("=")).serve_forever).start()
