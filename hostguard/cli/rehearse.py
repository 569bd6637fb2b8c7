"""hostguard rehearse: the policy in throw-away namespaces, and what gets out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hostguard.cli.failure import UNSEEN, Stop
from hostguard.cli.policy import PolicyOption, load

if TYPE_CHECKING:
    from hostguard.policy import Policy
    from hostguard.rehearse.attempts import Attempt

FAILED = 1


def command(
    policy: PolicyOption = None,
    partial_ok: Annotated[
        bool, typer.Option("--partial-ok", help="Exit with 0 though some attempts could not be made here.")
    ] = False,
) -> None:
    """Try the policy in throw-away namespaces.

    Applies it with the real code on the real kernel, tries the ways out before and after, and shows what is allowed
    and what is held. Needs no root and leaves nothing.
    """
    from hostguard.cli import screen
    from hostguard.cli.failure import CALL
    from hostguard.host.program import find

    loaded = load(policy)
    if loaded.policy.egress is None:
        raise Stop(CALL, [f"{loaded.path}: the policy has no section `egress`: there is nothing to rehearse"])
    missing = [name for name in ("iptables", "ip6tables", "ipset", "nft", "ip") if find(name) is None]
    if missing:
        install = "sudo apt install iptables ipset nftables iproute2"
        raise Stop(UNSEEN, [f"{', '.join(missing)}: not installed; on Debian: {install}"])
    if loaded.policy.egress.mode == "observe":
        typer.echo("hostguard: the policy observes; rehearsed as if it enforced", err=True)
        egress = loaded.policy.egress.model_copy(update={"mode": "enforce"})
        loaded = type(loaded)(
            loaded.policy.model_copy(update={"egress": egress}), loaded.path, loaded.sha256, loaded.warnings
        )

    from hostguard.bundle import compile_policy
    from hostguard.rehearse import stage
    from hostguard.rehearse.attempts import attempts
    from hostguard.rehearse.namespaces import Forbidden, perform

    tries = attempts(loaded.policy.egress)  # type: ignore[arg-type]  # looked at above
    if find("dnsmasq") is None:  # the stage says so
        tries = [attempt for attempt in tries if attempt.way != "name"]
    bundle = compile_policy(loaded).bundle()
    outcome = Outcome(tries)
    try:
        with screen.progress() as progress:
            for told in perform(
                lambda all_accounts, tell: stage.play(bundle, tries, accounts(loaded.policy), all_accounts, tell)
            ):
                outcome.hear(told)
                progress(told.get("step", f"try {told['try'] + 1} of {len(tries)}" if "try" in told else "applied"))
    except Forbidden as refused:
        raise Stop(UNSEEN, [str(refused)]) from None
    code = outcome.show()
    raise typer.Exit(0 if partial_ok and code == UNSEEN else code)


def accounts(policy: Policy) -> set[str]:
    """Every account and group that the policy names."""
    from hostguard.controls.egress.allowlist import ASKER

    egress, secrets = policy.egress, policy.secrets
    found = {secrets.owner, secrets.group} if secrets else set()
    if egress:
        found |= {egress.proxy_user} if egress.proxy_user else set()
        found |= set(egress.resolver_users or ()) | ({ASKER} if egress.hosts else set())
        found |= {user for service in egress.services.values() for user in service.users or ()}
    return found


class Outcome:
    """What the rehearsal told, gathered for the table."""

    def __init__(self, tries: list[Attempt]) -> None:
        self.tries = tries
        self.results: dict[tuple[int, str], dict[str, Any]] = {}
        self.said: dict[str, Any] = {}
        self.not_rehearsed: list[str] = []

    def hear(self, told: dict[str, Any]) -> None:
        if "try" in told:
            self.results[told["try"], told["when"]] = told
        elif "not rehearsed" in told:
            self.not_rehearsed.append(told["not rehearsed"])
        else:
            self.said = {**told, **self.said} if "error" in told else {**self.said, **told}

    def verdict(self, number: int) -> tuple[str, str, str, str]:
        """(before, after, word, style) of an attempt."""
        attempt = self.tries[number]
        results = [self.results.get((number, when)) for when in ("before", "after")]
        if any(result is None for result in results):
            return "", "", "not tried", "yellow"
        if any(result["not tried"] for result in results if result and "not tried" in result):
            return "", "", "not tried: one account only", "yellow"
        before, after = (_shown(attempt, result or {}) for result in results)
        if attempt.sanctioned is None:
            return before, after, "not held: egress.frames: allow", "yellow"
        if attempt.sanctioned:
            return (before, after, "allowed", "green") if after == "works" else (before, after, "CUT OFF", "bold red")
        if before == "held":
            return before, after, "not seen to work: proves nothing", "yellow"
        return (before, after, "held", "green") if after == "held" else (before, after, "GETS OUT", "bold red")

    def show(self) -> int:
        """Print the table; the exit code."""
        from rich.table import Table
        from rich.text import Text

        from hostguard.cli import screen

        if "error" in self.said:
            raise Stop(UNSEEN, [f"the rehearsal ended early: {self.said['error']}"])
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for column in ("attempt", "as", "to", "before", "after", ""):
            table.add_column(column, overflow="fold")
        verdicts = [self.verdict(number) for number in range(len(self.tries))]
        for attempt, (before, after, word, style) in zip(self.tries, verdicts, strict=True):
            table.add_row(attempt.name, _who(attempt), _to(attempt), before, after, Text(word, style))
        console = screen.result()
        console.print(table)
        console.print()
        for reason in self.not_rehearsed:
            console.print(Text.assemble(("Not rehearsed: ", "yellow"), reason))
        words = [word for _, _, word, _ in verdicts]
        applied, again = self.said.get("applied", {}), self.said.get("again", {})
        sound = (
            applied.get("outcome") == "applied"
            and again.get("outcome") == "unchanged"
            and self.said.get("identical") is True
        )
        console.print(
            f"apply: {_outcome(applied)}; apply again: {_outcome(again)}; "
            f"rollback: {'identical to before' if self.said.get('identical') else 'NOT as before'}"
        )
        bad = words.count("CUT OFF") + words.count("GETS OUT")
        unseen = sum(word.startswith(("not tried", "not seen")) for word in words)
        console.print(
            f"{words.count('allowed')} sanctioned ways work, {words.count('held')} others are held, "
            f"{bad} are wrong, {unseen} could not be seen."
        )
        if any(word.startswith("not tried") for word in words):
            console.print(
                "With one account alone, what is held by account can't be tried: install newuidmap (Debian: uidmap) "
                "and give this user a range in /etc/subuid and /etc/subgid, or rehearse as root."
            )
        if bad or not sound:
            return FAILED
        return UNSEEN if unseen else 0


def _outcome(answer: dict[str, Any]) -> str:
    more = answer.get("obstacles") or [answer["error"]] if "obstacles" in answer or "error" in answer else []
    return str(answer.get("outcome", "not reached")) + (f" ({'; '.join(more)})" if more else "")


def _shown(attempt: Attempt, result: dict[str, Any]) -> str:
    if attempt.sanctioned:
        return "works" if result["works"] else "cut off"
    return "out" if result["left"] else "held"


def _who(attempt: Attempt) -> str:
    return "" if attempt.way == "answer" else attempt.account


def _to(attempt: Attempt) -> str:
    if attempt.way == "answer":
        return f"{attempt.source} from port {attempt.port}"
    if attempt.way in ("tcp", "udp", "forward", "name"):
        return f"{attempt.address} {'udp' if attempt.way == 'udp' else 'tcp'} {attempt.port}"
    return attempt.address
