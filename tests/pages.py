"""Files that a page shows in full: `python -m tests.pages` writes them into it, below the mark that names each."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hostguard import generated

DOCS = generated.ROOT / "docs"
SHOWN = re.compile(r"^(<!-- (\S+): shown by `make docs` -->\n)```(\w+)\n.*?^```$", re.MULTILINE | re.DOTALL)


def shown(page: Path) -> list[Path]:
    """The files that a page shows."""
    return [generated.ROOT / found[2] for found in SHOWN.finditer(page.read_text(encoding="utf-8"))]


def fresh(page: Path) -> str:
    """A page with the files that it shows as they are now."""

    def block(found: re.Match[str]) -> str:
        text = (generated.ROOT / found[2]).read_text(encoding="utf-8")
        return f"{found[1]}```{found[3]}\n{text}```"

    return SHOWN.sub(block, page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    pages = {page: fresh(page) for page in sorted(DOCS.glob("*.md"))}
    sys.exit(generated.keep(pages, sys.argv[1:]))
