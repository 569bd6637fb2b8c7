"""Apply a bundle, all of it or none of it, and go back.

An apply looks, refuses what can't be done, records what it will replace, writes, looks again, and goes back by
itself unless everything it wrote is now seen as wanted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import store, window
from .kinds import KINDS
from .kinds import process as processes
from .kinds import unit as units
from .resource import NOT_APPLICABLE, UNREADABLE, VALUE, Difference, HostError, Observation, Resource
from .snapshot import by_kind, differ, observe

Progress = Callable[[str], None]
"""Told in a few words what happens next."""

SYSTEMD_FILES = "/etc/systemd/"

# The rules first, since they may be what cuts the host off; units are stopped while systemd still knows them, and
# started once their files are back.
WAY_BACK: Tuple[Tuple[str, str], ...] = (
    ("ipset", "restore"),
    ("ruleset", "restore"),
    ("ipset", "withdraw"),
    ("unit", "withdraw"),
    ("file", "restore"),
    ("sysctl", "restore"),
    ("mount", "restore"),
    ("unit", "restore"),
    ("slice", "restore"),
)


def apply(bundle: Dict[str, Any], options: Dict[str, Any], progress: Progress) -> Dict[str, Any]:
    """Make the host what the bundle wants.

    Options: `confirm_within` (seconds, 0 for no window), `restart` (restart services that run with old values),
    `check` (say what would be done, and do nothing).
    Returns {"outcome": unchanged | blocked | would change | failed | unconfirmed | applied, …}. Raises HostError only
    while nothing has been touched.
    """
    progress = _heard_or_not(progress)
    if options["check"]:
        return _told(_prepare(bundle, options))
    with store.locked():
        progress("looking")
        recover()
        prepared = _prepare(bundle, options)
        if prepared.stops or not (prepared.changing or prepared.leftovers):
            return _told(prepared)
        return _carry_out(bundle, options, progress, prepared)


class Prepared(NamedTuple):
    """What an apply is about to do, and why it may not."""

    resources: List[Resource]
    seen: Dict[str, Observation]
    differences: Dict[str, List[Difference]]
    stops: List[str]
    changing: List[Resource]
    leftovers: List[Resource]

    def changes(self) -> List[List[str]]:
        """[resource, field, have, want, blocked, restart], each."""
        written = [[r["id"], *list(d)] for r in self.changing for d in self.differences[r["id"]]]
        return written + [[r["id"], "removed", "", "as before hostguard", "", ""] for r in self.leftovers]


def _prepare(bundle: Dict[str, Any], options: Dict[str, Any]) -> Prepared:
    if store.pending():
        raise HostError("the last apply waits to be confirmed: `hostguard confirm` or `hostguard rollback` first")
    resources, seen = observe(bundle["resources"])
    differences = {r["id"]: differ(r, seen[r["id"]]) for r in resources}
    changing = [r for r in resources if _to_write(differences[r["id"]], options["restart"])]
    leftovers = store.leftovers(store.current(), resources, bundle["areas"])
    return Prepared(resources, seen, differences, _obstacles(resources, seen, differences), changing, leftovers)


def _told(prepared: Prepared) -> Dict[str, Any]:
    if prepared.stops:
        return {"outcome": "blocked", "obstacles": prepared.stops}
    changes = prepared.changes()
    return {
        "outcome": "would change" if changes else "unchanged",
        "changes": changes,
        "owed": _owed(prepared.differences),
    }


def _carry_out(
    bundle: Dict[str, Any], options: Dict[str, Any], progress: Progress, prepared: Prepared
) -> Dict[str, Any]:
    resources, seen, _, _, changing, leftovers = prepared
    previous = store.current()
    origins = dict(previous["origins"]) if previous else {}
    captured = _capture([r for r in resources if seen[r["id"]].state != NOT_APPLICABLE] + leftovers)
    for identity, what in captured.items():
        origins.setdefault(identity, what)
    record = store.new_record(bundle)
    touched = changing + leftovers
    record.update(
        touched=touched,
        before={r["id"]: captured[r["id"]] for r in touched},
        wanted={**store.of_other_areas(previous, bundle["areas"]), **{r["id"]: r for r in resources}},
        origins=origins,
        changes=prepared.changes(),
    )
    with _undisturbed():
        store.save(record)
        try:
            # Whatever is touched: a kernel parameter, or a login limit above fs.nr_open, cuts people off as rules do.
            window.arm(record["number"], options["confirm_within"])
            _write(changing, seen, progress)
            _give_back(leftovers, origins)
            progress("looking again")
            still = _unreached(resources, options["restart"])
            if still:
                raise HostError("written, but not seen: " + "; ".join(still))
        except Exception as error:  # whatever it is, a host is never left half done
            progress("going back")
            trouble = _undo(record)
            if trouble:
                window.keep_trying()  # the record stays one that was cut short: see `recover`
            else:
                record["status"] = store.FAILED
                store.save(record)
                window.close()
            return {
                "outcome": "failed",
                "generation": record["number"],
                "error": _words(error),
                "trouble": trouble,
            }
        armed = bool(options["confirm_within"])
        record["status"] = store.UNCONFIRMED if armed else store.APPLIED
        store.save(record)
        if armed:
            window.wait()
        else:
            window.close()
    _, after = observe(bundle["resources"])
    owed = _owed({r["id"]: differ(r, after[r["id"]]) for r in resources})
    return {
        "outcome": "unconfirmed" if armed else "applied",
        "generation": record["number"],
        "changes": record["changes"],
        "owed": owed,
    }


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, (HostError, OSError)) else "{}: {}".format(type(error).__name__, error)


def _to_write(found: List[Difference], restart: bool) -> bool:
    return any(restart or not difference.restart for difference in found)


def _owed(differences: Dict[str, List[Difference]]) -> List[str]:
    """Units that run with old values until they are restarted."""
    return sorted({d.restart for found in differences.values() for d in found if d.restart})


def _obstacles(
    resources: List[Resource], seen: Dict[str, Observation], differences: Dict[str, List[Difference]]
) -> List[str]:
    """Why this bundle can't be applied here, one line each; none of it is touched then."""
    found = [d.blocked for r in resources for d in differences[r["id"]] if d.blocked]
    found += [seen[r["id"]].reason for r in resources if not r.get("blocked") and seen[r["id"]].state == UNREADABLE]
    return list(dict.fromkeys(found))


def _capture(resources: List[Resource]) -> Dict[str, Any]:
    captured: Dict[str, Any] = {}
    for kind, members in by_kind(resources).items():
        captured.update(KINDS[kind].capture(members))
    return captured


def _write(changing: List[Resource], seen: Dict[str, Observation], progress: Progress) -> None:
    for kind, members in by_kind(changing).items():
        progress("writing {} {}{}".format(len(members), kind, "s" if len(members) > 1 else ""))
        KINDS[kind].write(members, seen)
        if kind == "file":
            _reload(members)


def _reload(written: List[Resource]) -> None:
    if any(resource["path"].startswith(SYSTEMD_FILES) for resource in written):
        units.reload()


def _unreached(resources: List[Resource], restart: bool) -> List[str]:
    _, seen = observe(resources)
    return [
        "{} {} is {}, not {}".format(r["id"], d.field, d.have or "absent", d.want)
        for r in resources
        for d in differ(r, seen[r["id"]])
        if not d.restart or restart
    ]


def _give_back(resources: List[Resource], captured: Dict[str, Any]) -> None:
    trouble = _go_back(resources, captured)
    if trouble:
        raise HostError("; ".join(trouble))


def _undo(record: store.Record) -> List[str]:
    touched: List[Resource] = record["touched"]
    if not _rules_were_lost(record):
        return _go_back(touched, record["before"])
    trouble = _go_back([r for r in touched if r["kind"] not in IN_THE_KERNEL], record["before"])
    return trouble + units.start_again(store.BOOT_UNIT)


IN_THE_KERNEL = ("ipset", "ruleset")


def _rules_were_lost(record: store.Record) -> bool:
    """Whether a boot came since the rules were written: then the boot's own files are what they are loaded from.

    Seen in the kernel rather than told by the boot's number: a container keeps that, a soft reboot keeps both.
    """
    rulesets = [r for r in record["touched"] if r["kind"] == "ruleset"]
    if all(record["before"].get(r["id"], {}).get("rules") is None for r in rulesets):
        return False  # none were there: taking away what may be there needs nothing that a boot took
    seen = KINDS["ruleset"].read(rulesets)
    known = [o.value for o in seen.values() if o.state == VALUE]
    return bool(known) and all(have["rules"] is None for have in known)


def _go_back(resources: List[Resource], captured: Dict[str, Any]) -> List[str]:
    """Every step is tried, whatever became of the one before; returns what went wrong."""
    groups = by_kind([r for r in resources if r["id"] in captured])
    trouble = []
    for kind, step in WAY_BACK:
        members = groups.get(kind, [])
        if not members:
            continue
        try:
            getattr(KINDS[kind], step)(members, {r["id"]: captured[r["id"]] for r in members})
        except Exception as error:  # whatever it is, the other steps are still to be made
            trouble.append("{}: {}".format(kind, _words(error)))
        if (kind, step) == ("file", "restore"):
            try:
                _reload(members)
            except HostError as error:
                trouble.append(str(error))
    return trouble


def recover(booted: bool = False) -> List[int]:
    """Undo what was cut short: a transaction (power, SIGKILL), or a confirm window that a boot closed.

    The caller holds the lock, so nobody is writing. `booted`: a boot came in between, for sure.
    """
    undone = []
    pending = store.pending()
    closed = pending["generation"] if pending and (booted or pending["boot"] != window.boot_id()) else 0
    for record in reversed(store.records()):
        cut_short = record["status"] == store.WRITING
        if cut_short or (record["status"] == store.UNCONFIRMED and record["number"] == closed):
            trouble = _undo(record)
            if trouble:
                raise HostError(
                    "generation {} was cut short and can't be undone: {}".format(record["number"], "; ".join(trouble))
                )
            record["status"] = store.FAILED if cut_short else store.ROLLED_BACK
            store.save(record)
            window.close()
            undone.append(record["number"])
    _close_if_settled()
    return undone


def _close_if_settled() -> None:
    """A crash may come between a record's last word and the end of its window: that end is made up for here."""
    pending = store.pending()
    if pending is None:
        return
    status = next((r["status"] for r in store.records() if r["number"] == pending["generation"]), None)
    if status not in (store.WRITING, store.UNCONFIRMED):
        window.close()


def recover_rules() -> None:
    """Early in a boot: put back the rule files that were confirmed last, for the boot's own unit to load.

    The rest goes back later, with the whole of systemd there.
    """
    for record in reversed(store.records()):
        if record["status"] in (store.WRITING, store.UNCONFIRMED):
            files = [r for r in record["touched"] if r["kind"] == "file"]
            ours = [r for r in files if r["path"].startswith(store.BOOT_RULES + "/")]
            KINDS["file"].restore(ours, record["before"])
    store.remove(store.HOLD)


def rollback(to: Optional[int], progress: Progress, expired: int = 0, restart: bool = False) -> Dict[str, Any]:
    """Go back to generation `to` (0: before hostguard), or by one. Raises HostError where there is no such one.

    A service that was started under hostguard's limits runs on with them until it is restarted: `owed` names it,
    and `restart` restarts it.

    With `expired` it is the watcher that asks, for this generation alone: one that was confirmed or undone
    between its look and the lock stays as it is.
    """
    progress = _heard_or_not(progress)
    with store.locked():
        undone = recover()
        in_force = [record for record in store.records() if record["status"] in store.IN_FORCE]
        latest = in_force[-1] if in_force else None
        if expired and (latest is None or (latest["number"], latest["status"]) != (expired, store.UNCONFIRMED)):
            return {"outcome": "unchanged"}
        numbers = [0] + [record["number"] for record in in_force]
        if not in_force:
            if undone:
                return {"outcome": "rolled back", "generation": 0, "undone": undone, "owed": []}
            raise HostError("there is nothing to roll back: no generation is in force (see `hostguard history`)")
        target = numbers[-2] if to is None else to
        if target not in numbers:
            raise HostError(
                "there is no generation {} to go back to; in force: {}".format(target, ", ".join(map(str, numbers)))
            )
        gone = [record for record in in_force if record["number"] > target]
        with _undisturbed():
            for record in reversed(in_force):
                if record["number"] <= target:
                    break
                progress("undoing generation {}".format(record["number"]))
                trouble = _undo(record)
                if trouble:
                    return {"outcome": "failed", "generation": record["number"], "trouble": trouble}
                record["status"] = store.ROLLED_BACK
                store.save(record)
                undone.append(record["number"])
            window.close()
        wanted = [resource for record in gone for resource in record["wanted"].values()]
        owed = _outlived(wanted)
        if restart and owed:
            progress("restarting {}".format(", ".join(owed)))
            units.restart(owed)
            owed = _outlived(wanted)
        return {"outcome": "rolled back", "generation": target, "undone": undone, "owed": owed}


def _outlived(wanted: List[Resource]) -> List[str]:
    """Services that still run with what a generation gave them; slices that nothing runs in any more are let go."""
    groups = by_kind(wanted)
    owed = processes.outlived(groups.get("process", []))
    units.let_go([resource["unit"] for resource in groups.get("unit", []) if resource.get("ours")])
    return owed


def _heard_or_not(progress: Progress) -> Progress:
    """Who listens may be gone, with his terminal: that must not be what breaks off a way back."""

    def tell(words: str) -> None:
        with contextlib.suppress(Exception):
            progress(words)

    return tell


HELD = ("SIGHUP", "SIGINT", "SIGTERM", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A session that ends, a Ctrl-C or a Ctrl-Z waits until the host is whole again.

    Handled, not masked: a mask is one thread's, and the signal would take another one's way to the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: List[int] = []
    before = {s: signal.signal(s, lambda number, _: came.append(number)) for s in (getattr(signal, n) for n in HELD)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(came):
            os.kill(os.getpid(), number)
