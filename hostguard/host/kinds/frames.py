"""The nftables table `netdev hostguard`: what acts on frames as they leave a device, below every chain of iptables.

Frames from packet sockets pass no chain of iptables; the egress hook of the netdev family sees them (Linux 5.16). The
rules are the policy's; the devices are the host's, one chain each, all replaced by one transaction.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional

from ..nft import NO_SUCH, OURS, Chains, parse_table
from ..program import find, run
from ..resource import (
    VALUE,
    Difference,
    HostError,
    Observation,
    Resource,
    not_applicable,
    value,
)

TABLE = "netdev {}".format(OURS)
PREFIX = "egress-"
HARDWARE_ADDRESS = "ADDRESS"
DEVICES = "/sys/class/net/"
SAMPLE = "02:00:00:00:00:01"
SAFE = re.compile(r"[A-Za-z0-9_.@:+-]+")
IN_KERNEL = True
GUESTS = ("tun", "veth")
IN_A_CONTAINER = ("veth", "macvlan", "ipvlan")


class Devices(NamedTuple):
    """`leaving`: the hardware address, by name, of each device that frames leave through. The others name devices for
    whose sake to hold frames would cut something off."""

    leaving: Dict[str, str]
    leased: List[str]
    bridged: List[str]
    vrf: List[str]


def devices(text: str) -> Devices:
    """From `ip -json -details address`: hardware, or where there is none (a container) this end of what leads out."""
    links = [link for link in json.loads(text) if link.get("link_type") == "ether"]
    kinds = {link["ifname"]: link.get("linkinfo", {}).get("info_kind", "") for link in links}
    masters = {link["ifname"]: link.get("master", "") for link in links}
    hardware = [link for link in links if not kinds[link["ifname"]]]
    out = hardware or [
        link for link in links if kinds[link["ifname"]] in IN_A_CONTAINER and not masters[link["ifname"]]
    ]
    # A guest on the same bridge sends through our device what no chain of iptables sees either.
    shared = {masters[name] for name, kind in kinds.items() if kind in GUESTS} - {""}
    return Devices(
        {link["ifname"]: link["address"] for link in out},
        sorted(link["ifname"] for link in links if any(_leased(each) for each in link["addr_info"])),
        sorted(link["ifname"] for link in out if masters[link["ifname"]] in shared),
        sorted(name for name, kind in kinds.items() if kind == "vrf"),
    )


def _leased(address: Dict[str, Any]) -> bool:
    return bool(address.get("family") == "inet" and address.get("dynamic"))


def chains_of(resource: Resource, leaving: Dict[str, str]) -> Chains:
    chains: Chains = {name: list(rules) for name, rules in resource["chains"].items()}
    for device, address in leaving.items():
        # Not by its name, which may hold what no chain's may.
        chains[PREFIX + str(len(chains))] = [
            'type filter hook egress device "{}" priority filter; policy accept;'.format(device),
            *(rule.replace(HARDWARE_ADDRESS, address) for rule in resource["device_rules"]),
        ]
    return chains


def script(chains: Chains) -> str:
    """What `nft -f` reads to replace the table as a whole."""
    lines = ["table " + TABLE, "delete table " + TABLE, "table " + TABLE + " {"]
    for name, rules in chains.items():
        lines += ["\tchain {} {{".format(name), *("\t\t" + rule for rule in rules), "\t}"]
    return "\n".join([*lines, "}"]) + "\n"


def by_device(chains: Chains) -> Chains:
    """The chains of devices under `device NAME`, since their numbers are no more than that."""
    found: Chains = {}
    for name, rules in chains.items():
        hook = re.match(r'type filter hook egress device "?([^" ]+)"?', rules[0]) if rules else None
        found["device " + hook.group(1) if hook and name.startswith(PREFIX) else name] = rules
    return found


def resource(control: str, chains: Dict[str, List[str]], device_rules: List[str], holds: bool, dhcp: bool) -> Resource:
    """Our table of the family netdev: its chains, and the rules of each device. `holds`: it drops, and does not only
    log; `dhcp`: leases may be asked for."""
    return {
        "id": "frames:hostguard",
        "kind": "frames",
        "control": control,
        "chains": chains,
        "holds": holds,
        "device_rules": device_rules,
        "dhcp": dhcp,
    }


def read(resources: List[Resource]) -> Dict[str, Observation]:
    return {r["id"]: _read(r) for r in resources}


def _read(resource: Resource) -> Observation:
    now = devices(run(["ip", "-json", "-details", "address"]).stdout)
    for name in now.leaving:
        if not SAFE.fullmatch(name):
            raise HostError("the device {!r} has a name that stands in no rule: rename it".format(name))
    if find("nft") is None:
        return value({"nft": False, **now._asdict(), "chains": None, "canonical": None})
    have = _listed()
    want = chains_of(resource, now.leaving)
    canonical: Optional[Chains] = None
    if have is None or by_device(have) != by_device(want):
        canonical = _canonical(resource, now.leaving)
        if canonical is None:
            return not_applicable("this kernel ({}) has no egress hook for frames".format(os.uname().release))
    return value({"nft": True, **now._asdict(), "chains": have, "canonical": canonical})


def _listed() -> Optional[Chains]:
    done = run(["nft", "-s", "list", "table", *TABLE.split()], check=False)
    if done.returncode and NO_SUCH not in done.stderr:
        why = "needs root" if "permitted" in done.stderr else "failed: " + (done.stderr.strip() or "no reason given")
        raise HostError("`nft list table {}` {}".format(TABLE, why))
    return None if done.returncode else parse_table(done.stdout)


def is_in_force() -> bool:
    """Whether our table holds frames, on one device at least: which ones, and how, is for `differ` to say."""
    chains = _listed() if find("nft") else None
    return any("hook egress" in rule for rules in (chains or {}).values() for rule in rules) and "drop" in (
        chains or {}
    ).get("refuse", [])


def _canonical(resource: Resource, leaving: Dict[str, str]) -> Optional[Chains]:
    """The rules as this host's nft writes them, from a network namespace that exists for this question; None where the
    kernel has no such hook."""
    inside = "nft -f - && nft -s list table " + TABLE
    rules = script(resource["chains"])
    if run(["unshare", "--net", "--", "sh", "-ec", inside], text=rules, check=False).returncode:
        # Without a hook: then it is nft, or the right to ask, that is missing.
        run(["unshare", "--net", "--", "sh", "-ec", inside], text=rules)
    # lo is in every namespace, and takes a hook like any other.
    done = run(
        ["unshare", "--net", "--", "sh", "-ec", inside], text=script(chains_of(resource, {"lo": SAMPLE})), check=False
    )
    if done.returncode:
        return None
    said = parse_table(done.stdout)
    sample = next(rules for name, rules in said.items() if name.startswith(PREFIX))
    written = {name: rules for name, rules in said.items() if not name.startswith(PREFIX)}
    for device, address in leaving.items():
        hook = sample[0].replace('"lo"', '"{}"'.format(device))
        written[PREFIX + str(len(written))] = [hook, *(rule.replace(SAMPLE, address) for rule in sample[1:])]
    return written


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    have = seen.value
    found = [] if not resource["holds"] else _obstacles(resource, have)
    if not have["nft"]:
        blocked = "nft is not installed, and only it holds frames: install nftables, or set egress.frames: allow"
        return [*found, Difference("nft", "absent", "installed", blocked)]
    if have["chains"] is None:
        return [*found, Difference("table", "absent", wanted(resource))]
    there, want = by_device(have["chains"]), by_device(have["canonical"] or chains_of(resource, have["leaving"]))
    for name in sorted({*there, *want}):
        if there.get(name) != want.get(name):
            field = name if name.startswith("device ") else "chain " + name if name else "table"
            lines = (";\n".join(chains.get(name) or ["absent"]) for chains in (there, want))
            found.append(Difference(field, *lines))
    return found


def _obstacles(resource: Resource, have: Dict[str, Any]) -> List[Difference]:
    """What to hold frames would cut off, and nobody wants to find out at night."""
    found = []
    allow = "set egress.frames: allow"
    if have["leased"] and not resource["dhcp"]:
        blocked = (
            "{} has its address from DHCP, whose client sends frames: name the server under egress.services "
            "(protocol: udp, ports: [67]), or {}".format(have["leased"][0], allow)
        )
        found.append(Difference("DHCP", "held", "let out", blocked))
    for device in have["bridged"]:
        blocked = "guests are bridged to {}, and would be cut off: route them, or {}".format(device, allow)
        found.append(Difference("bridge", "held", "let out", blocked))
    for device in have["vrf"]:
        blocked = "{} is a VRF, whose addresses are not seen to be the host's: {}".format(device, allow)
        found.append(Difference("VRF", "held", "let out", blocked))
    return found


def wanted(resource: Resource) -> str:
    return "frames on every device: {}".format(
        "what no route sent out is held" if resource["holds"] else "what would be held is logged"
    )


def seen_as(_resource: Resource, seen: Observation) -> str:
    names = [name for name in by_device(seen.value["chains"] or {}) if name.startswith("device ")]
    return "table {} on {}".format(TABLE, ", ".join(names) or "no device")


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    for resource in resources:
        _load(chains_of(resource, seen[resource["id"]].value["leaving"]))


def _load(chains: Chains) -> None:
    run(["nft", "-f", "-"], text=script(chains))


def place(_resource: Resource) -> str:
    return "frames"


def capture(resources: List[Resource]) -> Dict[str, Any]:
    there = find("nft") is not None
    return {r["id"]: {"chains": _listed() if there else None, "nft": there} for r in resources}


def as_before(_resource: Resource, before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    if before.get("nft") and not now["nft"]:
        return False  # nobody can say what is there
    was, have = (None if saved["chains"] is None else by_device(_of_what_is_there(saved["chains"]))
                 for saved in (before, now))  # fmt: skip
    return was == have


def _of_what_is_there(chains: Chains) -> Chains:
    """Without those of devices that are gone: nft refuses them, and all others with them."""
    named = zip(chains, by_device(chains))
    gone = [name for name, shown in named if shown.startswith("device ") and not os.path.exists(DEVICES + shown[7:])]
    return {name: rules for name, rules in chains.items() if name not in gone}


def restore(_resources: List[Resource], captured: Dict[str, Any]) -> None:
    for saved in captured.values():
        if saved["chains"] is not None:
            _load(_of_what_is_there(saved["chains"]))
            continue
        # Not listed first: what can't be shown must go all the same.
        done = run(["nft", "delete", "table", *TABLE.split()], check=False)
        if done.returncode and NO_SUCH not in done.stderr:
            raise HostError("`nft delete table {}` failed: {}".format(TABLE, done.stderr.strip()))
