"""What the host says, as it says it, for the controls that judge and have no fix.

The controller reads it. Values that may be secrets (environments, files of credentials) never leave the host: of
those only names, modes and owners do.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Callable, Dict

from ..resource import why

Request = Dict[str, Any]
"""`collect` names a collector of COLLECTORS; the other keys are its arguments."""

COLLECTORS = {
    "text": "files",
    "texts": "files",
    "notes": "files",
    "tree": "files",
    "places": "files",
    "secret-files": "secrets",
    "processes": "processes",
    "open-files": "processes",
    "uname": "machine",
    "cpus": "machine",
    "openssl": "machine",
    "stale-libraries": "machine",
    "adjtimex": "machine",
    "swap": "machine",
    "other-backend": "firewall",
    "chains": "firewall",
    "rules": "firewall",
    "denied": "firewall",
    "firewalld": "firewall",
    "denials": "firewall",
    "set-members": "firewall",
    "units": "services",
    "tasks": "services",
    "log-counts": "journal",
    "unit-environment": "services",
    "routes": "routes",
    "way-out": "way_out",
    "listeners": "sockets",
    "sockets": "sockets",
    "packet-sockets": "sockets",
    "connections": "sockets",
    "queues": "sockets",
    "unix-listeners": "sockets",
    "envoy": "gateway",
    "envoy-program": "gateway",
    "envoy-processes": "gateway",
    "envoy-injections": "gateway",
    "accounts": "gateway",
    "certificate-ends": "gateway",
    "unit-words": "journal",
    "gateway-log": "gateway_log",
    "gateway-state": "gateway_state",
    "authorities": "gateway",
    "lookups": "gateway",
    "kernel-log": "machine",
    "answers": "questions",
    "time-offsets": "questions",
    "handshakes": "handshakes",
    "certificates": "handshakes",
}
"""The module of each: a host compiles what is imported, at every call. Its function has the name, with `_` for `-`."""


def collect(requests: Dict[str, Request]) -> Dict[str, Dict[str, Any]]:
    """{name: {"said": …}} or {name: {"unreadable": why}}, for each request."""
    answers = {}
    for name, request in requests.items():
        try:
            answers[name] = {"said": collector(request["collect"])(request)}
        except Exception as error:  # odd text is no reason to hear nothing of the rest
            answers[name] = {"unreadable": why(error, name)}
    return answers


def collector(name: str) -> Callable[[Request], Any]:
    module = import_module("{}.{}".format(__name__, COLLECTORS[name]))
    found: Callable[[Request], Any] = getattr(module, name.replace("-", "_"))
    return found
