"""The way back: undo what a generation did, whatever cut it short, and roll back to an earlier one."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from . import store, window
from .kinds import IN_THE_KERNEL, KINDS
from .kinds import process as processes
from .kinds import unit as units
from .resource import VALUE, HostError, Resource
from .snapshot import by_kind
from .undisturbed import Progress, heard_or_not, undisturbed

SYSTEMD_FILES = "/etc/systemd/"

# The rules first, since they may be what cuts the host off; lookups go elsewhere before who answers them stops; units
# are stopped while systemd still knows them, and started once their files are back.
WAY_BACK: Tuple[Tuple[str, str], ...] = (
    ("frames", "restore"),
    ("ipset", "restore"),
    ("ruleset", "restore"),
    ("ipset", "withdraw"),
    ("lookup", "restore"),
    ("unit", "withdraw"),
    ("file", "restore"),
    ("sysctl", "restore"),
    ("mount", "restore"),
    ("unit", "restore"),
    ("slice", "restore"),
)


def give_back(resources: List[Resource], captured: Dict[str, Any]) -> None:
    trouble = go_back(resources, captured)
    if trouble:
        raise HostError("; ".join(trouble))


def undo(record: store.Record) -> List[str]:
    touched: List[Resource] = record["touched"]
    if not _rules_were_lost(record):
        return go_back(touched, record["before"])
    trouble = go_back([r for r in touched if r["kind"] not in IN_THE_KERNEL], record["before"])
    return trouble + units.start_again(store.BOOT_UNIT)


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


def go_back(resources: List[Resource], captured: Dict[str, Any]) -> List[str]:
    """Every step is tried, whatever became of the one before; returns what went wrong.

    But where lookups can't be sent elsewhere, who answers them runs on, with all that is its control's.
    """
    groups = by_kind([r for r in resources if r["id"] in captured])
    trouble = []
    kept: List[str] = []
    for kind, step in WAY_BACK:
        members = [r for r in groups.get(kind, []) if r["control"] not in kept]
        if not members:
            continue
        try:
            getattr(KINDS[kind], step)(members, {r["id"]: captured[r["id"]] for r in members})
        except Exception as error:  # whatever it is, the other steps are still to be made
            trouble.append("{}: {}".format(kind, words(error)))
            kept += [r["control"] for r in members if kind == "lookup"]
        if (kind, step) == ("file", "restore"):
            try:
                reload_for(members)
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
    for record in store.newest_first():
        cut_short = record["status"] == store.WRITING
        if cut_short or (record["status"] == store.UNCONFIRMED and record["number"] == closed):
            trouble = undo(record)
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
    status = next((r["status"] for r in store.newest_first() if r["number"] == pending["generation"]), None)
    if status not in (store.WRITING, store.UNCONFIRMED):
        window.close()


def recover_rules() -> None:
    """Early in a boot: put back the rule files that were confirmed last, for the boot's own unit to load.

    The rest goes back later, with the whole of systemd there.
    """
    for record in store.newest_first():
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
    progress = heard_or_not(progress)
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
        with undisturbed():
            for record in reversed(in_force):
                if record["number"] <= target:
                    break
                progress("undoing generation {}".format(record["number"]))
                trouble = undo(record)
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


def words(error: Exception) -> str:
    return str(error) if isinstance(error, (HostError, OSError)) else "{}: {}".format(type(error).__name__, error)


def reload_for(written: List[Resource]) -> None:
    if any(resource["path"].startswith(SYSTEMD_FILES) for resource in written):
        units.reload()
