"""A kernel parameter: the live value, and the value that the next boot will set.

Both are one resource, since either alone is a half-truth. The boot value is whatever systemd-sysctl would end up
with (sysctl.d(5)): files of four folders ordered by name alone, a name in an earlier folder hiding the same name
in a later one, the last assignment of a key winning.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import socket
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from .. import store, ufw, unit_files
from ..facts import in_container
from ..program import find, run
from ..resource import VALUE, Difference, HostError, Observation, Resource, not_applicable, not_running, value
from . import file as files

FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
OUR_FILE = "/etc/sysctl.d/zz-hostguard.conf"
HEADER = "# Written by hostguard: edit the policy instead. The name sorts after 99-sysctl.conf, so that it wins.\n"


class Assignment(NamedTuple):
    """One line of sysctl.d: `key` with dots, the file and line that hold it. `value` None keeps globs from the key.
    `after` is the program that sets it once systemd-sysctl has, "" for systemd-sysctl."""

    key: str
    value: Optional[str]
    path: str
    line: int
    after: str = ""


OTHER = str.maketrans("./", "/.")
"""Separators and what they are within a name: net.ipv4.conf.eth0/100.rp_filter is of the device eth0.100."""


ROOT = "/proc/sys/"


def path_of(key: str) -> str:
    return ROOT + key.translate(OTHER)


LINE_END = re.compile("\r\n|\n\r|[\n\r\0]")
"""As systemd reads it (basic/fileio.c); Python's own splitlines() has others too."""


def parse(text: str, path: str, after: str = "") -> List[Assignment]:
    """The lines of one file. `-` before a key means: ignore errors; without a value: let no glob set it."""
    found = []
    for number, line in enumerate(LINE_END.split(text), 1):
        line = line.strip(unit_files.BLANKS)
        if not line or line[0] in "#;":
            continue
        key, equals, setting = line.partition("=")
        key = key.strip()
        if not equals and not key.startswith("-"):
            continue
        key = normal_key(key[1:].strip() if key.startswith("-") else key)
        found.append(Assignment(key, normal(setting) if equals else None, path, number, after))
    return found


def normal_key(key: str) -> str:
    """sysctl.d(5): if the first separator is a slash, slashes separate and a dot belongs to a name."""
    dot, slash = key.find("."), key.find("/")
    if slash != -1 and (dot == -1 or slash < dot):
        return key.translate(OTHER)
    return key


def matches(pattern: str, key: str) -> bool:
    """As glob(7) takes a path: what a star stands for ends with its folder."""
    patterns, parts = path_of(pattern).split("/"), path_of(key).split("/")
    return len(patterns) == len(parts) and all(map(fnmatch.fnmatchcase, parts, patterns))


def normal(setting: str) -> str:
    """Values with several numbers come back from the kernel with tabs between them."""
    return " ".join(setting.split())


def winner(assignments: List[Assignment], key: str) -> Optional[Assignment]:
    """The assignment that a boot ends with. Of systemd-sysctl's an exact key beats a glob, whatever their order, and
    also where it has no value; what another program sets afterwards beats them all."""
    after = [a for a in assignments if a.after and a.key == key]
    if after:
        return after[-1]
    exact = [a for a in assignments if a.key == key]
    if exact:
        return exact[-1] if exact[-1].value is not None else None
    globs = [a for a in assignments if any(c in a.key for c in "*?[") and matches(a.key, key)]
    return globs[-1] if globs and globs[-1].value is not None else None


def configuration() -> List[Assignment]:
    """Every assignment on this host in the order in which systemd-sysctl makes them."""
    chosen: Dict[str, str] = {}
    for folder in FOLDERS:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if name.endswith(".conf"):
                chosen.setdefault(name, os.path.join(folder, name))
    found: List[Assignment] = []
    for name in sorted(chosen):
        try:
            with open(chosen[name], encoding="utf-8", errors="replace", newline="") as file:
                found += parse(file.read(), chosen[name])
        except FileNotFoundError:
            continue  # a dangling link; one to /dev/null reads as empty and masks, as it should
    return found + _ufw()


def _ufw() -> List[Assignment]:
    """What ufw sets when it starts, at every boot, and at `ufw reload`: IPT_SYSCTL of /etc/default/ufw (ufw(8))."""
    if not ufw.enabled(_text(ufw.CONF)):
        return []
    path = ufw.assigned(_text(ufw.DEFAULTS), "IPT_SYSCTL") or ufw.SYSCTL
    return parse(_text(path) or "", path, after="ufw")


def _text(path: str) -> Optional[str]:
    """None where it can't be read: ufw sets nothing then."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            return file.read()
    except OSError:
        return None


BOOT_UNITS = {
    "systemd-sysctl.service": "/etc/sysctl.d",
    "systemd-modules-load.service": "/etc/modules-load.d",
}
"""The services that read, at boot, what sets parameters and what loads the modules that bring them (before that)."""
SYSCTL_UNIT, MODULES_UNIT = BOOT_UNITS


def boot_trouble(boot_unit: str = SYSCTL_UNIT) -> str:
    """Why nothing in the folder of one of BOOT_UNITS is read at boot at all; "" where it is."""
    folder, paths = BOOT_UNITS[boot_unit], unit_files.files(boot_unit, {})
    if os.path.realpath(paths[0]) == "/dev/null":
        return "{0} is masked, and no boot reads {1}: `systemctl unmask {0}`".format(boot_unit, folder)
    changing = unit_files.deciding(paths)
    if changing:
        return "{} changes {}, and a boot may not read {}: remove it".format(changing[0], boot_unit, folder)
    if paths[0] and not unit_files.is_wanted(boot_unit, "sysinit.target"):
        return "no boot starts {0}: put back its link in sysinit.target.wants".format(boot_unit)
    return ""


# Modules that bring parameters, by what those begin with.
BROUGHT_BY = {
    "net.netfilter.nf_conntrack_": "nf_conntrack",
    "net.bridge.bridge-nf-": "br_netfilter",
    "net.ipv4.vs.": "ip_vs",
    "net.sctp.": "sctp",
    "sunrpc.": "sunrpc",
    "fs.nfs.nlm_": "lockd",
}
# Of those that network namespaces have, the ones that the first namespace alone may write: all have one table
# (nf_conntrack_standalone.c).
OF_THE_MACHINE = {"net.netfilter.nf_conntrack_" + name for name in ("max", "buckets", "expect_max")}


def module_of(key: str) -> str:
    """The module that brings a parameter; "" where that is the kernel itself, or nobody knows."""
    return next((module for begins, module in BROUGHT_BY.items() if key.startswith(begins)), "")


MODULES = "/sys/module"


def _of_another(key: str) -> bool:
    """Whether, in a container, a parameter is the machine's."""
    if not in_container():
        return False
    if key not in OF_THE_MACHINE:
        return not key.startswith("net.")
    try:
        return not os.stat(path_of(key)).st_mode & 0o200
    except FileNotFoundError:
        return True


def _lacks(key: str, loads: bool) -> str:
    """Why a parameter is not there; "" where an apply `loads` the module that brings it."""
    module = module_of(key)
    if not module:
        return "this kernel has no {}, or the module that brings it is not loaded".format(key)
    if os.path.isdir(os.path.join(MODULES, module)):
        return "this kernel has no {}, and the module {} is loaded".format(key, module)
    if not loads:
        said = "{} comes with the module {}, which is not loaded: name it in a file of /etc/modules-load.d, and load it"
        return said.format(key, module)
    if in_container():
        return "the module {} is the machine's to load, not this container's: load it there".format(module)
    if find("modprobe") is None:
        return "the module {} is not loaded, and modprobe is not installed".format(module)
    if run(["modprobe", "--dry-run", "--quiet", module], check=False).returncode:
        return "the module {} is not loaded, and `modprobe {}` finds none for this kernel".format(module, module)
    return ""


def at(assignment: Assignment) -> str:
    return "{}:{}".format(assignment.path, assignment.line)


def sorts_after_ours(path: str) -> bool:
    return os.path.basename(path) > os.path.basename(OUR_FILE)


def resource(control: str, key: str, text: str, compare: str, **more: str) -> Resource:
    """A parameter, live and at boot. `compare`: equal, min (a number of at least that) or ports (all of these).

    `more`: `module`, which apply loads since it brings the parameter; `unlimited`, the value that means no limit;
    `since`, the Linux that brought it: an older one does without.
    """
    return dict(more, id="sysctl:" + key, kind="sysctl", control=control, key=key, value=text, compare=compare)


def read(resources: List[Resource]) -> Dict[str, Observation]:
    seen = {}
    assignments, trouble, stuck = configuration(), boot_trouble(), files.stuck(OUR_FILE)
    for resource in resources:
        key, module = resource["key"], resource.get("module", "")
        foreign = _of_another(key)
        try:
            live: Optional[str] = normal(live_value(key))
        except FileNotFoundError:
            live = None
        if module and foreign and not holds(resource, live):
            # Where every kernel has less by itself, a container of it must not be kept from all the rest.
            has = "has {}".format(live) if live else "tracks no connection yet"
            said = "{} is the machine's, not this container's: it {}, and {} is needed: set it there"
            seen[resource["id"]] = not_applicable(said.format(key, has, wanted(resource)))
            continue
        if live is None and "since" in resource:
            said = "this kernel ({}) has no {}, which came with Linux {}"
            seen[resource["id"]] = not_applicable(said.format(os.uname().release, key, resource["since"]))
            continue
        found = _observation(key, live, assignments, trouble or (module and boot_trouble(MODULES_UNIT)), foreign)
        found.value["stuck"] = stuck
        found.value["takes"] = _takes(key)
        found.value["lacks"] = _lacks(key, bool(module)) if live is None else ""
        seen[resource["id"]] = found
    return seen


def _takes(key: str) -> List[str]:
    """The addresses that the kernel takes away with IPv6, and does not give back with it: those that somebody set.
    Link-local ones, and what routers advertise, come again by themselves."""
    if not key.endswith(".disable_ipv6"):
        return []
    device = key[len("net.ipv6.conf.") : -len(".disable_ipv6")]
    try:
        with open(ADDRESSES, encoding="utf-8", errors="replace", newline="\n") as file:
            rows = [line.split() for line in file]
    except FileNotFoundError:
        return []
    # Address, index, length, scope, flags, device; all numbers in hexadecimal (net/ipv6/addrconf.c).
    set_by_hand = [row for row in rows if int(row[4], 16) & PERMANENT and row[3] == GLOBAL]
    return sorted("{} ({})".format(_address(row[0]), row[5]) for row in set_by_hand if device in ("all", row[5]))


ADDRESSES, PERMANENT, GLOBAL = "/proc/net/if_inet6", 0x80, "00"


def _address(digits: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))


def live_value(key: str) -> str:
    """As the kernel says it, whatever bytes it holds: the name of the host may be any."""
    with open(path_of(key), encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return file.read()


def _observation(
    key: str, live: Optional[str], assignments: List[Assignment], trouble: str, foreign: bool
) -> Observation:
    boot = winner(assignments, key)
    return value(
        {
            "live": live,
            "boot": boot.value if boot else None,
            "boot_from": at(boot) if boot else None,
            "later": next((at(a) for a in assignments if a.key == key and (a.after or sorts_after_ours(a.path))), None),
            "trouble": trouble,
            "foreign": foreign,
        }
    )


def read_image(resources: List[Resource]) -> Dict[str, Observation]:
    """Of an image: what a boot of it would set. Where that is as wanted, the rest is its kernel's to tell."""
    assignments, trouble = configuration(), boot_trouble()
    seen = {}
    for resource in resources:
        if resource["compare"] == "min" and not winner(assignments, resource["key"]):
            seen[resource["id"]] = not_running()  # at least so much is wanted: the kernel may have it by itself
            continue
        booted = _observation(resource["key"], str(resource["value"]), assignments, trouble, foreign=False)
        seen[resource["id"]] = booted if differ(resource, booted) else not_running()
    return seen


def holds(resource: Resource, setting: Optional[str]) -> bool:
    """Whether a value satisfies what is wanted: `compare` is equal, min (at least) or ports (contains them)."""
    if setting is None:
        return False
    want = resource["value"]
    if resource["compare"] == "min":
        return setting == resource.get("unlimited") or (setting.isdecimal() and int(setting) >= int(want))
    if resource["compare"] == "ports":
        return ports(want) <= ports(setting)
    return normal(setting) == normal(want)


def ports(text: str) -> "set[int]":
    """The kernel's port list, `22,8000-8003`, as numbers; empty for anything else."""
    found: "set[int]" = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (last.isdecimal() or not last):
            found.update(range(int(first), int(last or first) + 1))
    return found


def port_list(numbers: "set[int]") -> str:
    """Numbers as the kernel writes them: runs folded, ascending."""
    runs: List[Tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ",".join(str(a) if a == b else "{}-{}".format(a, b) for a, b in runs)


def wanted(resource: Resource) -> str:
    sign = {"min": "≥ ", "ports": "contains "}.get(resource["compare"], "")
    return sign + str(resource["value"])


def seen_as(_resource: Resource, seen: Observation) -> str:
    live, boot = seen.value["live"], seen.value["boot"]
    if live == boot or boot is None:
        return "{}".format(live)
    return "{} (at boot {}, {})".format(live, boot, seen.value["boot_from"])


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    have, want = seen.value, wanted(resource)
    found = []
    if have["live"] is None and resource.get("module"):
        found.append(Difference("live", "not there before its module is loaded", want, have.get("lacks", "")))
    elif have["live"] is None:
        lacks = have.get("lacks") or "this kernel has no {}".format(resource["key"])
        return [Difference("live", "no such parameter", want, lacks)]
    elif not holds(resource, have["live"]):
        blocked = ""
        if have["foreign"]:
            blocked = "{} is the machine's, not this container's: set it there".format(resource["key"])
        elif have.get("takes") and resource["value"] == "1":
            blocked = "{} takes {} away, which no way back can give back: remove it first, or leave IPv6 on".format(
                resource["key"], ", ".join(have["takes"])
            )
        found.append(Difference("live", have["live"], want, blocked))
    if have["boot"] is None and have["foreign"]:
        return found  # a container's boot sets nothing of the machine's
    if have["trouble"]:
        found.append(Difference("at boot", "nothing is set", want, have["trouble"]))
    elif not holds(resource, have["boot"]):
        blocked = have.get("stuck", "")
        if have["later"]:
            blocked = "{} sets it after {} at boot and would win: remove that line".format(have["later"], OUR_FILE)
        shown = "unset" if have["boot"] is None else "{} ({})".format(have["boot"], have["boot_from"])
        found.append(Difference("at boot", shown, want, blocked))
    return found


def setters(_resource: Resource, seen: Observation, _fields: Set[str]) -> Dict[str, Optional[str]]:
    if seen.state != VALUE:
        return {}
    have = seen.value
    # Nobody knows which program wrote the live value: the file is named only if it says the same.
    live = have["boot_from"] if have["live"] == have["boot"] else None
    return {"at boot": have["boot_from"] or OUR_FILE, "live": live}


def place(resource: Resource) -> str:
    return str(resource["key"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    lines, file = our_lines(), files.snapshot(OUR_FILE)
    saved: Dict[str, Any] = {}
    own = {resource["key"] for resource in resources}
    for resource in resources:
        key = resource["key"]
        saved[resource["id"]] = {
            "key": key,
            "live": _live(key),
            "line": lines.get(key),
            "file": file,
            "beside": {each: _live(each) for each in _changed_with(key) if each not in own},
        }
    return saved


# Of two that say the same in different units, the kernel makes one 0 when the other is written (mm/page-writeback.c,
# mm/util.c).
UNITS = (
    ("vm.dirty_bytes", "vm.dirty_ratio"),
    ("vm.dirty_background_bytes", "vm.dirty_background_ratio"),
    ("vm.overcommit_kbytes", "vm.overcommit_ratio"),
)
# What a write hands down to the devices (net/ipv4/devinet.c, net/ipv6/addrconf.c).
FORWARDING = ("net/ipv4/conf/*/forwarding", "net/ipv4/conf/all/accept_redirects", "net/ipv4/ip_forward")
HANDED_DOWN = {
    "net.ipv4.ip_forward": FORWARDING,
    "net.ipv4.conf.all.forwarding": FORWARDING,
    **{
        "net.ipv6.conf.all." + name: ("net/ipv6/conf/*/" + name,)
        for name in ("forwarding", "disable_ipv6", "disable_policy", "ignore_routes_with_linkdown", "proxy_ndp",
                     "addr_gen_mode")
    },
}  # fmt: skip


def _changed_with(key: str) -> List[str]:
    """The parameters that the kernel changes by itself when this one is written."""
    found = [other for pair in UNITS if key in pair for other in pair if other != key]
    for pattern in HANDED_DOWN.get(key, ()):
        found += [path[len(ROOT) :].translate(OTHER) for path in sorted(glob.glob(ROOT + pattern))]
    return [each for each in found if each != key]


def carry_over(older: Dict[str, Any], before: Dict[str, Any]) -> None:
    """Of what later generations found: the file, and what is handed down, are as `older` found them before that."""
    found = {identity: saved for identity, saved in older.items() if identity.startswith("sysctl:")}
    beside = {key: live for saved in found.values() for key, live in saved.get("beside", {}).items()}
    file = next((saved["file"] for saved in found.values() if saved["file"]), None)
    for identity, saved in before.items():
        if identity.startswith("sysctl:") and identity not in found:
            before[identity] = dict(saved, live=beside.get(saved["key"], saved["live"]), file=file or saved["file"])


def _live(key: str) -> Optional[str]:
    """None for a parameter that went with its device or its module: it comes back with the kernel's own value."""
    try:
        return live_value(key).strip()
    except FileNotFoundError:
        return None


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    lines, settings = our_lines(), {}
    for resource in resources:
        have = seen[resource["id"]].value
        if have["live"] is None and resource.get("module"):
            # As the next boot does: our rules load it by themselves, but only once they are written.
            run(["modprobe", resource["module"]])
            have = dict(have, live=_brought(resource["key"]))
        setting = resource["value"]
        if resource["compare"] == "ports":
            setting = port_list(ports(setting) | ports(have["live"] or ""))
        if not holds(resource, have["live"]):
            settings[resource["key"]] = setting
        elif resource["compare"] == "min":
            # A boot must not lower what is there now.
            unlimited = have["live"] == resource.get("unlimited")
            setting = have["live"] if unlimited else str(max(int(setting), int(have["live"])))
        if not have["foreign"]:
            lines[resource["key"]] = setting
    _settle(settings)
    _write_lines(lines)


PASSES = 4


def _settle(settings: Mapping[str, Optional[str]]) -> None:
    """Set them all. One may be taken only after another one (the range of ports, say), or change it: so all of them are
    looked at again. Raises HostError, with all that the kernel refuses in the end."""
    for _ in range(PASSES):
        wrong, refused = 0, []
        for key, want in settings.items():
            have = _live(key)
            if want is None or have is None or normal(have) == normal(want):
                continue
            wrong += 1
            try:
                set_live(key, want)
            except HostError as error:
                refused += [] if key in ONE_WAY else [str(error)]
        if not wrong:
            return
    if refused:
        raise HostError("; ".join(refused))


def _brought(key: str) -> str:
    try:
        return normal(live_value(key))
    except FileNotFoundError:
        raise HostError("{}: {}".format(path_of(key), _lacks(key, loads=True))) from None


def as_before(_resource: Resource, before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    # What came with a module stays with it: nothing has used it before, and the next boot makes it the kernel's own.
    live = before["live"] is None or now["live"] in (before["live"], None) or before["key"] in ONE_WAY
    beside = all(now.get("beside", {}).get(key, was) in (was, None) for key, was in before.get("beside", {}).items())
    return bool(live and beside and before["line"] == now["line"] and _same_file(before["file"], now["file"]))


def _same_file(before: Optional[Dict[str, Any]], now: Optional[Dict[str, Any]]) -> bool:
    """Whether it is the very file, with its comments and times, if its lines are the same; of other lines other
    resources tell."""
    if before is None or now is None or _lines_of(before) != _lines_of(now):
        return True
    return files.as_before({}, before, now)


def _lines_of(saved: Dict[str, Any]) -> Dict[str, str]:
    return _in(files.content_of(saved))


# What Linux sets once and takes back only at a boot: no failure of a way back, which leaves it to that.
ONE_WAY = frozenset(
    {
        "kernel.kexec_load_disabled",
        "kernel.kexec_load_limit_panic",
        "kernel.kexec_load_limit_reboot",
        "kernel.modules_disabled",
        "kernel.unprivileged_bpf_disabled",
        "kernel.yama.ptrace_scope",
    }
)


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    lines = our_lines()
    for resource in resources:
        saved = captured[resource["id"]]
        if saved["line"] is None:
            lines.pop(saved["key"], None)
        else:
            lines[saved["key"]] = saved["line"]
    # What a boot will set first: it holds whatever becomes of the live values.
    known = [captured[r["id"]]["file"] for r in resources if captured[r["id"]]["file"]]
    same = next((file for file in known if _lines_of(file) == lines), None)
    if same:
        files.put_back(same)  # with its times
    else:
        _write_lines(lines)
    settings: Dict[str, Optional[str]] = {}
    for saved in (captured[resource["id"]] for resource in resources):
        settings.update(saved.get("beside", {}))
    settings.update((saved["key"], saved["live"]) for saved in (captured[resource["id"]] for resource in resources))
    _settle(settings)


def set_live(key: str, setting: str) -> None:
    """Write it. Raises HostError where the kernel refuses. It refuses some values without an error: the look after the
    write finds those."""
    try:
        with open(path_of(key), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(setting + "\n")
    except OSError as error:
        raise HostError("{}: can't set {} to {!r}: {}".format(path_of(key), key, setting, error.strerror)) from None


def our_lines() -> Dict[str, str]:
    try:
        with open(OUR_FILE, encoding="utf-8", errors="backslashreplace", newline="") as file:
            return _in(file.read())
    except FileNotFoundError:
        return {}


def _in(text: str) -> Dict[str, str]:
    return {a.key: a.value for a in parse(text, OUR_FILE) if a.value is not None}


def _body(lines: Dict[str, str]) -> str:
    return HEADER + "".join("{} = {}\n".format(key, lines[key]) for key in sorted(lines)) if lines else ""


def _write_lines(lines: Dict[str, str]) -> None:
    if lines == our_lines():
        return
    if lines:
        files.write([{"path": OUR_FILE, "content": _body(lines), "mode": "0644"}], {})
    else:
        store.remove(OUR_FILE)
