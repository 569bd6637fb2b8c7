"""Apply a bundle, all of it or none of it.

An apply looks, refuses what can't be done, records what it will replace, writes, looks again, and goes back by
itself unless everything it wrote is now seen as wanted.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from . import dropped, kept_file, lock, store, surroundings, systemctl, window
from .kinds import KINDS, process, sysctl
from .resource import MISSING, NOT_APPLICABLE, UNREADABLE, Difference, HostError, Observation, Resource
from .snapshot import by_kind, differ, look, observe
from .undisturbed import Progress, heard_or_not, undisturbed
from .way_back import (
    NotUndone,
    give_back,
    go_back_to,
    not_as_applied,
    not_as_before,
    outlived,
    recover,
    reload_for,
    undo,
    words,
)


def apply(bundle: Dict[str, Any], options: Dict[str, Any], progress: Progress) -> Dict[str, Any]:
    """Make the host what the bundle wants.

    Options: `confirm_within` (seconds, 0 for no window), `restart` (restart services that run with old values),
    `check` (say what would be done, and do nothing).
    Returns {"outcome": unchanged | blocked | would change | failed | unconfirmed | applied, …}; `undone` names what an
    earlier command had left half done, and was undone first. Raises HostError or OSError only while this bundle has
    touched nothing.
    """
    progress = heard_or_not(progress)
    surroundings.shared_with_services()
    if options["check"]:
        return _told(_prepare(bundle, options))
    with lock.locked():
        progress("looking")
        try:
            with undisturbed():
                undone = recover()
        except NotUndone as error:
            return _still_half(error)
        prepared = _prepare(bundle, options)
        if prepared.stops or not (prepared.changing or prepared.leftovers):
            return dict(_told(prepared), undone=undone)
        return dict(_carry_out(bundle, options, progress, prepared), undone=undone)


def confirm() -> int:
    """Keep what the last apply or rollback did; returns its generation. What the kernel lost of it meanwhile is written
    again. Raises TooLate if nothing waits any more, and HostError if this connection proves nothing, or the host is not
    as it was applied."""
    with lock.locked(), undisturbed():
        number = window.proven()
        record = next((r for r in store.newest_first() if r["number"] == number), None)
        if record is None or record["status"] != store.UNCONFIRMED:
            raise HostError("generation {} is not waiting any more".format(number))
        unlike = not_as_applied(record)
        if unlike:
            said = "generation {} is not kept, for this host is not as it was applied: {}: mend that and confirm again"
            raise HostError(said.format(number, "; ".join(unlike)))
        store.keep(record)
        window.end()
    return number


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
    _doubt(resources, differences)
    changing = [r for r in resources if _to_write(differences[r["id"]], options["restart"])]
    leftovers = store.leftovers(store.current(), resources, bundle["areas"])
    stops = _obstacles(resources, seen, differences)
    stops += [each.reason for each in look(leftovers).values() if each.state == UNREADABLE]
    stops += filter(None, [kept_file.stuck(r["path"]) for r in leftovers if r["kind"] in ("file", "lookup")])
    stops += dropped.overwritten(store.current(), resources)
    if (changing or leftovers) and systemctl.systemd_runs():
        kept_on = surroundings.forgotten()
        stops = list(dict.fromkeys([*stops, *([surroundings.FORGETS.format(kept_on)] if kept_on else [])]))
    return Prepared(resources, seen, differences, stops, changing, leftovers)


def _doubt(resources: List[Resource], differences: Dict[str, List[Difference]]) -> None:
    """A process may have been started again since somebody changed its files: it has the mark of those before."""
    changed = {r["path"] for r in resources if r["kind"] == "file" and differences[r["id"]]}
    doubted = {r["control"] for r in resources if changed.intersection(r.get("speaks_for", []))}
    for resource in resources:
        if "mark" in resource and resource["control"] in doubted and not differences[resource["id"]]:
            differences[resource["id"]] = [
                Difference("running", "with what was changed, maybe", "with what is on disk")
            ]


def _told(prepared: Prepared) -> Dict[str, Any]:
    if prepared.stops:
        return {"outcome": "blocked", "obstacles": prepared.stops}
    changes = prepared.changes()
    return {
        "outcome": "would change" if changes else "unchanged",
        "changes": changes,
        "owed": _owed(prepared.differences),
        "missing": _missing(prepared.seen),
    }


def _carry_out(
    bundle: Dict[str, Any], options: Dict[str, Any], progress: Progress, prepared: Prepared
) -> Dict[str, Any]:
    resources, seen, _, _, changing, leftovers = prepared
    previous = store.current()
    origins = dict(previous["origins"]) if previous else {}
    captured = _capture([r for r in resources if seen[r["id"]].state not in (NOT_APPLICABLE, MISSING)] + leftovers)
    for identity, what in captured.items():
        origins.setdefault(identity, what)
    record = store.new_record(bundle["policy"])
    touched = changing + leftovers
    record.update(
        touched=touched,
        before={r["id"]: captured[r["id"]] for r in touched},
        wanted={**store.of_other_areas(previous, bundle["areas"]), **{r["id"]: r for r in resources}},
        origins=origins,
        changes=prepared.changes(),
        areas=bundle["areas"],
    )
    left: Dict[str, List[Difference]] = {}
    restarted: List[str] = []
    outlived: Dict[str, str] = {}

    def write() -> List[str]:
        _write(changing, seen, progress, restarted)
        give_back(leftovers, origins)
        progress("looking again")
        kept = not_as_before(leftovers, origins)
        again, now = observe(resources)
        left.update({r["id"]: differ(r, now[r["id"]]) for r in again})
        processes = [r for r in again if r["kind"] == "process" and r["unit"] in restarted]
        outlived.update({r["id"]: process.outlived_restart(r, now[r["id"]]) for r in processes})
        return kept + _unreached({name: of for name, of in left.items() if not outlived.get(name)}, options["restart"])

    answer = _as_a_whole(record, options["confirm_within"], progress, write)
    if answer["outcome"] == "failed":
        return dict(answer, restarted=restarted)
    kept = sorted({each for each in outlived.values() if each})
    return dict(answer, owed=_owed(left), missing=_missing(seen), outlived=kept)


def _as_a_whole(
    record: store.Record, seconds: float, progress: Progress, write: Callable[[], List[str]]
) -> Dict[str, Any]:
    """Do a transaction, all of it or none. `write` changes the host and returns what it then sees not to be as wanted.

    Raises only where the record itself can't be saved, and so nothing is touched.
    """
    with undisturbed():
        try:
            store.save(record)
        except OSError as error:
            raise HostError(
                "what would be replaced can't be recorded ({}): nothing was touched".format(error)
            ) from None
        try:
            # Whatever is touched: a kernel parameter, or a login limit above fs.nr_open, cuts people off as rules do.
            window.arm(record["number"], seconds)
            still = write()
            if still:
                raise HostError("written, but not seen: " + "; ".join(still))
            if seconds:
                store.finish(record, store.UNCONFIRMED)
                window.wait()
            else:
                store.keep(record)
        except Exception as error:  # whatever it is, a host is never left half done
            progress("going back")
            return {
                "outcome": "failed",
                "generation": record["number"],
                "error": words(error),
                "trouble": _taken_back(record, words(error)),
            }
        if not seconds:
            window.end()
    return {
        "outcome": "unconfirmed" if seconds else "applied",
        "generation": record["number"],
        "changes": record["changes"],
        "session": window.connection_if_told(),
    }


def _taken_back(record: store.Record, why: str) -> List[str]:
    """Undo a transaction that failed; returns what went wrong. Then the record stays one that was cut short, which the
    host goes on undoing: see way_back.recover."""
    try:
        trouble = undo(record, store.in_force(before=record["number"]))
        if not trouble:
            store.finish(record, store.FAILED)
            # Only for the history: the state is written already, and a full disk takes no more.
            with contextlib.suppress(OSError):
                store.save(dict(record, error=why))
    except Exception as error:  # whatever it is, somebody must go on trying
        trouble = [words(error)]
    if trouble:
        window.keep_trying()
    else:
        window.end()
    return trouble


def rollback(to: Optional[int], options: Dict[str, Any], progress: Progress) -> Dict[str, Any]:
    """Go back to generation `to` (0: before hostguard), or by one: a transaction as an apply is one.

    Options as for `apply`. Raises HostError where there is no such generation. What was cut short, or waits to be
    confirmed, is undone first, and is a step of its own: without `to` it is the only one.
    Returns {"outcome": would change | failed | unconfirmed | rolled back | unchanged, "generation": where the host is
    then, "undone": […], …}. A service that was started under hostguard's limits runs on with them until it is
    restarted: `owed` names it, and `restart` restarts it.
    """
    progress = heard_or_not(progress)
    surroundings.shared_with_services()
    if options["check"]:
        cut_short = [record["number"] for record in store.newest_first() if record["status"] == store.WRITING]
        return _rollback(to, options, progress, cut_short, [])
    with lock.locked(), undisturbed():
        progress("looking")
        waiting = store.pending()
        try:
            undone = recover(expired=waiting["generation"] if waiting else 0)
        except NotUndone as error:
            return _still_half(error)
        gone = [record for record in store.records() if record["number"] in undone]
        return _rollback(to, options, progress, undone, gone)


def _rollback(
    to: Optional[int], options: Dict[str, Any], progress: Progress, undone: List[int], over: List[store.Record]
) -> Dict[str, Any]:
    newest = next(store.newest_first(), None)
    # What failed was undone, if not now then by the host itself: that was the step back, whoever made it.
    stepped = undone or ([newest["number"]] if newest and newest["status"] == store.FAILED else [])
    back = _course(to, stepped)
    numbers = [record["number"] for record in reversed(back.gone)]
    if options["check"]:
        changes = _changes_back(back)
        return {
            "outcome": "would change" if numbers or undone else "unchanged",
            "to": back.target,
            "generation": back.target,
            "owed": [],
            "gone": numbers,
            "undone": stepped,
            "changes": changes,
            "resources": list(back.touched.values()),
            "policy": back.base["policy"] if back.base else None,
        }
    answer: Dict[str, Any] = {"outcome": "rolled back" if undone else "unchanged", "changes": []}
    if back.gone:
        answer = _back(back, options, progress)
        if answer["outcome"] == "failed":
            return dict(answer, to=back.target, undone=undone)
    wanted = [resource for record in over + back.gone for resource in record["wanted"].values()]
    owed: List[str] = []
    unseen = ""
    try:
        owed = outlived(wanted)
        if options["restart"] and owed:
            progress("restarting {}".format(", ".join(owed)))
            systemctl.restart(owed)
            owed = outlived(wanted)
    except Exception as error:  # whatever it is, the rollback is done, and must not be told as one that touched nothing
        unseen = words(error)
    generation = answer.get("generation", back.target)
    return dict(answer, to=back.target, generation=generation, undone=stepped + numbers, owed=owed, unseen=unseen)


class Course(NamedTuple):
    """Where a rollback goes: the generation that is in force then (None: before hostguard), those that are `gone`,
    oldest first, what they touched, and what the oldest of them found there."""

    target: int
    base: Optional[store.Record]
    gone: List[store.Record]
    touched: Dict[str, Resource]
    before: Dict[str, Any]


def _course(to: Optional[int], stepped: List[int]) -> Course:
    """`stepped`: these are undone already, so that one step back is made."""
    kept = [record for record in store.records() if record["status"] in store.IN_FORCE]
    numbers = [0] + [record["number"] for record in kept]
    if to is None and not kept and not stepped:
        raise HostError("there is nothing to roll back: no generation is in force (see `hostguard history`)")
    target = to if to is not None else numbers[-1] if stepped else numbers[-2]
    if target not in numbers:
        undone = "; undone before that: {}".format(", ".join(map(str, stepped))) if stepped else ""
        in_force = ", ".join(map(str, numbers))
        raise HostError("there is no generation {} to go back to; in force: {}{}".format(target, in_force, undone))
    gone = [record for record in kept if record["number"] > target]
    return Course(
        target,
        next((record for record in kept if record["number"] == target), None),
        gone,
        {r["id"]: r for record in gone for r in record["touched"]},
        _oldest(gone),
    )


def _oldest(gone: List[store.Record]) -> Dict[str, Any]:
    """What each thing was before the first of these generations touched it."""
    before: Dict[str, Any] = {}
    for record in reversed(gone):
        before.update(record["before"])
        sysctl.carry_over(record["before"], before)
    return before


def _back(way: Course, options: Dict[str, Any], progress: Progress) -> Dict[str, Any]:
    """Undo generations at one stroke."""
    base, touched = way.base, list(way.touched.values())
    changes = _changes_back(way)
    record = store.new_record(base["policy"] if base else {"path": "before hostguard", "sha256": ""})
    record.update(
        to=way.target,
        gone=[other["number"] for other in way.gone],
        touched=touched,
        before=_capture(touched),
        wanted=base["wanted"] if base else {},
        origins=base["origins"] if base else {},
        changes=changes,
    )

    def write() -> List[str]:
        progress("going back")
        return go_back_to(touched, way.before, base)

    answer = _as_a_whole(record, options["confirm_within"], progress, write)
    return {"outcome": "rolled back", "changes": changes} if answer["outcome"] == "applied" else answer


def _changes_back(way: Course) -> List[List[str]]:
    """[resource, field, have, want, blocked, restart] of what goes back, in the terms of the generation it goes to."""
    wanted = way.base["wanted"] if way.base else {}
    again = [wanted[identity] for identity in way.touched if identity in wanted]
    seen = look(again)
    changes = [[r["id"], *list(d)] for r in again for d in differ(r, seen[r["id"]])]
    others = [r for identity, r in way.touched.items() if identity not in wanted]
    now = _capture(others)
    for resource in others:
        identity = resource["id"]
        as_before = KINDS[resource["kind"]].as_before
        if identity in now and not as_before(resource, way.before[identity], now[identity]):
            changes.append([identity, "given back", "what a later generation put there", "", "", ""])
    return changes


def _still_half(error: NotUndone) -> Dict[str, Any]:
    window.keep_trying()
    said = "it was cut short, or not confirmed, and is not undone yet"
    return {"outcome": "failed", "generation": error.number, "error": said, "trouble": error.trouble}


def _to_write(found: List[Difference], restart: bool) -> bool:
    return any(restart or not difference.restart for difference in found)


def _owed(differences: Dict[str, List[Difference]]) -> List[str]:
    """Units that run with old values until they are restarted."""
    return sorted({d.restart for found in differences.values() for d in found if d.restart})


def _missing(seen: Dict[str, Observation]) -> List[str]:
    """What the policy names and this host has not: what was written for it acts once it is there."""
    return sorted({each.reason for each in seen.values() if each.state == MISSING})


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
        try:
            captured.update(KINDS[kind].capture(members))
        except (KeyError, IndexError, ValueError) as error:  # odd words of a program: see snapshot.read
            raise HostError("{}: {}".format(kind, words(error))) from None
    return captured


def _write(changing: List[Resource], seen: Dict[str, Observation], progress: Progress, restarted: List[str]) -> None:
    for kind, members in by_kind(changing).items():
        progress("writing {} {}{}".format(len(members), kind, "s" if len(members) > 1 else ""))
        if kind == "process":
            restarted += sorted({r["unit"] for r in members})
        KINDS[kind].write(members, seen)
        if kind == "file":
            reload_for(members)


def _unreached(left: Dict[str, List[Difference]], restart: bool) -> List[str]:
    return [
        "{} {} differs".format(identity, d.field)
        if "\n" in d.have + d.want  # whole files; which of their lines, `hostguard plan` tells
        else "{} {} is {}, not {}".format(identity, d.field, d.have or "absent", d.want)
        for identity, found in left.items()
        for d in found
        if not d.restart or restart
    ]
