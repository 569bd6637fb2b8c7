"""The way back: undo what a transaction did, whatever cut it short."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional, Tuple

from . import names, store, systemctl, window
from .kinds import IN_THE_KERNEL, KINDS, WAY_BACK, trait
from .kinds import process as processes
from .kinds import unit as units
from .program import run
from .resource import UNREADABLE, HostError, Observation, Resource
from .snapshot import by_kind, differ, look

SYSTEMD_FILES, TMPFILES = "/etc/systemd/", "/etc/tmpfiles.d/"


def give_back(resources: List[Resource], captured: Dict[str, Any]) -> None:
    trouble = go_back(resources, captured)
    if trouble:
        raise HostError("; ".join(trouble))


def undo(record: store.Record, base: Optional[store.Record]) -> List[str]:
    """Make the host what it was before a transaction, with `base` in force (None: before hostguard). The host as it is
    now is the judge, and not the record.

    Returns what is not as it was, in words. To be tried again then: what is as it was stays untouched.
    """
    return go_back_to(record["touched"], record["before"], base)


def go_back_to(touched: List[Resource], before: Dict[str, Any], base: Optional[store.Record]) -> List[str]:
    others = _in_the_kernel(before, base)
    # The sets of rules that somebody flushed meanwhile: the rules that go back next may use them.
    said = _written_again(others, ("ipset",))
    said += go_back(touched, before)
    said += _written_again(others, ("ruleset", "frames"))
    names.refill(list(base["wanted"].values()) if base else [])
    left = not_as_before(touched, before) + _not_in_force(others)
    # A step that failed where all is as it was has failed at nothing.
    return list(dict.fromkeys(left + said)) if left else []


def _in_the_kernel(before: Dict[str, Any], base: Optional[store.Record]) -> List[Resource]:
    """What the generation that is to be in force has in the kernel, and the transaction left alone, or could not read.
    It is there, unless a boot, or a tool that flushes, came in between."""
    wanted = base["wanted"].values() if base else ()
    return [r for r in wanted if r["kind"] in IN_THE_KERNEL and r["id"] not in before]


def not_as_applied(record: store.Record) -> List[str]:
    """What is not as a transaction left it, once what the kernel lost is written again: of an apply all that its policy
    wanted. What a rollback touched is as somebody may have changed it before, and not as was wanted: of a rollback only
    the rest in the kernel is looked at."""
    wanted = list(record["wanted"].values())
    touched = {r["id"] for r in record["touched"]}
    if "gone" in record:
        wanted = [r for r in wanted if r["kind"] in IN_THE_KERNEL and r["id"] not in touched]
    kernel = [r for r in wanted if r["kind"] in IN_THE_KERNEL]
    said = _written_again(kernel, ("ipset",)) + _written_again(kernel, ("ruleset", "frames"))
    names.refill(list(record["wanted"].values()))
    if "areas" in record:
        touched |= {r["id"] for r in wanted if r["id"] not in store.of_other_areas(record, record["areas"])}
    looked_at = [r for r in wanted if r["id"] in touched and r["kind"] not in IN_THE_KERNEL]
    seen = look(looked_at)
    said += [each.reason for each in seen.values() if each.state == UNREADABLE]
    said += ["{} is not as it was applied ({})".format(r["id"], d.field)
             for r in looked_at for d in differ(r, seen[r["id"]]) if not d.restart]  # fmt: skip
    return list(dict.fromkeys(said + _not_in_force(kernel)))


def _written_again(resources: List[Resource], kinds: Tuple[str, ...]) -> List[str]:
    of_kinds = [r for r in resources if r["kind"] in kinds]
    trouble = []
    for kind, members in by_kind(of_kinds).items():
        try:
            seen = look(members)
            lost = [r for r in members if _lost(r, seen[r["id"]])]
            if lost:
                KINDS[kind].write(lost, seen)
        except Exception as error:  # whatever it is, the other steps are still to be made
            trouble.append("{}: {}".format(kind, words(error)))
    return trouble


def _not_in_force(resources: List[Resource]) -> List[str]:
    seen = look(resources)
    unread = [seen[r["id"]].reason for r in resources if seen[r["id"]].state == UNREADABLE]
    return unread + ["{} is not in force".format(r["id"]) for r in resources if _idle(r, seen[r["id"]])]


def _idle(resource: Resource, seen: Observation) -> bool:
    """Whether it is lost, or somebody has switched its table off, which is his to switch on."""
    return _lost(resource, seen) or any(d.field == "table" and d.blocked for d in differ(resource, seen))


def _lost(resource: Resource, seen: Observation) -> bool:
    """Whether it is not as it was written, for a reason that writing it again can mend: the rest is the audit's."""
    stands = trait(resource["kind"], "stands")
    if stands and stands(resource, seen):
        return False
    return any(not difference.blocked for difference in differ(resource, seen))


def not_as_before(touched: List[Resource], before: Dict[str, Any]) -> List[str]:
    found = []
    for kind, members in by_kind([r for r in touched if r["id"] in before]).items():
        try:
            now = (trait(kind, "after") or KINDS[kind].capture)(members)
        except Exception as error:  # what can't be read is not known to be as before
            found.append("{}: {}".format(kind, words(error)))
            continue
        as_before = KINDS[kind].as_before
        found += [
            "{} is not as it was".format(r["id"])
            for r in members
            if r["id"] not in now or not as_before(r, before[r["id"]], now[r["id"]])
        ]
    return found


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
            except Exception as error:  # also where no program can be started
                trouble.append(words(error))
    return trouble


class NotUndone(HostError):
    """A transaction that was cut short, or not confirmed, and is still half there."""

    def __init__(self, number: int, trouble: List[str]) -> None:
        super().__init__("generation {} can't be undone: {}".format(number, "; ".join(trouble)))
        self.number, self.trouble = number, trouble


def recover(booted: bool = False, expired: int = 0) -> List[int]:
    """Undo what was cut short: a transaction (power, SIGKILL), or a confirm window that a boot or its time closed, also
    where no watcher is left.

    The caller holds the lock, so nobody is writing. `booted`: a boot came in between, for sure. `expired`: nobody
    confirmed this generation in time. Returns the numbers of what was undone; raises HostError where it can't be.
    """
    undone = []
    pending = store.pending()
    closed = pending["generation"] if pending and (booted or window.is_over(pending)) else 0
    for record in store.newest_first():
        if record["status"] == store.WRITING:
            undone.append(_taken_back(record, store.FAILED))
        elif record["status"] == store.UNCONFIRMED and record["number"] in (closed, expired):
            undone.append(_taken_back(record, store.ROLLED_BACK))
    close_if_settled()
    return undone


def _taken_back(record: store.Record, status: str) -> int:
    trouble = undo(record, store.in_force(before=record["number"]))
    if trouble:
        raise NotUndone(record["number"], trouble)
    store.finish(record, status)
    return int(record["number"])


def close_if_settled() -> None:
    """A crash may come between a record's last word and the end of its window, and between a window's parts: the end is
    made up for here."""
    pending = store.pending()
    if pending is not None:
        status = next((r["status"] for r in store.newest_first() if r["number"] == pending["generation"]), None)
        if status in (store.WRITING, store.UNCONFIRMED):
            return
    if pending is not None or window.left_open():
        window.close()


def recover_rules() -> None:
    """Early in a boot: put back the rule files that were confirmed last, for the boot's own unit to load.

    The rest goes back later, with the whole of systemd there.
    """
    try:
        for record in store.newest_first():
            if record["status"] in (store.WRITING, store.UNCONFIRMED):
                files = [r for r in record["touched"] if r["kind"] == "file"]
                ours = [r for r in files if r["path"].startswith(store.BOOT_RULES + "/")]
                KINDS["file"].restore(ours, record["before"])
    except Exception:
        # The unit that loads them stays held, since they are not the ones to load: these go without files.
        _written_again(_in_the_kernel({}, store.in_force()), IN_THE_KERNEL)
        raise
    store.remove(store.HOLD)


def outlived(wanted: List[Resource]) -> List[str]:
    """Services that still run with what a generation gave them; slices that nothing runs in any more are let go."""
    groups = by_kind(wanted)
    owed = processes.outlived(groups.get("process", []))
    units.let_go([resource["unit"] for resource in groups.get("unit", []) if resource.get("ours")])
    return owed


def words(error: Exception) -> str:
    return str(error) if isinstance(error, (HostError, OSError)) else "{}: {}".format(type(error).__name__, error)


def reload_for(written: List[Resource]) -> None:
    """What systemd makes of these files: units, and the folders that tmpfiles.d(5) names."""
    if any(resource["path"].startswith(SYSTEMD_FILES) for resource in written):
        systemctl.reload()
    folders = [r["path"] for r in written if r["path"].startswith(TMPFILES) and os.path.exists(r["path"])]
    if folders and systemctl.systemd_runs():
        run(["systemd-tmpfiles", "--create", *folders])
