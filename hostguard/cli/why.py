"""hostguard why: may an account reach a destination, and which line of the policy decides it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli.failure import Stop
from hostguard.cli.options import HostOption, PolicyOption, SizeOption, SudoOption, WithinOption, table_or_json
from hostguard.cli.policy import load
from hostguard.status import Exit

if TYPE_CHECKING:
    from hostguard.cli.targets import Targets
    from hostguard.policy.load import LoadedPolicy
    from hostguard.policy.why import Answer, Question, Reason
    from hostguard.why_on_host import AddressFate, OnHost

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
    host: HostOption = None,
    sudo: SudoOption = False,
    here: Annotated[bool, typer.Option("--here", help="As --host, of this very host.")] = False,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """Tell whether an account may reach a destination, and what decides it.

    From the policy alone; with --host or --here also by the rules in force on a host: the rule, set and element that
    decide, what a name leads to there, and whether that is what the policy says. It reads, and sends nothing but the
    name's question to the resolver. Exit code 0 means that it may, 1 that it may not or that policy and host differ, 3
    that it can't be told: without a host, an address that a name may lead to.
    """
    from hostguard.cli import targets
    from hostguard.policy.why import answer

    if here and host:
        raise Stop(Exit.CALL, ["--here and --host: one of them"])
    asked = _question(words, "udp" if udp else "tcp")
    chosen = targets.chosen(None, [host] if host else None, None, sudo=sudo, limit=None, forks=None,
                            answer_within=answer_within, answer_size=answer_size)  # fmt: skip
    loaded = load(policy, harmless=True, elsewhere=chosen.elsewhere)
    found = answer(loaded.policy, asked)
    there = _on_host(chosen, loaded, asked) if here or host else None
    if format_ == "json":
        import json

        typer.echo(json.dumps(_as_json(loaded, asked, found, there), indent=2))
    else:
        _tell(loaded, asked, found)
        if there is not None:
            _tell_of_host(there, found)
    if there is not None and there.may is None and (how := chosen.as_root()):
        typer.echo(f"hostguard: root would see more: {how}", err=True)
    may = found.may if there is None else False if there.agrees(found.may) is False else there.may
    raise typer.Exit({True: Exit.WELL, False: Exit.FAILED, None: Exit.UNSEEN}[may])


def _on_host(chosen: Targets, loaded: LoadedPolicy, asked: Question) -> OnHost:
    from hostguard import why_on_host

    (looked,) = chosen.look(loaded, why_on_host.compiler(asked))
    return why_on_host.judge(loaded, asked, looked.host, looked.seen)


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
    may = {True: "may reach", False: "may not reach", None: "may, on a condition, reach"}[found.may]
    typer.echo(f"{asked.account or ANY} {may} {_to(asked)}")
    rows = [("decides", found.decides), *(("instead", reason) for reason in found.others)]
    for name, reason in rows:
        _row(name, f"{_place(loaded, reason)}  {reason.words}")


def _row(name: str, text: str) -> None:
    import textwrap

    typer.echo(textwrap.fill(f"{name:<9}{text}", 78, initial_indent="    ", subsequent_indent=" " * 15,
                             break_on_hyphens=False, break_long_words=False))  # fmt: skip


MAY = {True: "it may", False: "it may not", None: "it can't be told"}


def _tell_of_host(there: OnHost, found: Answer) -> None:
    from hostguard.visible import one_line

    typer.echo(f"on {one_line(there.host)}, by the rules in force, {MAY[there.may]}")
    rows = [("lookup", there.lookup)] if there.lookup else []
    rows += [("but", words) for words in there.words]
    rows += [row for each in there.addresses for row in _rows_of(each, named=bool(there.lookup))]
    if there.agrees(found.may) is False:
        rows.append(("differs", _differs(there, found)))
    for name, text in rows:
        _row(name, one_line(text))


def _rows_of(each: AddressFate, *, named: bool) -> list[tuple[str, str]]:
    rows = [("kernel", f"{f'{each.address}: ' if named else ''}{each.words}")]
    if each.set:
        rows.append(("set", f"{each.set} has {each.element}"))
    if each.in_sets is not None:
        rows.append(("name", f"{each.address} is now in {', '.join(each.in_sets) or 'no set of that name'}"))
    return rows


def _differs(there: OnHost, found: Answer) -> str:
    """What a difference between policy and host means."""
    if there.let and not there.may and found.may:
        return "the policy lets it, and nobody listens there: `hostguard diagnose` tells why"
    if found.may:
        return "the policy lets it, the host does not: its rules are not those of this policy, or others come first; " \
               "`hostguard audit` names them"  # fmt: skip
    return "the policy does not let it, the host does: its rules are not those of this policy; `hostguard audit` " \
           "names them"  # fmt: skip


def _to(asked: Question) -> str:
    host = f"[{asked.host}]" if ":" in asked.host else asked.host
    return f"{host}:{asked.port}/{asked.protocol}"


def _place(loaded: LoadedPolicy, reason: Reason) -> str:
    from hostguard.policy.document import dotted

    line = loaded.line_of(reason.path)
    return f"{dotted(reason.path)}{f' (line {line})' if line else ''}"


def _as_json(loaded: LoadedPolicy, asked: Question, found: Answer, there: OnHost | None) -> dict[str, object]:
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
        **({"host": _host_as_json(there, found)} if there else {}),
    }


def _host_as_json(there: OnHost, found: Answer) -> dict[str, object]:
    addresses = [
        {"address": each.address, "may": each.may, "says": each.words, "rule": each.rule or None,
         "set": each.set or None, "element": each.element or None, "listens": each.listens,
         "in_sets_of_name": None if each.in_sets is None else list(each.in_sets)}
        for each in there.addresses
    ]  # fmt: skip
    return {"name": there.host, "may": there.may, "let": there.let, "agrees": there.agrees(found.may),
            "says": list(there.words), "lookup": there.lookup or None, "addresses": addresses}  # fmt: skip
