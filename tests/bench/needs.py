"""In a lab host: what `hostguard audit` cannot do without, found out by watching one audit.

Prints the modules that it imports and are not its own, and the programs that it calls, each once and with what they
read. A program that an audit calls twice is in the list once: the second call is hostguard's own doing.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from typing import Any

OURS = ("hostguard", "tests", "__main__")


def modules() -> list[str]:
    """In the order in which they came. A module without a file's spec (Cython makes some) can't be imported."""
    return [
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] not in OURS and getattr(getattr(module, "__spec__", None), "name", None) == name
    ]


def watch() -> dict[str, Any]:
    programs: dict[tuple[str, ...], tuple[str, int]] = {}
    real = subprocess.run

    def run(argv: Any, *rest: Any, **options: Any) -> Any:
        done = real(argv, *rest, **options)
        programs.setdefault(tuple(argv), (options.get("input") or "", done.returncode))
        return done

    from hostguard.cli import main

    subprocess.run = run
    sys.argv = ["hostguard", "audit"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            main.run()
            code: Any = 0
        except SystemExit as end:
            code = end.code
    return {
        "modules": modules(),
        "programs": [(argv, *how) for argv, how in programs.items()],
        "exit": int(code or 0),
        "summary": said.getvalue().strip().splitlines()[-2:],
    }


if __name__ == "__main__":
    json.dump(watch(), sys.stdout)
