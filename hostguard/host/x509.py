"""What stands in a certificate (RFC 5280), as much as a person asks for. Python reads none that it has not verified."""

from __future__ import annotations

import base64
import binascii
import calendar
import re
from typing import Any, Dict, Iterator, List, Tuple

SEQUENCE, SET, OID, TIME = 0x30, 0x31, 0x06, 0x17
VERSION, EXTENSIONS, DNS_NAME = 0xA0, 0xA3, 0x82
COMMON_NAME, ORGANISATION, UNIT = b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x04\x0b"
ALTERNATIVE_NAMES = b"\x55\x1d\x11"
MOST_NAMES = 20
LONGEST_NAME = 100
PEM = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END")


class NoCertificate(ValueError):
    """Bytes that are none."""


def of_pem(text: bytes) -> List[bytes]:
    """The certificates of a file; never its keys. Raises NoCertificate for a block that is none."""
    try:
        return [base64.b64decode(b"".join(found[1].split()), validate=True) for found in PEM.finditer(text)]
    except binascii.Error as error:
        raise NoCertificate(str(error)) from None


def described(der: bytes) -> Dict[str, Any]:
    """`subject`, `issuer`, the `names` that it is for, its first and last second (Unix time: `begins`, `ends`), and
    whether it signed itself (`own`). Raises NoCertificate."""
    try:
        ((_, certificate),) = _each(der, 1)
        (_, signed), *_ = _each(certificate, 1)
        parts = list(_each(signed))
        if parts[0][0] == VERSION:
            del parts[0]
        _serial, _algorithm, (_, issuer), (_, validity), (_, subject), *more = parts
        begins, ends = (_seconds(kind, text) for kind, text in list(_each(validity))[:2])
        extensions = next((body for tag, body in more if tag == EXTENSIONS), b"")
        return {
            "subject": _name(subject),
            "issuer": _name(issuer),
            "names": _names(extensions)[:MOST_NAMES],
            "begins": begins,
            "ends": ends,
            "own": subject == issuer,
        }
    except (ValueError, IndexError) as error:
        raise NoCertificate(str(error)) from None


def _each(data: bytes, most: int = 1 << 16) -> Iterator[Tuple[int, bytes]]:
    """(tag, content) of what stands there one after the other (X.690)."""
    at = 0
    while at < len(data) and most:
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4:
                raise ValueError("a length of {} bytes".format(count))
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise ValueError("it ends within a value")
        yield tag, data[at : at + length]
        at += length
        most -= 1


def _name(data: bytes) -> str:
    """The common name, or whatever else it is called."""
    found: Dict[bytes, str] = {}
    for _, relative in _each(data):
        for _, pair in _each(relative):
            (_, kind), (_, text), *_ = _each(pair)
            found.setdefault(kind, text.decode("utf-8", "replace"))
    said = next((found[kind] for kind in (COMMON_NAME, UNIT, ORGANISATION) if kind in found), "")
    return said[:LONGEST_NAME]


def _names(extensions: bytes) -> List[str]:
    for _, listed in _each(extensions, 1):
        for _, extension in _each(listed):
            parts = list(_each(extension))
            if parts[0] == (OID, ALTERNATIVE_NAMES):
                ((_, names),) = _each(parts[-1][1], 1)
                return [name.decode("ascii", "replace")[:LONGEST_NAME] for tag, name in _each(names) if tag == DNS_NAME]
    return []


def _seconds(kind: int, text: bytes) -> int:
    """UTCTime has two digits for a year of 1950 to 2049, GeneralizedTime has four."""
    said = text.decode("ascii")
    if kind == TIME:
        said = ("20" if int(said[:2]) < 50 else "19") + said
    found = re.match(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$", said)
    if not found:
        raise ValueError("no time: {!r}".format(said[:20]))
    year, month, day, hour, minute, second = map(int, found.groups())
    if not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError("no time: {!r}".format(said))
    return calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))
