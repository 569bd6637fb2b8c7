"""The example policy as a lab host can carry it: its machine's hard limit of open files is 20,000, and nobody keeps
the clock of the machine that tests run on."""

from __future__ import annotations

from pathlib import Path

from tests.lab import Host

EXAMPLE = Path(__file__).parents[2] / "examples" / "hostguard.yml"
NOFILE = 16384
PLACE = "/etc/hostguard/policy.yml"


def example(*changes: tuple[str, str]) -> str:
    text = EXAMPLE.read_text(encoding="utf-8")
    for old, new in (("nofile: 65535", f"nofile: {NOFILE}"), ("clock_sync: required", "clock_sync: off"), *changes):
        assert old in text, old
        text = text.replace(old, new)
    return text


def install(host: Host, *changes: tuple[str, str]) -> None:
    """Put the policy where hostguard looks for it."""
    host.run(["mkdir", "-p", "/etc/hostguard"])
    host.write(PLACE, example(*changes))
