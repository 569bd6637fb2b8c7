"""The options of the commands: what several share is declared once, and refuses alike what it does not know."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any, get_type_hints

import pytest
from typer.models import OptionInfo

from hostguard.cli.main import app

COMMANDS = {command.name or "": command.callback for command in app.registered_commands}


def options(name: str) -> dict[str, OptionInfo]:
    """The options of a command, by parameter, as they were declared."""
    callback: Any = COMMANDS[name]
    hints = get_type_hints(callback, vars(inspect.getmodule(callback)), include_extras=True)
    said = {key: getattr(hint, "__metadata__", ()) for key, hint in hints.items()}
    return {key: each for key, metadata in said.items() for each in metadata if isinstance(each, OptionInfo)}


def test_what_two_commands_say_alike_is_declared_once() -> None:
    first: dict[tuple[object, ...], tuple[str, OptionInfo]] = {}
    for name in COMMANDS:
        for key, option in options(name).items():
            if key == "format_":  # each with the formats of its own, from options.formats
                continue
            told = (key, option.default, option.param_decls, option.metavar, option.help)
            where, before = first.setdefault(told, (name, option))
            assert before is option, f"{key}: {name} has the words of {where}"


@pytest.mark.parametrize("name", [name for name in COMMANDS if "format_" in options(name)])
def test_an_unknown_format_is_refused_before_anything_is_read(name: str) -> None:
    call = [sys.executable, "-m", "hostguard", name, "--format", "yaml"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hostguard: --format: found 'yaml', expected one of t")
