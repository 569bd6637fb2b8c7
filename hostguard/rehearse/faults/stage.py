"""The play: the policy with a provider for each fault, by the real apply and the real Envoy, and every fault at once.

Beside it, where no policy holds anything: an application that asks the providers directly, and one that asks the
article's Envoy. They run in the world's own network namespace, in a process of theirs.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hostguard.host import transaction
from hostguard.rehearse import gateway, legs, links
from hostguard.rehearse.faults import article, world
from hostguard.rehearse.faults.application import Application, Directly, Route, Through, orders
from hostguard.rehearse.faults.clones import SECRETS, Clone
from hostguard.rehearse.faults.running import Running
from hostguard.rehearse.faults.site import Plan
from hostguard.rehearse.host import settle
from hostguard.rehearse.namespaces import die_with_parent
from hostguard.rehearse.outcome import ONE_ACCOUNT
from hostguard.rehearse.outside import Outside, tell
from hostguard.rehearse.stage import Tell, furnish, rehearsable, resolver

ORDERS = f"{gateway.PLACE}/orders"
KEYS = {"keys": {"new": "new", "old": "old"}, "empty": {"new": "", "old": ""}}
CAPS = {False: (12.0, 20.0), True: (4.0, 4.0)}
"""Seconds that a call may take directly, and by the article's Envoy, which ends one after 15 s; and in a hurry."""
APART = 0.04
"""Seconds between the beginnings of two scripts: all at once would measure this machine."""
CONTROLLED = 0.1
"""Seconds between two questions to the provider without a fault."""
BEFORE_STRIKE = 0.7
"""Seconds of load before something is done to the gateway."""
ARTICLE_ADDRESS, ARTICLE_PORT, ARTICLE_READY = "127.0.0.85", 10_000, 60.0
SCRIPT = 110.0
"""Seconds after which a script is given up: it would be the rehearsal's own mistake."""


Job = tuple[Clone, str, Route]
"""A script, the way that it goes, and how it goes there."""


@dataclass(frozen=True)
class Act:
    """What is applied at one time, and who is asked then."""

    bundle: Mapping[str, Any]
    behind: gateway.Behind
    clones: tuple[Clone, ...]
    control: Clone


@dataclass(frozen=True)
class Play:
    acts: tuple[Act, ...]
    plans: tuple[Plan, ...]
    """All that stands in the world."""
    names: frozenset[str]
    """The policy's accounts."""
    fast: bool = False

    @property
    def clones(self) -> tuple[Clone, ...]:
        return tuple(clone for act in self.acts for clone in act.clones)


class Failed(Exception):
    """The play can't go on. The text says why."""


def play(p: Play, all_accounts: bool, tell_: Tell) -> None:
    """Set the stage, have every fault come, and tell what was seen, one dict a step."""
    try:
        _play(p, all_accounts, tell_)
    except Failed as failed:
        tell_({"error": str(failed)})


def _play(p: Play, all_accounts: bool, tell_: Tell) -> None:
    behind = p.acts[0].behind
    accounts = furnish(p.names, all_accounts, behind.members)
    Path("/etc/resolv.conf").write_text("nameserver 127.0.0.83\n", encoding="ascii")
    if reason := gateway.prepare(behind):
        raise Failed(reason)
    _put_keys(accounts[behind.account])
    outside, beside = _world(p)
    heard = _Heard()
    heard.listen(beside)
    for number, act in enumerate(p.acts):
        _act(act, accounts, all_accounts, tell_, first=not number)
    tell_({"step": "waiting for what is asked without the gateway"})
    heard.wait()
    tell_({"reached": outside.ask(do="reached")})
    for told in heard.told:
        tell_(told)


def _act(act: Act, accounts: Mapping[str, int], all_accounts: bool, tell_: Tell, *, first: bool) -> None:
    tell_({"step": "applying the policy"})
    able, unable = rehearsable(act.bundle["resources"], with_gateway=True)
    for reason in unable if first else ():
        tell_({"not rehearsed": reason})
    options = {"confirm_within": 0, "restart": False, "check": False}
    applied = transaction.apply({**act.bundle, "resources": able, "evidence": {}}, options, lambda _: None)
    if applied["outcome"] != "applied":
        raise Failed(f"apply: {applied.get('error') or '; '.join(applied.get('obstacles', [])) or applied['outcome']}")
    with resolver(able, all_accounts):
        gateway.settle(accounts[act.behind.account])
        with Running.of(act.behind, accounts, all_accounts) as running:
            if running.why_not:
                raise Failed(running.why_not)
            if all(clone.fault.act == 1 for clone in act.clones):
                _together(act, accounts, all_accounts, tell_)
            else:
                _one_by_one(act, accounts, running, tell_)


def _put_keys(uid: int) -> None:
    for name, folder in SECRETS.items():
        Path(folder).mkdir(mode=0o750)
        for which, key in KEYS[name].items():
            path = Path(folder, which)
            path.write_text(key, encoding="ascii")
            path.chmod(0o440)
            os.chown(path, uid, uid)
        os.chown(folder, uid, uid)
    for name in ("client.pem", "client.key"):
        os.chown(Path(gateway.PLACE, name), uid, uid)


def _world(p: Play) -> tuple[Outside, socket.socket]:
    """The world, wired to the host; and the line of who asks beside the host, without a gateway."""
    links.up("lo")
    settle()
    ours, theirs = socket.socketpair()

    def serve(line: socket.socket) -> None:
        begin, begun = os.pipe()
        if os.fork() == 0:
            die_with_parent()
            line.close()
            os.close(begun)
            os.read(begin, 1)
            _exit(lambda: _beside(p, theirs))
        theirs.close()
        os.close(begin)
        world.serve(line, p.plans, Path(gateway.PLACE), ORDERS, lambda: os.close(begun))

    outside = Outside(serve)
    theirs.close()
    links.wire(legs.OUT, world.WIRE, outside.pid)
    links.address(legs.OUT, links.HOST, links.HOST_V6)
    outer = outside.ask(hardware=legs.hardware_of(legs.OUT).hex())["hardware"]
    links.peer(legs.OUT, bytes.fromhex(outer), links.WORLD, links.WORLD_V6, links.LINK_LOCAL)
    links.default_route(links.WORLD, links.WORLD_V6)
    return outside, ours


def _exit(does: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        does()
        code = 0
    finally:
        os._exit(code)


# The ways


def _beside(p: Play, line: socket.socket) -> None:
    """In the world's network: straight to the providers, and by the article's Envoy."""
    clones = [clone for clone in p.clones if not clone.fault.directly]
    direct_cap, article_cap = CAPS[p.fast]
    jobs: list[Job] = [
        (clone, "direct", Directly(_host(clone, "direct"), clone.numbers.up.port, gateway.CA, direct_cap))
        for clone in clones
    ]
    doors = [
        article.Door(_host(clone, "article"), clone.numbers.up.port, ARTICLE_PORT + at)
        for at, clone in enumerate(clones)
    ]
    with _article(doors, p.fast) as reason:
        for clone, door in zip(clones, doors, strict=True):
            if reason:
                tell(line, {"clone": clone.name, "way": "article", "not tried": reason})
            else:
                route = Through(door.host, ARTICLE_ADDRESS, door.listen, article_cap, keyed=True)
                jobs.append((clone, "article", route))
        scripts(line, jobs)


def _host(clone: Clone, way: str) -> str:
    return clone.plans[way].hosts[0]


@contextlib.contextmanager
def _article(doors: Iterable[article.Door], fast: bool) -> Any:
    """Yields why it does not run, "" where it does."""
    folder = Path(gateway.PLACE)
    tree = article.bootstrap(doors, ARTICLE_ADDRESS, (links.WORLD, 53), fast)
    path = folder / "article.json"
    path.write_text(json.dumps(tree), encoding="ascii")
    with (folder / "article.said").open("wb") as log:
        argv = [
            gateway.PROGRAM,
            "-c",
            str(path),
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
        ]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + ARTICLE_READY
    reason = "the article's Envoy did not start"
    last = max((door.listen for door in doors), default=0)
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((ARTICLE_ADDRESS, last), 1):
            reason = ""
            break
        time.sleep(gateway.PAUSE)
    try:
        yield reason
    finally:
        process.kill()
        process.wait()


def _together(act: Act, accounts: Mapping[str, int], all_accounts: bool, tell_: Tell) -> None:
    tell_({"step": "every fault at once"})
    by_account: dict[str, list[Job]] = {}
    for clone in act.clones:
        if clone.account not in clone.numbers.up.users and not all_accounts:
            tell_({"clone": clone.name, "way": "gateway", "not tried": ONE_ACCOUNT})
        else:
            by_account.setdefault(clone.account, []).append(_through(act, clone))
    control = _controlled(act, accounts)
    heard = _Heard()
    for account, jobs in by_account.items():
        # mypy infers no lambda with a default; without one all would have the last jobs.
        heard.listen(_as(accounts[account], lambda line, jobs=jobs: scripts(line, jobs)))  # type: ignore[misc]
    heard.wait()
    control.shutdown(socket.SHUT_WR)
    heard.listen(control)
    heard.wait()
    for told in heard.told:
        tell_(told)


def _controlled(act: Act, accounts: Mapping[str, int]) -> socket.socket:
    """Ask the provider without a fault again and again, until the line has no more to say; then it is told what that
    took."""
    clone, _, route = _through(act, act.control)

    def ask(line: socket.socket) -> None:
        app = Application(clone.numbers, route, lambda _: None)
        while not select.select([line], [], [], CONTROLLED)[0]:
            app.safe()
        tell(line, {"control": [[app.began + call["at"], call["seconds"]] for call in app.calls]})

    return _as(accounts[clone.account], ask)


def _one_by_one(act: Act, accounts: Mapping[str, int], running: Running, tell_: Tell) -> None:
    for clone in act.clones:
        tell_({"step": clone.fault.title})
        tell_(_struck(_through(act, clone), accounts, running, tell_))


def _through(act: Act, clone: Clone) -> Job:
    return clone, "gateway", Through("provider", act.behind.address, clone.listen, clone.numbers.caller)


def _struck(job: Job, accounts: Mapping[str, int], running: Running, tell_: Tell) -> dict[str, Any]:
    """What a fault's script got while the fault was done to the gateway itself."""
    clone = job[0]
    heard = _Heard()
    heard.listen(_as(accounts[clone.account], lambda line: scripts(line, [job])))
    time.sleep(BEFORE_STRIKE)
    running.marks.clear()
    clone.fault.strikes(running)
    heard.wait()
    (told,) = heard.told
    began = told.get("began", 0.0)
    tell_({"control": [[began, running.took]]})
    return {**told, "marks": [{**mark, "at": mark["at"] - began} for mark in running.marks]}


def _as(uid: int, does: Callable[[socket.socket], None]) -> socket.socket:
    """Do this as an account, in a process of its own; the line on which it tells what it got."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        os.setgroups([]) if uid else None
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        die_with_parent()
        _exit(lambda: does(theirs))
    theirs.close()
    return ours


def scripts(line: socket.socket, jobs: Iterable[Job]) -> None:
    """Run each fault's script in a thread of its own, and tell what it got as soon as it has."""
    lock = threading.Lock()

    def run(clone: Clone, way: str, route: Route) -> None:
        told: dict[str, Any] = {"clone": clone.name, "way": way}
        time.sleep(clone.fault.after)
        try:
            with orders(ORDERS, clone.plans[way].key) as order:
                app = Application(clone.numbers, route, order)
                clone.fault.calls(app)
            told |= {"began": app.began, "calls": app.calls, "marks": app.marks}
        except Exception as error:  # a mistake in one script must not hide the others
            told["not tried"] = f"{type(error).__name__}: {error}"
        with lock:
            tell(line, told)

    threads = [threading.Thread(target=run, args=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
        time.sleep(APART)
    for thread in threads:
        thread.join(SCRIPT)


class _Heard:
    """What several processes tell, until each has ended."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.threads: list[threading.Thread] = []

    def listen(self, line: socket.socket) -> None:
        def hear() -> None:
            with line, line.makefile("r", encoding="utf-8") as lines:
                self.told.extend(map(json.loads, lines))

        thread = threading.Thread(target=hear, daemon=True)
        thread.start()
        self.threads.append(thread)

    def wait(self) -> None:
        for thread in self.threads:
            thread.join(SCRIPT)
