"""What a running Envoy says of itself, and what else there is to see of a gateway: never a header's value, a key, a
program in Lua or a line of its log."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import ssl
import stat
import time
from typing import Any, Dict, Iterator, List, Optional

from .. import logged, proc
from ..children import aside
from ..envoy_admin import DUMP, Refused, ask
from ..facts import gather
from ..plain_file import tail
from ..program import run
from ..resource import HostError
from . import Request
from .sockets import answering

DAY = 86400
LONGEST_TAIL = 4 << 20
"""Bytes of the log's end that are looked through."""
LONGEST_NAME = 300
DEEPEST = 24
"""Lists and mappings within each other: Envoy's own have 21, and 2 more for each transport within another."""
SECONDS = 5
"""How long an answer to a lookup is waited for."""

KEPT = frozenset((
    "@type", "configs", "bootstrap", "admin", "address", "pipe", "path", "socket_address", "port_value",
    "allow_paths", "exact", "prefix", "suffix", "contains", "safe_regex", "regex", "ignore_case",
    "overload_manager", "resource_monitors", "static_clusters", "dynamic_active_clusters",
    "dynamic_warming_clusters", "cluster", "name", "load_assignment", "endpoints", "lb_endpoints", "endpoint",
    "transport_socket", "transport_socket_matches", "typed_config", "upstream_tls_context",
    "auto_sni_san_validation", "common_tls_context", "tls_params", "tls_minimum_protocol_version",
    "validation_context", "combined_validation_context", "default_validation_context",
    "validation_context_sds_secret_config", "trusted_ca", "match_typed_subject_alt_names",
    "match_subject_alt_names", "matcher", "trust_chain_verification", "common_lb_config", "healthy_panic_threshold",
    "circuit_breakers", "thresholds", "outlier_detection", "enforcing_consecutive_5xx",
    "enforcing_consecutive_gateway_failure", "max_ejection_percent", "static_secrets", "dynamic_active_secrets",
    "secret", "static_listeners", "dynamic_listeners", "active_state", "warming_state", "listener", "filter_chains",
    "default_filter_chain", "filters", "route_config", "rds", "route_config_name", "dynamic_route_configs",
    "virtual_hosts", "routes", "route", "weighted_clusters", "clusters", "timeout", "request_body_buffer_limit",
    "http_filters", "max_request_bytes", "certificates", "cert_chain", "days_until_expiration",
))  # fmt: skip
"""The fields of an answer that judges ask for, by Envoy's names for them. All others stay here: some hold secrets."""
THERE = frozenset((
    "filename", "inline_string", "inline_bytes", "environment_variable", "system_root_certs",
    "ca_certificate_provider_instance", "verify_certificate_hash", "verify_certificate_spki",
    "custom_validator_config",
))  # fmt: skip
"""Fields of which it matters that they are there."""
INJECTIONS = re.compile(r"(?m)^cluster\.([^.\n]+)\.(?:[a-z_]+\.)*credential_injector\.failed: ([0-9]{1,15})$")
NUMBER = "value"
"""A field that is kept where it is a number: as text it may be any header's."""


def envoy(request: Request) -> Any:
    """{target: what is kept of the answer} of each of `targets`: config_dump and certs as JSON, clusters as text."""
    return {target: _asked(request["admin"], target) for target in request["targets"]}


def _asked(admin: str, target: str) -> Any:
    try:
        # The path alone: Envoy holds the question mark and what follows against `allow_paths` too.
        text = ask(admin, "/" + target)
    except Refused:
        if target != "config_dump":
            raise
        text = ask(admin, DUMP)  # ours
    if text is None:
        raise HostError("nobody answers at {}: no Envoy runs, or its admin is elsewhere".format(admin))
    if target == "clusters":
        return text
    try:
        return kept(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise HostError("{}: /{} is no JSON that can be read: {}".format(admin, target, error)) from None


def envoy_injections(request: Request) -> Any:
    """{cluster: requests that found no key} since the Envoy at the socket `admin` was started; {} where it does not
    tell."""
    try:
        text = ask(request["admin"], "/stats?filter=credential_injector") or ""
    except HostError:
        return {}
    return {name: int(number) for name, number in INJECTIONS.findall(text)}


def kept(node: Any, depth: int = 0) -> Any:
    """The fields of KEPT and THERE, at any depth. Raises ValueError beyond DEEPEST: the whole of a host's answer would
    be refused for it."""
    if depth > DEEPEST:
        raise ValueError("lists and mappings more than {} within each other".format(DEEPEST))
    if isinstance(node, list):
        return [kept(each, depth + 1) for each in node]
    if not isinstance(node, dict):
        return node
    found = {key: kept(value, depth + 1) for key, value in node.items() if key in KEPT}
    found.update({key: "" for key in node if key in THERE})
    if type(node.get(NUMBER)) in (int, float):
        found[NUMBER] = node[NUMBER]
    return found


def envoy_program(request: Request) -> Any:
    """The file at `path`: who else than root may change it (`open_to`), its SHA-256 ("" unless it is to be `hashed`:
    an Envoy has 100 MiB), what `--version` says ("" where
    it was not called: whoever may change it would be root), and the processes that answer at the socket `admin`."""
    path = request["path"]
    if not os.path.isfile(path):
        return {"there": False, "open_to": [], "sha256": "", "version": "", "running": _running(request)}
    open_to = sorted(set(_open_to(path)))
    return {
        "there": True,
        "open_to": open_to,
        "sha256": _sha256(path) if request["hashed"] else "",
        "version": "" if open_to else run([path, "--version"], timeout=20).stdout.strip(),
        "running": _running(request),
    }


def _open_to(path: str) -> Iterator[str]:
    """Whatever on the way to a file somebody else than root may change, links on it included."""
    while True:
        for place in (path, os.path.dirname(path)):
            status = os.lstat(place)
            loose = status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode)
            if status.st_uid != 0 or loose:
                yield place
        parent = os.path.dirname(path)
        if os.path.islink(path):
            yield from _open_to(os.path.join(parent, os.readlink(path)))
        if parent == path:
            return
        path = parent


def _sha256(path: str) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


@aside
def _running(request: Request) -> List[Dict[str, Any]]:
    try:
        wanted: Optional[os.stat_result] = os.stat(request["path"])
    except FileNotFoundError:
        wanted = None
    found = []
    for pid in _pids(request["admin"]):
        proc.looking_at(pid)
        place = proc.folder(pid) + "/exe"
        try:
            same = wanted is not None and os.path.samestat(os.stat(place), wanted)
            found.append({"pid": pid, "exe": os.readlink(place), "same": same})
        except FileNotFoundError:
            continue  # it ended while we looked
    return found


def _pids(admin: str) -> List[int]:
    return sorted({pid for _, pid in answering([admin])})


@aside
def envoy_processes(request: Request) -> Any:
    """The processes that answer at the socket `admin`: what each may do, and how much of it it uses. Its heap, in
    bytes, is without its program: 14 MiB of 66 (1.40)."""
    found = []
    for pid in _pids(request["admin"]):
        proc.looking_at(pid)
        try:
            found.append(_process(pid))
        except FileNotFoundError:
            continue  # it ended while we looked
    return found


def _process(pid: int) -> Dict[str, Any]:
    status = proc.status(proc.folder(pid))
    return {
        "pid": pid,
        "uid": int(status["Uid"].split()[1]),
        "heap": int(status["RssAnon"].split()[0]) << 10,
        "files": proc.files_open(pid),
        "files_most": proc.soft_limit(pid, proc.FILES),
        "no_new_privileges": status["NoNewPrivs"] == "1",
        "filtered": status["Seccomp"] == "2",
        "capabilities": int(status["CapPrm"], 16) | int(status["CapEff"], 16) | int(status["CapBnd"], 16),
        "read_only": _options_of_root(pid).startswith("ro"),
        # Under 0 too, where kernel.core_pattern is a pipe: 1 alone ends that as well (core(5)).
        "dumps": proc.soft_limit(pid, proc.CORE) != 1,
    }


def _options_of_root(pid: int) -> str:
    """Those of the file system that a process has at /: ProtectSystem=strict makes it read-only."""
    with open(proc.folder(pid) + "/mountinfo", encoding="utf-8", errors="replace", newline="\n") as file:
        found = [line.split()[5] for line in file if line.split()[4] == "/"]
    return found[-1] if found else ""


def accounts(request: Request) -> Any:
    """The numbers of `users` and `groups`; None for one that is not there."""
    found = {}
    for kind, fact in (("users", "uid"), ("groups", "gid")):
        known = gather("{}:{}".format(fact, name) for name in request[kind])
        numbers = {name: known.get("{}:{}".format(fact, name)) for name in request[kind]}
        found[kind] = {name: None if number is None else int(number) for name, number in numbers.items()}
    return found


def certificate_ends(request: Request) -> Any:
    """{provider: days} until the certificate ends that each of `providers` showed last, by the log at `path`; of those
    that it does not tell of there is none."""
    found: Dict[str, int] = {}
    try:
        lines = tail(request["path"], LONGEST_TAIL)
    except FileNotFoundError:
        return found
    for told in filter(None, map(logged.line, lines)):
        ends = logged.moment(told.get("cert_ends"))  # none of a request that reached nobody
        provider = logged.text(told.get("provider"), LONGEST_NAME)
        if ends is not None and provider in request["providers"]:
            found[provider] = int((ends - time.time()) // DAY)
    return found


def authorities(request: Request) -> Any:
    """How many certificates the file `path` holds, and for how many days each authority among them is good yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(request["path"])
    except ssl.SSLError as error:
        raise HostError("{} holds no certificate that can be read: {}".format(request["path"], error)) from None
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs()]
    days = sorted(int((end - time.time()) // DAY) for end in ends)
    return {"all": context.cert_store_stats()["x509"], "days": days}


def lookups(request: Request) -> Any:
    """{name: {"addresses", "error"}} as the account `account` is answered for each of `names`. Once nobody answers,
    nobody is waited for again."""
    become = ["setpriv", "--reuid={}".format(pwd.getpwnam(request["account"]).pw_uid), "--clear-groups"]
    found: Dict[str, Any] = {}
    silent = ""
    for name in request["names"]:
        addresses: List[str] = []
        error = silent
        if not silent:
            try:
                done = run([*become, "getent", "ahosts", name], check=False, timeout=SECONDS)
                addresses = sorted(set(re.findall(r"^(\S+)\s+STREAM", done.stdout, re.MULTILINE)))
                error = "" if addresses else "no address"
            except HostError as failed:
                error = silent = str(failed)
        found[name] = {"addresses": addresses, "error": error}
    return found
