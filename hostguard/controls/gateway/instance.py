"""The gateway's process: one unit, in which a new Envoy takes over from the one that runs whenever what it is started
with changes; and the folders and files that it needs.

The unit's own reload does that, and not two units that take turns: a slice, limits and an audit name one service,
what a boot starts is always the same, and whoever replaces Envoy's file hands over by `systemctl reload`. systemd runs
the reload with the unit's newest settings, so that a sandbox changes without a gap too, and follows the PID file to
the new process when the old one ends.
"""

from __future__ import annotations

import inspect
import math
import shlex
from collections.abc import Mapping

from hostguard.controls import mark
from hostguard.controls.text import render
from hostguard.host import takeover
from hostguard.host.kinds import file, unit, xds
from hostguard.host.resource import Resource
from hostguard.policy import keys
from hostguard.policy.gateway import ADMIN, FOLDER, LOGS, RUN, UNIT, XDS, Gateway

CONTROL, LOG, ROUTES = "gateway.instance", "gateway.log", "gateway.routes"
BOOTSTRAP, TWIN, TRUST = f"{FOLDER}/bootstrap.json", f"{FOLDER}/twin.json", f"{FOLDER}/trust.json"
MARK, START = f"{FOLDER}/mark", f"{FOLDER}/start"
FOLDERS = f"{FOLDER}/folders.conf"
"""For the unit alone: among tmpfiles.d(5) they would be made before the tmpfs is mounted, on the disk beneath."""
TMPFILES, LOGROTATE = "/etc/tmpfiles.d/hostguard-gateway.conf", "/etc/logrotate.d/hostguard-gateway"


def resources(g: Gateway, *, bootstrap: str, twin: str, trust: str, secrets: Mapping[str, str]) -> list[Resource]:
    """The unit and its files. `bootstrap` is what Envoy starts with; `trust` names whom the clusters trust, and
    `secrets`, by their paths, the files of their keys. `twin` is all of it with the listeners and clusters in place,
    which Envoy tries before anything is written: in the files of `XDS` it would overlook nonsense. It opens the logs
    that the twin names, and their folder may not be there yet.
    """
    program = inspect.getsource(takeover)
    service = _service(g)
    files = {BOOTSTRAP: bootstrap, TRUST: trust, **secrets, START: program, f"/etc/systemd/system/{UNIT}": service}
    check = [g.program, "--mode", "validate", "--log-level", "critical", "--log-format", "%v", "-c", "{}"]
    return [
        mark.resource(CONTROL, MARK, files),
        file.resource(CONTROL, TWIN, twin, check=check, **{"as": f"${{uid:{g.account}}}"}),
        *(file.resource(CONTROL, path, content) for path, content in files.items()),
        *([file.resource(CONTROL, FOLDERS, _folders_of_secrets(g))] if g.secrets else []),
        file.resource(CONTROL, TMPFILES, _folders(g), makes=[*_folders_of_sockets(g), ADMIN.rpartition("/")[0], RUN]),
        unit.resource(CONTROL, UNIT, {}, ours=True, enabled=True, active=True, mark=mark.of(files.values())),
    ]


def log() -> Resource:
    """What rotates its log."""
    return file.resource(LOG, LOGROTATE, render("gateway-logrotate.j2", logs=LOGS, unit=UNIT))


def routes(g: Gateway, *, clusters: str, listeners: str) -> Resource:
    """What the running Envoy has of clusters and listeners."""
    user = f"${{uid:{g.account}}}"
    return xds.resource(ROUTES, XDS, ADMIN, user, _drain(g), clusters=clusters, listeners=listeners)


def _drain(g: Gateway) -> int:
    """Whole seconds, as Envoy takes them."""
    return math.ceil(g.drain)


def _service(g: Gateway) -> str:
    options = {
        "program": g.program,
        **({"sha256": g.sha256} if g.sha256 else {}),
        "bootstrap": BOOTSTRAP,
        "admin": ADMIN,
        "pid-file": f"{RUN}/pid",
        "drain": str(_drain(g)),
        "workers": str(g.workers),
    }
    words = " ".join(f"--{name} {shlex.quote(said)}" for name, said in options.items())
    return render(
        "gateway.service.j2",
        account=g.account,
        mark=MARK,
        names="hostguard-names.service",
        agent=keys.UNIT if g.secrets else "",
        tmpfiles=TMPFILES,
        folders=FOLDERS if g.secrets else "",
        start=f"${{program:python3}} -I {START} {words}",
        seconds=int(takeover.READY + 2 * takeover.ENDED) + _drain(g) + 30,
        run=RUN,
        run_name=RUN.rpartition("/")[2],
        logs_name=LOGS.rpartition("/")[2],
        files=g.nofile,
        slice=g.slice,
    )


def _folders_of_sockets(g: Gateway) -> list[str]:
    return [f"{RUN}/{upstream.name}" for upstream in g.upstreams if upstream.group]


def _folders(g: Gateway) -> str:
    return render(
        "gateway-tmpfiles.j2",
        run=RUN,
        xds=XDS,
        uid=f"${{uid:{g.account}}}",
        folders=[(upstream.name, upstream.group) for upstream in g.upstreams if upstream.group],
    )


def _folders_of_secrets(g: Gateway) -> str:
    return render("gateway-folders.j2", secrets=sorted({folder for place in g.secrets for folder in place.folders}))
