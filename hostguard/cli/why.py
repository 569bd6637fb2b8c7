"""hostguard why: may an account reach a destination, and which line of the policy decides it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli.failure import Stop
from hostguard.cli.options import PolicyOption, table_or_json
from hostguard.cli.policy import load
from hostguard.status import Exit

if TYPE_CHECKING:
    from hostguard.policy.load import LoadedPolicy
    from hostguard.policy.why import Answer, Question, Reason

SCHEMA = "hostguard.why/1"
HTTPS = 443
PORT = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:]+):(?P<port>[0-9]{1,5})")
ANY = "an account that the policy does not name"


def command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[ACCOUNT] DESTINATION[:PORT]",
            help="Who, and where to: a name or an address; port 443 if none is said. [2001:db8::1]:443 with a port.",
            show_default=False,
        ),
    ],
    udp: Annotated[bool, typer.Option("--udp", help="By UDP instead of TCP.")] = False,
    policy: PolicyOption = None,
    format_: Annotated[str, table_or_json(SCHEMA)] = "table",
) -> None:
    """Tell whether an account may reach a destination, and what decides it.

    From the policy alone; `prove` asks the kernel of a host. Exit code 0 means that it may, 1 that it may not, 3 that
    only the host knows: an address that a name may lead to.
    """
    from hostguard.policy.why import answer

    asked = _question(words, "udp" if udp else "tcp")
    loaded = load(policy, harmless=True)
    found = answer(loaded.policy, asked)
    if format_ == "json":
        import json

        typer.echo(json.dumps(_as_json(loaded, asked, found), indent=2))
    else:
        _tell(loaded, asked, found)
    raise typer.Exit({True: Exit.WELL, False: Exit.FAILED, None: Exit.UNSEEN}[found.may])


def _question(words: list[str], protocol: str) -> Question:
    from pydantic import TypeAdapter, ValidationError

    from hostguard.policy.grammar import Account
    from hostguard.policy.why import Question

    if len(words) > 2:
        raise Stop(Exit.CALL, [f"{' '.join(words)}: found {len(words)} words, expected an account and a destination"])
    *account, destination = words
    try:
        for each in account:
            TypeAdapter(Account).validate_python(each)
    except ValidationError as error:
        raise Stop(Exit.CALL, [f"{account[0]}: expected {error.errors()[0]['msg']}"]) from None
    match = PORT.fullmatch(destination)
    port = int(match["port"]) if match else HTTPS
    host = _host(match["host"] if match else destination)
    if host is None or not 1 <= port <= 65535:
        expected = "a name or an address, and maybe a port: api.provider.com:443, 192.0.2.7, [2001:db8::1]:443"
        raise Stop(Exit.CALL, [f"{destination}: expected {expected}"])
    return Question(account[0] if account else None, host, port, protocol)


def _host(said: str) -> str | None:
    """A name in lower case, or an address as it is written shortest; None for what is neither. A mapped address is the
    IPv4 one that the kernel sends to."""
    from hostguard.policy.grammar import NAME, address

    try:
        found = address(said.removeprefix("[").removesuffix("]"))
        return str((found.version == 6 and found.ipv4_mapped) or found)
    except ValueError:
        return said.lower().rstrip(".") if NAME.fullmatch(said.rstrip(".")) and "*" not in said else None


def _tell(loaded: LoadedPolicy, asked: Question, found: Answer) -> None:
    import textwrap

    may = {True: "may reach", False: "may not reach", None: "may, on a condition, reach"}[found.may]
    typer.echo(f"{asked.account or ANY} {may} {_to(asked)}")
    rows = [("decides", found.decides), *(("instead", reason) for reason in found.others)]
    for name, reason in rows:
        text = f"{name:<9}{_place(loaded, reason)}  {reason.words}"
        typer.echo(textwrap.fill(text, 78, initial_indent="    ", subsequent_indent=" " * 15, break_on_hyphens=False,
                                 break_long_words=False))  # fmt: skip


def _to(asked: Question) -> str:
    host = f"[{asked.host}]" if ":" in asked.host else asked.host
    return f"{host}:{asked.port}/{asked.protocol}"


def _place(loaded: LoadedPolicy, reason: Reason) -> str:
    from hostguard.policy.document import dotted

    line = loaded.line_of(reason.path)
    return f"{dotted(reason.path)}{f' (line {line})' if line else ''}"


def _as_json(loaded: LoadedPolicy, asked: Question, found: Answer) -> dict[str, object]:
    from hostguard.policy.document import dotted

    def told(reason: Reason) -> dict[str, object]:
        return {"key": dotted(reason.path), "line": loaded.line_of(reason.path), "says": reason.words}

    return {
        "schema": SCHEMA,
        "policy": {"path": loaded.path, "sha256": loaded.sha256},
        "account": asked.account,
        "destination": asked.host,
        "port": asked.port,
        "protocol": asked.protocol,
        "may": found.may,
        "decides": told(found.decides),
        "instead": [told(reason) for reason in found.others],
    }
