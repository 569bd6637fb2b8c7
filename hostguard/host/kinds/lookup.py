"""A file that sends every lookup of the host to its own resolver: written once that runs, and put back before it stops.

The names in `asked` are looked up then, by the account `asker` where not everybody may: so their addresses are known
when the rules come. The file says of which names it is, and is written anew when they change.
"""

from __future__ import annotations

import contextlib
from typing import Dict, List

from ..program import run
from ..resource import HostError, Observation, Resource
from . import file
from .file import as_before, capture, differ, place, read, read_image, restore, seen_as, setters, wanted

__all__ = [
    "as_before",
    "ask",
    "capture",
    "differ",
    "place",
    "read",
    "read_image",
    "restore",
    "seen_as",
    "setters",
    "wanted",
    "write",
]

SECONDS = 5
"""How long the answers are waited for: open connections to a name whose answer comes later are cut until then."""


def resource(control: str, path: str, content: str, asked: List[str], asker: str) -> Resource:
    """`asked` are the names that are looked up once it is there, by the account `asker` ("": root)."""
    of_file = file.resource(control, path, content)
    return dict(of_file, id="lookup:{}".format(path), kind="lookup", asked=asked, asker=asker)


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    file.write(resources, seen)
    ask(resources)


def ask(resources: List[Resource]) -> None:
    for resource in resources:
        become = ["setpriv", "--reuid=" + resource["asker"], "--clear-groups"] if resource["asker"] else []
        if resource["asked"]:
            with contextlib.suppress(HostError):  # a resolver that is silent now may answer when it is needed
                run([*become, "getent", "ahosts", *resource["asked"]], check=False, timeout=SECONDS, ours=not become)
