"""The ways to another host, a scheme of a URI each: what runs a shell command there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult

# BatchMode: several hosts can't ask one terminal for a password or whether a key is known.
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20")
SHELL = ("sh", "-c")
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|[0-9a-f:.]*:[0-9a-f:.]*(%[A-Za-z0-9.-]+)?", re.ASCII)

Way = tuple[str, ...]
"""A program and its first arguments; the last one is a command for a shell of that host."""


@dataclass(frozen=True)
class Scheme:
    """`form` is what a URI of it looks like. `way` takes its parts (no path, query, fragment or password is among them)
    and returns the host's name and the way to it; None where they name no host."""

    form: str
    way: Callable[[SplitResult], tuple[str, Way] | None]


def _ssh(parts: SplitResult) -> tuple[str, Way] | None:
    host, user = parts.hostname or "", parts.username
    if not HOST.fullmatch(host) or not (user is None or WORD.fullmatch(user)):
        return None
    port = () if parts.port is None else ("-p", str(parts.port))
    return host, (*SSH, *port, *(() if user is None else ("-l", user)), "--", host)


def _container(program: str) -> Scheme:
    def way(parts: SplitResult) -> tuple[str, Way] | None:
        name = parts.netloc  # names of containers know upper from lower case, which `hostname` does not keep
        return (name, (program, "exec", "--interactive", name, *SHELL)) if WORD.fullmatch(name) else None

    return Scheme(f"{program}://NAME", way)


SCHEMES: dict[str, Scheme] = {
    "ssh": Scheme("ssh://[USER@]HOST[:PORT]", _ssh),
    "podman": _container("podman"),
    "docker": _container("docker"),
}
FORMS = " or ".join(", ".join(scheme.form for scheme in SCHEMES.values()).rsplit(", ", 1))
"""All of them, for people."""
