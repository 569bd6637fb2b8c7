"""How the running gateway stands, by its admin: what it counted since it was started, the addresses that it knows, and
the certificates that it has. Names of counters are ours or Envoy's, values are whole numbers."""

from __future__ import annotations

import json
import re
import time
from typing import Any, Dict

from ..envoy_admin import ask
from ..resource import HostError
from . import Request
from .gateway import kept

OF_CLUSTERS = (
    "circuit_breakers.default.cx_open",
    "circuit_breakers.default.rq_open",
    "circuit_breakers.default.rq_pending_open",
    "circuit_breakers.default.rq_retry_open",
    "credential_injector.failed",
    "membership_healthy",
    "membership_total",
    "outlier_detection.ejections_active",
    "outlier_detection.ejections_enforced_total",
    "retry.upstream_rq_401",
    "ssl.connection_error",
    "ssl.fail_verify_error",
    "ssl.fail_verify_san",
    "ssl.handshake",
    "update_attempt",
    "update_failure",
    "update_success",
    "upstream_cx_connect_fail",
    "upstream_cx_connect_timeout",
    "upstream_cx_destroy_remote_with_active_rq",
    "upstream_cx_overflow",
    "upstream_rq_completed",
    "upstream_rq_pending_overflow",
    "upstream_rq_per_try_timeout",
    "upstream_rq_retry_overflow",
    "upstream_rq_timeout",
    "upstream_rq_total",
)
OF_LISTENERS = ("downstream_cx_active", "downstream_cx_overload_reject", "downstream_global_cx_overflow")
OF_ALL = (
    "cluster_manager.cds.update_failure",
    "cluster_manager.cds.update_rejected",
    "cluster_manager.cds.update_success",
    "listener_manager.lds.update_failure",
    "listener_manager.lds.update_rejected",
    "listener_manager.lds.update_success",
    "overload.envoy.overload_actions.stop_accepting_requests.active",
    "overload.envoy.resource_monitors.fixed_heap.pressure",
    "server.uptime",
)
FILTER = "^(cluster|listener|overload|server|cluster_manager|listener_manager)[.]"
LINE = re.compile(r"([!-~]{1,300}): ([0-9]{1,18})", re.ASCII)


def _one_of(names: Any) -> str:
    return "|".join(re.escape(name) for name in names)


CLUSTER = re.compile(r"cluster\.([a-z0-9_-]{{1,80}})\.(?:http\.)?({})".format(_one_of(OF_CLUSTERS)), re.ASCII)
INJECTOR = re.compile(r"cluster\.([a-z0-9_-]{1,80})\.(?:[a-z_]+\.)*(credential_injector\.failed)", re.ASCII)
LISTENER = re.compile(r"listener\.(?!admin\.)(?:.(?!\.(?:worker_|main_thread)))+\.({})".format(_one_of(OF_LISTENERS)))


def gateway_state(request: Request) -> Any:
    """What answers at the socket `admin` (`running`), `now` (seconds since 1970): `own` counters and those of
    `clusters`, /clusters as text (`members`), /certs (`certificates`), and the `versions` of what it was told last and
    of the files in the folder `xds` that it was told it by, "" where there is none. All but `now` is empty where nobody
    answers."""
    stats = ask(request["admin"], "/stats?filter=" + FILTER)
    found: Dict[str, Any] = {"running": stats is not None, "now": time.time()}
    if stats is None:
        return dict(found, own={}, clusters={}, members="", certificates={}, versions={})
    own, clusters = _counted(stats)
    return dict(
        found,
        own=own,
        clusters=clusters,
        members=ask(request["admin"], "/clusters") or "",
        certificates=_certificates(request["admin"]),
        versions=_versions(stats, request["xds"]),
    )


VERSION = re.compile(r"(?m)^[a-z_]+\.(cds|lds)\.version_text: \"([0-9A-Za-z._-]{0,128})\"$")
LONGEST_FILE = 64 << 20


def _versions(stats: str, folder: str) -> Any:
    """{"cds": [of the running proxy, of its file], …}"""
    running = dict(VERSION.findall(stats))
    files = {name: "{}/{}.json".format(folder, name) for name in ("cds", "lds") if folder}
    return {name: [running.get(name, ""), _version(path)] for name, path in files.items()}


def _version(path: str) -> str:
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(LONGEST_FILE))
    except (OSError, ValueError, RecursionError):
        return ""
    said = found.get("version_info") if isinstance(found, dict) else ""
    return said[:128] if isinstance(said, str) else ""


def _counted(stats: str) -> Any:
    own: Dict[str, int] = {}
    clusters: Dict[str, Dict[str, int]] = {}
    for line in stats.splitlines():
        one = LINE.fullmatch(line)
        if not one:
            continue
        name, number = one[1], int(one[2])
        of_cluster = CLUSTER.fullmatch(name) or INJECTOR.fullmatch(name)
        of_listener = LISTENER.fullmatch(name)
        if name in OF_ALL:
            own[name] = number
        elif of_cluster:
            clusters.setdefault(of_cluster[1], {})[of_cluster[2]] = number
        elif of_listener:
            own[of_listener[1]] = own.get(of_listener[1], 0) + number
    return own, clusters


def _certificates(admin: str) -> Any:
    try:
        found = kept(json.loads(ask(admin, "/certs") or "{}"))
    except (ValueError, RecursionError) as error:
        raise HostError("{}: /certs is no JSON that can be read: {}".format(admin, error)) from None
    if not isinstance(found, dict):
        raise HostError("{}: /certs is no object in JSON".format(admin))
    return found
