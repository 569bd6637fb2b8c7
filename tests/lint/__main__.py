"""`python -m tests.lint`: ansible-lint, ansible-test sanity and shellcheck; with names, some of them."""

from __future__ import annotations

import sys
import time

from tests.lint import playbooks, sanity, shell

LINTERS = {"ansible-lint": playbooks.lint, "sanity": sanity.lint, "shellcheck": shell.lint}

if __name__ == "__main__":
    failed = []
    for name in sys.argv[1:] or LINTERS:
        begun = time.monotonic()
        if LINTERS[name]():
            failed.append(name)
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
