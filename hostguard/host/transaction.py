"""Apply a bundle, all of it or none of it.

An apply looks, refuses what can't be done, records what it will replace, writes, looks again, and goes back by
itself unless everything it wrote is now seen as wanted.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple

from . import store, window
from .kinds import KINDS
from .resource import NOT_APPLICABLE, UNREADABLE, Difference, HostError, Observation, Resource
from .snapshot import by_kind, differ, observe
from .undisturbed import Progress, heard_or_not, undisturbed
from .way_back import give_back, recover, reload_for, undo, words


def apply(bundle: Dict[str, Any], options: Dict[str, Any], progress: Progress) -> Dict[str, Any]:
    """Make the host what the bundle wants.

    Options: `confirm_within` (seconds, 0 for no window), `restart` (restart services that run with old values),
    `check` (say what would be done, and do nothing).
    Returns {"outcome": unchanged | blocked | would change | failed | unconfirmed | applied, …}. Raises HostError only
    while nothing has been touched.
    """
    progress = heard_or_not(progress)
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
    with undisturbed():
        store.save(record)
        try:
            # Whatever is touched: a kernel parameter, or a login limit above fs.nr_open, cuts people off as rules do.
            window.arm(record["number"], options["confirm_within"])
            _write(changing, seen, progress)
            give_back(leftovers, origins)
            progress("looking again")
            left = _differences(resources)
            still = _unreached(left, options["restart"])
            if still:
                raise HostError("written, but not seen: " + "; ".join(still))
        except Exception as error:  # whatever it is, a host is never left half done
            progress("going back")
            trouble = undo(record)
            if trouble:
                window.keep_trying()  # the record stays one that was cut short: see way_back.recover
            else:
                record["status"] = store.FAILED
                store.save(record)
                window.close()
            return {
                "outcome": "failed",
                "generation": record["number"],
                "error": words(error),
                "trouble": trouble,
            }
        armed = bool(options["confirm_within"])
        record["status"] = store.UNCONFIRMED if armed else store.APPLIED
        store.save(record)
        if armed:
            window.wait()
        else:
            window.keep()
    return {
        "outcome": "unconfirmed" if armed else "applied",
        "generation": record["number"],
        "changes": record["changes"],
        "owed": _owed(left),
    }


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
            reload_for(members)


def _differences(resources: List[Resource]) -> Dict[str, List[Difference]]:
    _, seen = observe(resources)
    return {r["id"]: differ(r, seen[r["id"]]) for r in resources}


def _unreached(left: Dict[str, List[Difference]], restart: bool) -> List[str]:
    return [
        "{} {} differs".format(identity, d.field)
        if "\n" in d.have + d.want  # whole files; which of their lines, `hostguard plan` tells
        else "{} {} is {}, not {}".format(identity, d.field, d.have or "absent", d.want)
        for identity, found in left.items()
        for d in found
        if not d.restart or restart
    ]
