"""The play: a small host with the policy's accounts, the real apply, and every attempt before and after it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hostguard.attack.aim import OF_GATEWAY, STRANGER, Attempt
from hostguard.controls.egress import names
from hostguard.controls.gateway import instance
from hostguard.host import iptables, transaction
from hostguard.host.kinds import frames, trait
from hostguard.host.parameters import path_of
from hostguard.host.program import find, run
from hostguard.host.resource import VALUE, HostError, Resource
from hostguard.policy.destinations import ASKER
from hostguard.rehearse import gateway
from hostguard.rehearse.host import StagedHost
from hostguard.rehearse.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC, mount

NOBODY = 65534
FIRST_ACCOUNT = 2000
SEPARATION = "gateway.separation"
# What programs read there; everything else of /etc is the rehearsal's own.
KEPT = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "protocols", "services", "localtime")
Tell = Callable[[dict[str, Any]], None]


def play(
    bundle: dict[str, Any],
    tries: Iterable[Attempt],
    names: Iterable[str],
    all_accounts: bool,
    tell: Tell,
    behind: gateway.Behind | None = None,
) -> None:
    """Set the stage, try, apply, try again, go back; tell what happens, one dict a step."""
    tries = list(tries)
    accounts = furnish(names, all_accounts, behind.members if behind else {})
    (Path("/etc") / "resolv.conf").write_text(asks_first(tries), encoding="ascii")
    why_not = (behind.why_not or gateway.prepare(behind)) if behind else ""
    able, unable = rehearsable(bundle["resources"], behind is not None and not why_not)
    for reason in unable:
        tell({"not rehearsed": reason})
    host = StagedHost(accounts, tries, all_accounts, why_not)
    untouched = firewall()

    def trying(when: str, fits: Callable[[Attempt], bool]) -> None:
        for number, attempt in enumerate(tries):
            if fits(attempt):
                tell({"try": number, "when": when, **host.attempt(number, when)})

    tell({"step": "trying every way out, as the host is"})
    trying("before", lambda each: not at_gateway(each))
    with host.provider():
        trying("before", at_gateway)
    tell({"step": "applying the policy"})
    options = {"confirm_within": 0, "restart": False, "check": False}
    bundle = {**bundle, "resources": able, "evidence": {}}
    applied = transaction.apply(bundle, options, lambda _: None)
    tell({"applied": applied})
    if applied["outcome"] != "applied":
        return
    tell({"hooked": hooked(able)})
    tell({"again": transaction.apply(bundle, options, lambda _: None)})
    tell({"step": "trying every way out again"})
    with resolver(able, all_accounts):
        trying("after", lambda each: not at_gateway(each))
        with host.provider(), served(behind if not why_not else None, host):
            trying("after", lambda each: at_gateway(each) and each.case.way != "bind")
    # A place is there to be taken while nobody is in it.
    trying("after", lambda each: each.case.way == "bind")
    tell({"step": "rolling back"})
    host.legs["nat"].end()
    rolled = transaction.rollback(0, options, lambda _: None)
    tell({"rolled back": rolled, "identical": firewall() == untouched})


def at_gateway(attempt: Attempt) -> bool:
    return attempt.case.layer in OF_GATEWAY


@contextlib.contextmanager
def served(behind: gateway.Behind | None, host: StagedHost) -> Iterator[None]:
    """Meanwhile Envoy runs in the stage."""
    if behind is None:
        yield
        return
    with gateway.running(behind, host.accounts, host.all_accounts) as host.doors.why_not:
        yield


def asks_first(tries: Iterable[Attempt]) -> str:
    """What /etc/resolv.conf says before the policy comes: the resolver that it has, which is asked for any name."""
    return "".join(f"nameserver {each.address}\n" for each in tries if each.case.way == "question")


@contextlib.contextmanager
def resolver(applied: list[Resource], all_accounts: bool) -> Iterator[None]:
    """dnsmasq as it was configured, where it was: on a host systemd runs it."""
    if not any(resource["id"] == f"file:{names.CONFIGURATION}" for resource in applied):
        yield
        return
    # With one account alone there is none to change to.
    who = ["--keep-in-foreground", f"--user={ASKER}", "--group="] if all_accounts else ["--no-daemon"]
    argv = [str(find("dnsmasq")), f"--conf-file={names.CONFIGURATION}", "--pid-file=", "--log-facility=-", *who]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as running:
        said = ""
        while " started, version " not in said:
            line = running.stderr.readline() if running.stderr else ""
            said += line
            if not line:
                raise HostError(f"dnsmasq did not start: {said.strip()}")
        try:
            yield
        finally:
            running.kill()


def hooked(resources: list[Resource]) -> bool:
    """Whether the policy holds frames, and this kernel can."""
    asked = [resource for resource in resources if resource["kind"] == "frames"]
    return any(seen.state == VALUE for seen in frames.read(asked).values())


def firewall() -> list[str]:
    """The rules and sets of the stage, without counters and without the empty tables that legacy iptables leaves."""
    said = run(["ipset", "save"]).stdout.splitlines()
    for family in iptables.COMMAND:
        for table, text in iptables.tables(family).items():
            kept = (line.partition(" [")[0] for line in text.splitlines() if line.startswith((":", "-A ")))
            said += [f"{family} {table} {line}" for line in kept if not line.endswith(" ACCEPT") or line[0] == "-"]
    return said


def rehearsable(resources: list[Resource], with_gateway: bool) -> tuple[list[Resource], list[str]]:
    """What can be applied here, and what can't, in a line each."""
    able, unable = [], []
    systemd = 0
    kept = {SEPARATION, *((instance.CONTROL, instance.ROUTES) if with_gateway else ())}
    without = find("dnsmasq") is None and any(resource["control"] == names.CONTROL for resource in resources)
    if without:
        unable.append("names: dnsmasq is not installed here (Debian: dnsmasq-base)")
    for resource in resources:
        if resource["control"].startswith("gateway.") and resource["control"] not in kept:
            continue
        if without and resource["control"] == names.CONTROL and resource["kind"] != "ipset":
            continue
        if trait(resource["kind"], "NEEDS_SYSTEMD"):
            systemd += 1
        elif resource["kind"] == "sysctl" and not of_this_namespace(resource["key"]):
            unable.append(f"{resource['key']}: the whole machine's, not this namespace's")
        elif resource["kind"] == "mount" and not make_room(resource["path"]):
            unable.append(f"{resource['path']}: only a rehearsal as root could mount there")
        else:
            able.append(resource)
    if systemd:
        unable.append(f"{systemd} units, slices and processes: no systemd runs here (plan shows them)")
    return able, unable


def of_this_namespace(key: str) -> bool:
    """Whether a parameter is the network namespace's own. Others must not even be tried: run by root, the
    rehearsal's root is the machine's, and may write them."""
    return key.startswith("net.") and os.access(path_of(key), os.W_OK)


def make_room(path: str) -> bool:
    """Let a mount point be made: the stage's own /run, /etc and /var/lib take it, elsewhere a tmpfs above it."""
    if path.startswith(("/run/", "/etc/", "/var/lib/")):
        return True
    top = "/" + path.split("/")[1]
    needed = (sys.prefix, sys.base_prefix, str(Path(__file__).resolve()), "/usr", "/proc", "/sys", "/dev")
    if not Path(top).is_dir() or any((place + "/").startswith(top + "/") for place in needed):
        return False
    mount("tmpfs", top, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    return True


def furnish(names: Iterable[str], all_accounts: bool, members: Mapping[str, Sequence[str]] = {}) -> dict[str, int]:
    """A mount namespace with an /etc, /run and /var/lib of its own; the accounts by name. `members` are of groups."""
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    try:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror}: in a container, give it an unmasked /proc or rehearse outside of it"
        ) from None
    kept = {name: _keep(Path("/etc") / name) for name in KEPT if (Path("/etc") / name).exists()}
    for folder in ("/etc", "/run", "/var/lib"):
        mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for name, put in kept.items():
        put(Path("/etc") / name)
    ordered = sorted(set(names) - {"root", STRANGER})
    # Root comes first: with one account alone, its number is everybody's, and its name the one that is found.
    numbers = {"root": 0, STRANGER: NOBODY if all_accounts else 0}
    numbers |= {name: FIRST_ACCOUNT + at if all_accounts else 0 for at, name in enumerate(ordered)}
    files = {
        "passwd": "".join(f"{name}:x:{uid}:{uid}::/:/bin/false\n" for name, uid in numbers.items()),
        "group": "".join(f"{name}:x:{uid}:{','.join(members.get(name, ()))}\n" for name, uid in numbers.items()),
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: dns\nprotocols: files\nservices: files\n",
    }
    for name, text in files.items():
        (Path("/etc") / name).write_text(text, encoding="ascii")
    return numbers


def _keep(path: Path) -> Callable[[Path], None]:
    """Remember a file, link or folder of links, to be put back into the new /etc."""
    if path.is_dir():
        children = {child.name: _keep(child) for child in path.iterdir() if os.access(child, os.R_OK)}

        def put_folder(at: Path) -> None:
            at.mkdir()
            for name, put in children.items():
                put(at / name)

        return put_folder
    if path.is_symlink():
        target = path.readlink()
        return lambda at: at.symlink_to(target)
    content = path.read_bytes()

    def put_file(at: Path) -> None:
        at.write_bytes(content)

    return put_file
