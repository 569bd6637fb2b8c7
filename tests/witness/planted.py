"""Values that stand nowhere but where they belong: planted on a host, and looked for wherever something may have put
them, as they are and in other spellings."""

from __future__ import annotations

import base64
import json
import mmap
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.lab.any_host import AnyHost


def value(name: str) -> str:
    """One that nobody else has ever written anywhere."""
    return f"{name}-{secrets.token_hex(16)}"


def spellings(planted: bytes) -> set[bytes]:
    """A value as it is, and what base64 and hexadecimal make of it, wherever in a longer text it stands."""
    found = {planted, planted.hex().encode(), planted.hex().upper().encode()}
    for before, skipped in enumerate((0, 2, 3)):  # the letters in which other bits take part
        text = base64.b64encode(bytes(before) + planted)[skipped : (before + len(planted)) * 8 // 6]
        found |= {text, text.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def within(text: bytes | mmap.mmap, planted: Mapping[str, bytes], begin: int = 0, end: int | None = None) -> set[str]:
    """The names of those that stand there."""
    end = len(text) if end is None else end
    return {name for name, said in planted.items()
            if any(text.find(each, begin, end) >= 0 for each in spellings(said))}  # fmt: skip


def on_disk(image: Path, planted: Mapping[str, bytes]) -> set[str]:
    """The names of those that stand anywhere on a raw disk, in files or between them."""
    found: set[str] = set()
    with image.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as text:
        for begin, end in _written(file.fileno(), len(text)):
            missing = {name: said for name, said in planted.items() if name not in found}
            found |= within(text, missing, begin, end)
    return found


def _written(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a sparse file has something, each with what touches it: nothing is torn apart."""
    at = 0
    while True:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
        except OSError:  # nothing more
            return
        end = os.lseek(file, at, os.SEEK_HOLE)
        yield at, min(end, size)
        at = end


EVERYWHERE = """
import glob, json, os, sys
planted = [bytes.fromhex(line) for line in sys.stdin.read().split()]
places = glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ")
for top in ("/var/lib", "/etc", "/tmp", "/var/tmp", "/var/log", "/run", "/root/told"):
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in sys.argv[1:]]
        places += [path for path in (os.path.join(folder, name) for name in files) if path not in sys.argv[1:]]
found = []
for place in places:
    try:
        if os.path.isfile(place):
            with open(place, "rb") as file:
                said = file.read()
            found += [place] * any(each in said for each in planted)
    except OSError:
        pass
print(json.dumps(found))
"""


def on_host(host: AnyHost, planted: Mapping[str, bytes], but: Sequence[str]) -> list[str]:
    """The files below which any of them stands, and the processes that show one; `but` not in these places."""
    spelled = "\n".join(each.hex() for said in planted.values() for each in spellings(said))
    said = host.run(["python3", "-c", EVERYWHERE, *but], input=spelled).stdout
    found: list[str] = json.loads(said)
    return found
