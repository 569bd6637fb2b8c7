"""The words of a policy: a strict grammar for every word that reaches a host.

A word that passes here is safe to stand in a rule, a unit file, a path or an argument: each grammar is a full
match over letters, digits and a few marks, none of which ends a word or a line in any of them.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, PlainValidator
from pydantic_core import PydanticCustomError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def unexpected(expected: str) -> PydanticCustomError:
    """The error of a value that is not what was expected."""
    return PydanticCustomError("expected", "{expected}", {"expected": expected})


PATTERNS: dict[Callable[[Any], Any], str] = {}
"""What a validator of text matches, for who describes the policy."""


def grammar(pattern: str, expected: str) -> Callable[[Any], str]:
    compiled = re.compile(pattern, re.ASCII)

    def check(found: Any) -> str:
        if not isinstance(found, str) or not compiled.fullmatch(found):
            raise unexpected(expected)
        return found

    PATTERNS[check] = pattern
    return check


LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
NAME = re.compile(rf"(?:\*\.)?(?:{LABEL}\.)+(?=[a-z]){LABEL}", re.ASCII | re.IGNORECASE)
ADDRESS_LETTERS = re.compile(r"[0-9a-fA-F.:]+(/[0-9]{1,3})?", re.ASCII)


def network(found: Any) -> Network:
    expected = "a network, such as 203.0.113.0/24 or 2001:db8::5/128"
    if isinstance(found, str) and NAME.fullmatch(found):
        raise unexpected(f"{expected}; a name belongs under `hosts`")
    # ipaddress takes whatever follows a % as a zone: letters that no rule may see.
    if not isinstance(found, str) or not ADDRESS_LETTERS.fullmatch(found):
        raise unexpected(expected)
    address_, _, length = found.partition("/")
    longest = 128 if ":" in address_ else 32
    if length and int(length) > longest:
        raise unexpected(f"a prefix of at most /{longest}")
    try:
        meant = ipaddress.ip_network(found)
    except ValueError:
        pass  # it has host bits, or is no network at all
    else:
        return _native(meant)
    try:
        meant = ipaddress.ip_network(found, strict=False)
    except ValueError:
        raise unexpected(expected) from None
    raise unexpected(f"no host bits: {meant}, or {found.partition('/')[0]}/{meant.max_prefixlen}")


def _native(meant: Network) -> Network:
    if isinstance(meant, ipaddress.IPv6Network) and meant.network_address.ipv4_mapped and meant.prefixlen >= 96:
        raise unexpected("the IPv4 network itself: mapped addresses never stand in a packet")
    return meant


def address(found: Any) -> Address:
    if isinstance(found, str) and ADDRESS_LETTERS.fullmatch(found):
        try:
            return ipaddress.ip_address(found)
        except ValueError:
            pass
    raise unexpected("an address, such as 10.0.0.2 or 2001:db8::2")


def port(found: Any) -> int:
    if isinstance(found, str) and re.fullmatch(r"[0-9]{1,5} *[-:] *[0-9]{1,5}", found, re.ASCII):
        raise unexpected("a port from 1 to 65535: a range is written port by port, [8000, 8001, 8002]")
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= 65535:
        raise unexpected("a port from 1 to 65535")
    return found


def whole(least: int, most: int) -> Callable[[Any], int]:
    def check(found: Any) -> int:
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise unexpected(f"a whole number from {least} to {most}")
        return found

    return check


def number(above: float, most: float) -> Callable[[Any], float]:
    def check(found: Any) -> float:
        if isinstance(found, bool) or not isinstance(found, int | float) or not above < found <= most:
            raise unexpected(f"a number above {above:g}, at most {most:g}")
        return float(found)

    return check


def factor(least: float, most: float) -> Callable[[Any], float]:
    def check(found: Any) -> float:
        if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found <= most:
            raise unexpected(
                f"a number from {least:g} to {most:g}: below {least:g} a host is smaller than its own peak"
            )
        return float(found)

    return check


SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def duration(found: Any) -> float:
    """`800ms`, `1.5s` as seconds."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(us|ms|s|m)", found) if isinstance(found, str) else None
    seconds = float(match[1]) * SECONDS[match[2]] if match else 0.0
    if not 0 < seconds <= 3600:
        raise unexpected("a duration up to an hour with its unit, such as 800ms or 1.5s")
    return seconds


LONGER = {**SECONDS, "h": 3600.0, "d": 86400.0}


def long_duration(found: Any) -> float:
    """`90s`, `36h`, `7d` as seconds."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(s|m|h|d)", found) if isinstance(found, str) else None
    seconds = float(match[1]) * LONGER[match[2]] if match else 0.0
    if not 0 < seconds <= 366 * LONGER["d"]:
        raise unexpected("a duration up to 366 days with its unit, such as 24h or 7d")
    return seconds


SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def size(found: Any) -> int:
    """`512M` as bytes; units are powers of 1024, as systemd reads them."""
    text = str(found) if isinstance(found, int) and not isinstance(found, bool) else found
    match = re.fullmatch(r"([0-9]{1,15})([KMGT]?)", text, re.ASCII) if isinstance(text, str) else None
    count = int(match[1]) * SIZES[match[2]] if match else 0
    if not 4096 <= count <= 2**50:
        raise unexpected("a size from 4K to 1024T, such as 512M")
    if count % 4096:
        raise unexpected(f"a multiple of the page size (4096 bytes), such as {count // 4096 * 4096}")
    return count


def percent(found: Any) -> float:
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,2})?)%", found, re.ASCII) if isinstance(found, str) else None
    share = float(match[1]) if match else 0.0
    if not 1 <= share <= 100_000:
        raise unexpected("percent of one CPU, such as 150% (one and a half)")
    return share


def share(found: Any) -> float:
    """`1%` as 0.01."""
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%", found, re.ASCII) if isinstance(found, str) else None
    percents = float(match[1]) if match else 0.0
    if not 0 < percents <= 100:
        raise unexpected("a share above 0%, at most 100%, such as 0.5%")
    return percents / 100


def truth(found: Any) -> bool:
    if not isinstance(found, bool):
        raise unexpected("true or false")
    return found


def held_port(found: Any) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= 1023:
        raise unexpected("a port from 1 to 1023: while the gateway is down, any account could listen on a higher one")
    return found


def tls_version(found: Any) -> str:
    if found not in ("1.2", "1.3") or not isinstance(found, str):
        raise unexpected('"1.2" or "1.3", in quotes')
    return found


def mode(found: Any) -> str:
    if not isinstance(found, str) or not re.fullmatch(r"0[0-7]{3}", found, re.ASCII):
        raise unexpected('a mode of four octal digits, in quotes, such as "0750"')
    if found[3] not in "01":
        raise unexpected(f'no rights for other accounts but to pass through: "{found[:3]}0", or "{found[:3]}1"')
    return found


# A tmpfs there would hide what the system itself needs.
NOT_THERE = (
    "/bin", "/boot", "/dev", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr",
    "/run/dbus", "/run/lock", "/run/systemd", "/run/udev", "/run/user", "/var/lib/hostguard", "/etc/systemd",
    "/etc/hostguard", "/var/run", "/var/lock",
)  # fmt: skip
BUSY = ("/var/lib", "/var/log", "/var/cache", "/var/spool", "/run/netns")


def path(found: Any) -> str:
    expected = "an absolute path of its own below a folder such as /run: /run/secrets"
    if not isinstance(found, str) or not re.fullmatch(r"(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}){2,8}", found, re.ASCII):
        raise unexpected(expected)
    if any((found + "/").startswith(taken + "/") for taken in NOT_THERE) or found in BUSY:
        raise unexpected(expected)
    return found


FILE = "(?:/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}){2,12}"
SCHEMA_FILE = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}/){0,8}[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)
"""Below the policy's own folder: no part of it begins with a dot."""


DEEPEST_SCHEMA, MOST_IN_SCHEMA = 32, 20_000


def payload_schema(found: Any) -> Mapping[str, Any]:
    """A JSON Schema, as far as it is plain data; what it says is looked at later (gateway_checks.py)."""
    if not isinstance(found, Mapping):
        raise unexpected("a JSON Schema, or the path of its file from the policy's folder: schemas/payments.json")
    values = 0
    inside: list[Any] = [found]
    for _ in range(DEEPEST_SCHEMA):
        values += len(inside)
        below: list[Any] = []
        for each in inside:
            below += _parts(each)
        if values > MOST_IN_SCHEMA:
            break
        if not below:
            return found
        inside = below
    raise unexpected(f"at most {MOST_IN_SCHEMA:,} values, nested at most {DEEPEST_SCHEMA} deep")


def _parts(value: Any) -> Iterable[Any]:
    """What is inside a value of JSON, the keys too."""
    if isinstance(value, Mapping):
        return [*value, *value.values()]
    if isinstance(value, list | tuple):
        return value
    # Half a surrogate pair is text for Python and JSON, and for nobody who writes UTF-8.
    lone = isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value)
    if lone or not (value is None or isinstance(value, str | bool | int | float)):
        raise unexpected("values that JSON has, and text without half a surrogate pair")
    return ()


def either(*words: str, else_: str = "") -> Callable[[Any], Any]:
    """One of some words; `else_` says what to do with another one. YAML elsewhere (an Ansible inventory) reads a bare
    `off` as false."""

    def check(found: Any) -> str:
        text = "off" if found is False else found
        if text not in words:
            raise unexpected(", ".join(words[:-1]) + " or " + words[-1] + (else_ if isinstance(found, str) else ""))
        return str(text)

    return check


def sysctl_value(found: Any) -> str:
    text = str(found) if isinstance(found, int) and not isinstance(found, bool) else found
    if (
        not isinstance(text, str)
        or not re.fullmatch(r"[ -~]{1,200}", text, re.ASCII)
        or not text.strip()
        or "${" in text
    ):
        raise unexpected("a number, or one line of at most 200 printable characters of ASCII, without `${`")
    return " ".join(text.split())


def line(most: int) -> Callable[[Any], str]:
    """A line for people: it stands in reports, and nowhere on a host."""

    def check(found: Any) -> str:
        if not isinstance(found, str) or not found.strip() or not found.isprintable() or len(found) > most:
            raise unexpected(f"one line of text, at most {most} characters")
        return found.strip()

    return check


def date(found: Any) -> datetime.date:
    if isinstance(found, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", found, re.ASCII):
        try:
            return datetime.date.fromisoformat(found)
        except ValueError:
            pass
    raise unexpected("a date, such as 2026-12-31")


def host_name(found: Any) -> str:
    """RFC 1123, with a dot in it, and a last label that is no number: that one would be an address."""
    name = found.removeprefix("*.") if isinstance(found, str) else ""
    if len(name) > 253 or not re.fullmatch(rf"(?:{LABEL}\.)+(?=[a-z]){LABEL}", name, re.ASCII):
        hint = ""
        if "_" in name:
            hint = "; an underscore is none of a host's name (RFC 1123): name its networks under `cidrs`"
        elif "*" in name:
            hint = "; a star stands for whole labels, at the front: name each, or all below the domain"
        raise unexpected(
            f'a host name in lower case, such as api.provider.com, or "*.provider.com" for all below it{hint}'
        )
    return str(found)


def url(found: Any) -> str:
    """https://, or http:// for a server on loopback; a name or an address, a port, a path. No user, no query."""
    place = rf"(?P<name>(?:{LABEL}\.)+(?=[a-z]){LABEL}|[0-9.]+|\[[0-9a-f:]+\])(?::(?P<port>[0-9]{{1,5}}))?"
    match = re.fullmatch(rf"https?://{place}(?:/[A-Za-z0-9._~/-]{{0,200}})?", str(found), re.ASCII)
    if not isinstance(found, str) or not match or len(found) > 500:
        raise unexpected("an address of the web in lower case, such as https://vault.internal.example:8200")
    if match["port"]:
        port(int(match["port"]))
    if not NAME.fullmatch(match["name"]):
        address(match["name"].strip("[]"))
    return found


def account(found: Any) -> str:
    """A local account's: it stands in rules, units and sets' names."""
    if not isinstance(found, str) or not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", found, re.ASCII):
        of_a_directory = isinstance(found, str) and re.fullmatch(r"[A-Za-z0-9._@\\-]{1,64}", found, re.ASCII)
        hint = (
            "; one of a directory can't stand in a rule: run the service as a local account" if of_a_directory else ""
        )
        raise unexpected(f"an account's name: a-z, 0-9, _ and -, at most 32{hint}")
    return found


def filled(found: Any) -> Any:
    if isinstance(found, list | tuple | dict) and not found:
        raise unexpected("at least one")
    return found


def distinct(found: tuple[Any, ...]) -> tuple[Any, ...]:
    seen: set[Any] = set()
    for item in found:
        if item in seen:
            raise unexpected(f"each once ({item} is there twice)")
        seen.add(item)
    return found


Account = Annotated[
    str,
    PlainValidator(account),
]
Name = Annotated[str, PlainValidator(grammar(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "a name of letters, digits, _ . -"))]
SliceName = Annotated[
    str, PlainValidator(grammar(r"[a-z0-9][a-z0-9_]{0,31}", "a name of a-z, 0-9 and _ (a dash nests slices)"))
]
Service = Annotated[
    str,
    PlainValidator(grammar(r"[A-Za-z0-9_][A-Za-z0-9:_.@-]{0,200}\.service", "a service unit, such as envoy.service")),
]
Key = Annotated[
    str,
    PlainValidator(
        grammar(
            r"[a-z0-9]+(?:\.[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64}){0,3}){1,8}",
            "a sysctl's name with dots, such as net.core.somaxconn; a dot of a device's is a slash: eth0/100",
        )
    ),
]
Version = Annotated[
    str,
    PlainValidator(grammar(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}[a-z]?", 'a version in quotes, such as "4.18"')),
]
ControlPattern = Annotated[
    str,
    PlainValidator(
        grammar(
            r"[a-z]{1,32}\.(\*|[a-z0-9][a-z0-9_-]{0,63})", "a control, such as kernel.somaxconn, or kernel.* for all"
        )
    ),
]
HostPattern = Annotated[
    str,
    PlainValidator(
        grammar(r"[A-Za-z0-9_.:@/*?\[\]!-]{1,253}", 'the name of a host, or a shell pattern in quotes, such as "db*"')
    ),
]
ProviderName = Annotated[
    str,
    PlainValidator(
        grammar(
            r"(?!(?:admin|metrics)$)(?!.*-(?:old|token)$)[A-Za-z0-9][A-Za-z0-9_-]{0,59}",
            "a name of letters, digits, _ and - (a dot would break the names of metrics), but admin, metrics, and what "
            "ends in -old or -token: these are the gateway's own",
        )
    ),
]
FilePath = Annotated[str, PlainValidator(grammar(FILE, "the path of a file, such as /usr/bin/envoy"))]
Sha256 = Annotated[str, PlainValidator(grammar("[0-9a-f]{64}", "a SHA-256 of 64 hexadecimal digits in lower case"))]
Cipher = Annotated[
    str,
    PlainValidator(
        grammar(
            "ECDHE-(?:ECDSA|RSA)-(?:AES128-GCM-SHA256|AES256-GCM-SHA384|CHACHA20-POLY1305)",
            "a suite with ECDHE and an AEAD, such as ECDHE-ECDSA-AES128-GCM-SHA256",
        )
    ),
]
Method = Annotated[
    str, PlainValidator(grammar("GET|HEAD|OPTIONS|PUT|DELETE|POST|PATCH", "a method of HTTP, such as GET"))
]
HeaderName = Annotated[
    str, PlainValidator(grammar("[A-Za-z][A-Za-z0-9-]{0,63}", "the name of a header, such as Idempotency-Key"))
]
MediaType = Annotated[
    str,
    PlainValidator(
        grammar("[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,63}", "a media type, such as application/json")
    ),
]
SecretName = Annotated[
    str, PlainValidator(grammar("[a-z0-9][a-z0-9_-]{0,47}", "a name of a-z, 0-9, _ and -, at most 48"))
]
"""It is a folder's."""
KeptAt = Annotated[
    str,
    PlainValidator(
        grammar("(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}/){1,12}[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}",
                "the path of a secret, such as secret/data/payments")
    ),
]  # fmt: skip
Field_ = Annotated[
    str, PlainValidator(grammar("[A-Za-z_][A-Za-z0-9_-]{0,63}", "the name of a field, such as key or previous"))
]
HeaderPrefix = Annotated[
    str,
    PlainValidator(grammar("[A-Za-z0-9!#$%&'*+.^_`|~=,:/-]{1,64} ?", 'the beginning of a header, such as "Bearer "')),
]
PrintableWord = Annotated[
    str, PlainValidator(grammar(r"[A-Za-z0-9_.~:/@+-]{1,200}", "letters, digits and _ . ~ : / @ + -, at most 200"))
]
Url = Annotated[str, PlainValidator(url)]
Schema = Annotated[Mapping[str, Any], PlainValidator(payload_schema)]
Day = Annotated[datetime.date, PlainValidator(date)]
Cidr = Annotated[Network, PlainValidator(network)]
IPAddress = Annotated[Address, PlainValidator(address)]
Port = Annotated[int, PlainValidator(port)]
Cidrs = Annotated[tuple[Cidr, ...], BeforeValidator(filled)]
Ports = Annotated[tuple[Port, ...], BeforeValidator(filled), AfterValidator(distinct)]
Accounts = Annotated[tuple[Account, ...], BeforeValidator(filled), AfterValidator(distinct)]
HostName = Annotated[str, PlainValidator(host_name)]
SearchDomain = Annotated[
    str,
    PlainValidator(
        grammar(rf"(?:{LABEL}\.)*{LABEL}", "a domain in lower case, such as corp.example, at most 253 letters")
    ),
]
Hosts = Annotated[tuple[HostName, ...], BeforeValidator(filled), AfterValidator(distinct)]
Level = Annotated[Literal["required", "preferred", "off"], PlainValidator(either("required", "preferred", "off"))]
OTHERWISE = "; another protocol (VRRP, ESP, SCTP) can't be sanctioned: keep a host that needs one out of `egress`"
Protocol = Annotated[Literal["tcp", "udp"], PlainValidator(either("tcp", "udp", else_=OTHERWISE))]
Bytes = Annotated[int, PlainValidator(size)]
Mode = Annotated[str, PlainValidator(mode)]
FolderPath = Annotated[str, PlainValidator(path)]
