"""What the files that are written from the code share: the texts they take, their tables, how they are kept fresh."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def docstrings(of: type[Any]) -> dict[str, str]:
    """The text below each field. Read here, not by pydantic when the class is made: every audit would wait for it."""
    (found,) = ast.parse(inspect.getsource(of)).body
    assert isinstance(found, ast.ClassDef)  # noqa: S101 - it is the source of one
    texts: dict[str, str] = {}
    for field, below in zip(found.body, found.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            if not (isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)):
                raise ValueError(f"{of.__name__}.{field.target.id} has no text below it")
            texts[field.target.id] = str(below.value.value)
    return texts


def row(cells: Iterable[str]) -> str:
    """One row of a Markdown table."""
    return "| {} |".format(" | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells))


def keep(files: Mapping[Path, str], arguments: Sequence[str]) -> int:
    """Write what is stale and name it. With `--check` nothing is written, and what is stale makes the exit code 1."""
    stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(path.relative_to(ROOT))
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
    return int(bool(stale) and "--check" in arguments)
