"""Write docs/hostguard.1, the manual page, from the commands' own declarations: `python -m hostguard.cli.manual`.

With `--check` nothing is written, and the exit code is 1 where the page is not what it would be.
"""

from __future__ import annotations

import enum
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from typer.main import get_command

from hostguard import __version__, generated
from hostguard.cli.main import EXITS, HELP_FLAGS, app
from hostguard.host import store
from hostguard.host.kinds import sysctl
from hostguard.policy.load import PLACES

PROGRAM: Any = get_command(app)
COMMANDS: Mapping[str, Any] = PROGRAM.commands
PAGE = generated.ROOT / "docs" / "hostguard.1"
README = generated.ROOT / "README.md"
FILES = {
    " or ".join(f"`{place}`" for place in PLACES): "The policy, where none is named: the first that is there.",
    f"`{store.GENERATIONS}`": "What each apply did on this host, with what it replaced. Only root may read it.",
    f"`{store.BOOT_RULES}`": "The rules that a boot loads before the network is up.",
    f"`{sysctl.OUR_FILE}`": "The kernel parameters that a boot sets.",
}
ENVIRONMENT = {"`HOSTGUARD_TRACEBACK`": "Where it is set, a fault of hostguard itself shows where it is."}
SEE_ALSO = ("ansible-inventory(1)", "ip6tables(8)", "ipset(8)", "iptables(8)", "nft(8)", "sysctl.d(5)",
            "systemd.resource-control(5)")  # fmt: skip
ABOUT = """\
One policy file says what a host may reach, the load that it carries, and where its credentials are. Of each control
`hostguard plan` shows the difference, `hostguard apply` makes it go away, `hostguard audit` must find none, and
`hostguard rollback` puts back what was there.

Without -i and --host a command acts on this machine. `hostguard schema` prints all that a policy may say, and
`hostguard explain ID` what one control is for."""


@dataclass(frozen=True)
class Option:
    """An option or argument, as it was declared. `value` is "" for a flag, `default` where there is none to tell."""

    flags: tuple[str, ...]
    value: str
    help: str
    default: str

    @property
    def entry(self) -> str:
        tag = ", ".join(f"\\fB{escape(flag)}\\fR" for flag in self.flags)
        value = f"\\fI{escape(self.value)}\\fR"
        text = prose(self.help) + (f" Default: {prose(self.default)}." if self.default else "")
        return f".TP\n{' '.join(filter(None, [tag, value if self.value else '']))}\n{text}"


def page() -> str:
    return "\n".join(
        [
            '.\\" Written by `python -m hostguard.cli.manual` from the commands of hostguard/cli.',
            f'.TH HOSTGUARD 1 "" "hostguard {escape(__version__)}" "User Commands"',
            *section("NAME", [f"hostguard \\- {prose(_as_a_name(PROGRAM.help))}"]),
            *section("SYNOPSIS", synopses()),
            *section("DESCRIPTION", [prose(paragraph) for paragraph in paragraphs(ABOUT)]),
            *section("COMMANDS", commands()),
            *section("OPTIONS", options()),
            *section("EXIT STATUS", [entry(str(code), _sentence(text)) for code, text in EXITS.items()]),
            *section("FILES", [entry(name, text) for name, text in FILES.items()]),
            *section("ENVIRONMENT", [entry(name, text) for name, text in ENVIRONMENT.items()]),
            *section("EXAMPLES", [entry(f"`{command}`", text) for command, text in examples()]),
            *section("SEE ALSO", [", ".join(map(reference, SEE_ALSO))]),
            "",
        ]
    )


def section(title: str, blocks: Sequence[str]) -> Iterator[str]:
    yield f".SH {title}"
    for at, block in enumerate(blocks):
        if at and not block.startswith((".SS", ".TP", ".SY", ".br")):
            yield ".PP"
        yield block


def _as_a_name(text: str) -> str:
    """As whatis(1) shows it: no sentence."""
    return text[:1].lower() + text[1:].rstrip(".")


def _sentence(text: str) -> str:
    return f"{text.strip()[:1].upper()}{text.strip()[1:]}."


def synopses() -> list[str]:
    return [f"{'.br' if at else ''}\n{call(name)}".lstrip("\n") for at, name in enumerate(COMMANDS)]


def call(name: str) -> str:
    """A command as it is called: its arguments are its own to name."""
    arguments = [f"\\fI{escape(each.value)}\\fR" for each in declared(name) if not each.flags]
    return " ".join([f"\\fBhostguard {name}\\fR", "[\\fIOPTION\\fR ...]", *arguments])


def commands() -> list[str]:
    blocks: list[str] = []
    panel = ""
    for name, command in COMMANDS.items():
        if command.rich_help_panel != panel:
            panel = str(command.rich_help_panel)
            blocks.append(f".SS {prose(panel)}")
        first, *more = paragraphs(command.help)
        told = [f".TP\n\\fB{name}\\fR\n{prose(first)}", *(f".IP\n{prose(each)}" for each in more)]
        own = [each.entry for each in declared(name) if each.flags not in shared()]
        others = [f"\\fB{escape(each.flags[0])}\\fR" for each in declared(name) if each.flags in shared()]
        told += [".RS", *own, ".RE"] if own else []
        told += [f".IP\nAlso {', '.join(others)}: see OPTIONS."] if others else []
        blocks.append("\n".join(told))
    return blocks


def options() -> list[str]:
    """Of the program, and those that two commands or more have in common."""
    general = [Option(tuple(each.opts), "", each.help, "") for each in PROGRAM.params]
    helps = Option(HELP_FLAGS, "", "Show the commands, or what one of them takes.", "")
    return [each.entry for each in (helps, *general, *shared().values())]


def examples() -> Sequence[tuple[str, str]]:
    """(command, what it does) of README.md's first steps. Raises ValueError where it has none."""
    steps = README.read_text(encoding="utf-8").partition("\n## Quick start\n")[2].partition("\n## ")[0]
    found = re.findall(r"^((?:sudo )?hostguard .*?) +# (.*)$", steps, re.MULTILINE)
    if not found:
        raise ValueError(f"{README} has no commands under Quick start, each with # and what it does")
    return [(command, _sentence(text)) for command, text in found]


@cache
def shared() -> Mapping[tuple[str, ...], Option]:
    """By their flags, the options that two commands or more declare, and all of them alike."""
    said = [option for name in COMMANDS for option in declared(name)]
    flags = Counter(option.flags for option in said)
    alike = Counter(said)
    return {option.flags: option for option in alike if 1 < alike[option] == flags[option.flags] and option.flags}


@cache
def declared(name: str) -> tuple[Option, ...]:
    """What a command takes, in its own order. Raises ValueError for a value without a name."""
    return tuple(_option(name, each) for each in COMMANDS[name].params)


def _option(command: str, parameter: Any) -> Option:
    default, shown = parameter.default, parameter.show_default
    told = shown if isinstance(shown, str) else "" if default in (None, False) or not shown else str(default)
    if parameter.param_type_name == "argument":
        value = f"{parameter.metavar} ..." if parameter.nargs == -1 else parameter.metavar
        value = value if parameter.required or value.startswith("[") else f"[{value}]"
        return Option((), value, parameter.help, "")
    choices = "|".join(type(default)) if isinstance(default, enum.Enum) else ""
    value = "" if parameter.is_flag else parameter.metavar or choices
    if not value and not parameter.is_flag:
        raise ValueError(f"{command}: {parameter.opts[0]} has no metavar")
    return Option(tuple(parameter.opts), value, parameter.help, told)


def paragraphs(text: str) -> list[str]:
    return [" ".join(each.split()) for each in text.split("\n\n") if each.strip()]


def entry(tag: str, text: str) -> str:
    return f".TP\n{prose(tag)}\n{prose(text)}"


def reference(page: str) -> str:
    name, _, volume = page.partition("(")
    return f"\\fB{escape(name)}\\fR({volume}"


def prose(text: str) -> str:
    """Text of ours in roff: what stands between backticks, and options, is to be copied, and bold."""
    parts = re.split(r"(`[^`]*`|(?<![\w-])--?[a-z][\w-]*)", text)
    said = "".join(f"\\fB{escape(part.strip('`'))}\\fR" if at % 2 else _words(part) for at, part in enumerate(parts))
    return "\\&" + said if said.startswith((".", "'")) else said


ESCAPES = {"\\": "\\e", "~": "\\(ti", "^": "\\(ha", "`": "\\(ga", "'": "\\(aq"}


def escape(text: str) -> str:
    """What is to be copied as it stands: roff would make typographic hyphens and quotes of it."""
    return _ascii("".join(ESCAPES.get(each, each) for each in text).replace("-", "\\-"))


def _words(text: str) -> str:
    return _ascii("".join(ESCAPES.get(each, each) for each in text))


def _ascii(text: str) -> str:
    return "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in text)


if __name__ == "__main__":
    sys.exit(generated.keep({PAGE: page()}, sys.argv[1:]))
