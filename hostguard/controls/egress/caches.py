"""What keeps a name's address for longer than whoever said it allows: then a provider moves, and the host does not.

Only what is known to do so, by the words of its own configuration. What a program keeps to itself nobody sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from hostguard.control import Context, Verdict


@dataclass(frozen=True)
class Cache:
    """A program by the name of its process, where it reads what to do, and the lines that make it keep too long."""

    program: str
    files: tuple[str, ...]
    lines: str


CACHES = (
    Cache("nscd", ("/etc/nscd.conf",), r"enable-cache\s+hosts\s+yes"),
    Cache(
        "unbound",
        ("/etc/unbound/unbound.conf", "/etc/unbound/unbound.conf.d/*.conf"),
        r"serve-expired:\s*yes|cache-min-ttl:\s*[1-9][0-9]*",
    ),
    Cache(
        "dnsmasq",
        ("/etc/dnsmasq.conf", "/etc/dnsmasq.d/*"),
        r"(?:--)?(?:min-cache-ttl\s*=\s*[1-9][0-9]*|use-stale-cache(?:\s*=\s*[0-9]+)?)",
    ),
    Cache(
        "named",
        ("/etc/bind/named.conf*", "/etc/named.conf", "/etc/named/*.conf"),
        r"(?:.*[{;\s])?(?:stale-answer-enable\s+(?:yes|true|1)|min-cache-ttl\s+[1-9][0-9]*)\s*;.*",
    ),
    Cache(
        "pdns_recursor",
        ("/etc/powerdns/recursor.conf", "/etc/powerdns/recursor.d/*", "/etc/pdns-recursor/recursor.conf"),
        r"(?:minimum[-_]ttl[-_]override\s*[:=]\s*(?:[2-9]|[1-9][0-9]+)|serve[-_]stale[-_]extensions\s*[:=]\s*[1-9][0-9]*)",
    ),
    Cache(
        "systemd-resolve",
        ("/etc/systemd/resolved.conf", "/etc/systemd/resolved.conf.d/*.conf"),
        r"StaleRetentionSec\s*=\s*[1-9]\S*",
    ),
    Cache(  # it keeps them for 30 s by itself; what is said here is for ever, or for more than 299 s
        "java",
        ("/usr/lib/jvm/*/conf/security/java.security", "/usr/lib/jvm/*/lib/security/java.security"),
        r"(?:-Dsun\.net\.inetaddr\.ttl|networkaddress\.cache\.ttl)\s*=\s*(?:-1|[3-9][0-9]{2}|[1-9][0-9]{3,})",
    ),
)
RESOLVED = "systemd-resolve"  # as much of its name as the kernel keeps
SWITCH = "/etc/nsswitch.conf"
EXPECTED = "nothing that keeps an address beyond its TTL"


def asks(_context: Context) -> Mapping[str, Any]:
    patterns = [SWITCH, *(pattern for cache in CACHES for pattern in cache.files)]
    return {
        "processes": {
            "collect": "processes",
            "names": [cache.program for cache in CACHES],
            "arguments": "|".join(cache.lines for cache in CACHES),  # any other may be a secret
        },
        "files": {"collect": "texts", "patterns": patterns},
    }


def judges(context: Context, said: Mapping[str, Any]) -> Verdict:
    found = kept_too_long(context, said)
    return Verdict("fail" if found else "pass", EXPECTED, "; ".join(found) or _seen(said["processes"]))


def kept_too_long(context: Context, said: Mapping[str, Any]) -> list[str]:
    """What was found, in words: the program first."""
    egress = context.policy.egress
    found = [what for cache in CACHES if cache.program in said["processes"] for what in _kept(cache, said)]
    if egress and egress.hosts and RESOLVED in said["processes"] and _asks_resolved(said["files"].get(SWITCH, "")):
        found.append(f"{SWITCH} sends lookups to systemd-resolved, past the host's own resolver: take `resolve` out")
    return found


def _kept(cache: Cache, said: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a program that runs, in its files and its arguments, that make it keep too long."""
    for path, text in sorted(said["files"].items()):
        if any(fnmatch(path, pattern) for pattern in cache.files):
            yield from (f"{cache.program}: {path} says `{line}`" for line in _lines(cache, text.splitlines()))
    for arguments in said["processes"][cache.program]:
        yield from (f"{cache.program}: was started with `{word}`" for word in _lines(cache, arguments))


def _lines(cache: Cache, lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if re.fullmatch(cache.lines, line.split("#")[0].strip())]


def _asks_resolved(switch: str) -> bool:
    return bool(re.search(r"^[ \t]*hosts:[^#\n]*\bresolve\b", switch, re.MULTILINE))


def _seen(processes: Mapping[str, Any]) -> str:
    return f"within it: {', '.join(sorted(processes))}" if processes else "no cache of names runs here"
