"""Run the host program out of memory: nothing of it is written to the host that is asked."""

from __future__ import annotations

import json
import sys
import zlib
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Dict, Optional

PACKAGE = "hostguard_host"
MARK = "hostguard answers: "
"""Before the answer, on a line of its own: a login shell may say something of its own first."""


class Memory:
    """Finds and loads the modules of the package. `sources` holds their texts by path."""

    def __init__(self, sources: Dict[str, str]) -> None:
        self.sources = sources

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Optional[ModuleSpec]:
        package, _, inside = name.partition(".")
        if package != PACKAGE:
            return None
        inside = inside.replace(".", "/")
        for path in (inside + ".py", (inside + "/__init__.py").lstrip("/")):
            if path in self.sources:
                # It has what importlib calls of a Loader, and does not inherit from one.
                return ModuleSpec(name, self, origin=path, is_package=path.endswith("__init__.py"))  # type: ignore[arg-type]
        return None

    def create_module(self, _spec: ModuleSpec) -> None:
        """The usual one."""

    def exec_module(self, module: ModuleType) -> None:
        path = str(module.__spec__.origin if module.__spec__ else "")
        # The sources that this command has sent.
        exec(compile(self.sources[path], "hostguard/host/" + path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102


def run(sources: Dict[str, str]) -> None:
    """Answer the request on standard input, which is compressed JSON, on standard output, as answers come."""
    sys.meta_path.append(Memory(sources))
    program_main = import_module(PACKAGE + ".program_main")
    for answer in program_main.answers(_request(), sys.stdin.fileno()):
        print("\n" + MARK + json.dumps(answer), flush=True)


def _request() -> Any:
    """Compressed JSON, which ends by itself: the end of standard input may come later, once nobody listens any more."""
    compressed, text = zlib.decompressobj(), b""
    while not compressed.eof:
        data = sys.stdin.buffer.read1(1 << 16)  # type: ignore[union-attr]  # it is no raw stream
        if not data:
            break
        text += compressed.decompress(data)
    return json.loads(text)
