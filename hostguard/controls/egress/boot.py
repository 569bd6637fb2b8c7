"""The same sets and chains once more, as files, for a boot to load before the network is up."""

from __future__ import annotations

from hostguard.controls.egress import allowlist, chains, frames, names
from hostguard.controls.text import render
from hostguard.host.kinds import file, ipset, ruleset, unit
from hostguard.host.kinds.frames import HARDWARE_ADDRESS
from hostguard.host.resource import Resource
from hostguard.host.standing import by_family
from hostguard.host.store import BOOT_RULES as FOLDER
from hostguard.host.store import BOOT_UNIT as UNIT
from hostguard.host.store import FOLDER as STATE
from hostguard.host.store import HOLD
from hostguard.policy.gateway import Gateway
from hostguard.policy.model import Egress

CONTROL = "egress.boot"
LOADERS = ("ferm", "firewalld", "ip6tables", "ipset", "iptables", "netfilter-persistent", "nftables", "shorewall",
           "shorewall6", "ufw")  # fmt: skip
"""Services that load rules of their own, and flush what is there, or some of it, before they do."""
UDEV = "/etc/udev/rules.d/99-hostguard.rules"


def _frames(resource: Resource) -> list[Resource]:
    """Devices come when they come: udev loads the table anew for each."""
    hooked = "; ".join(resource["device_rules"]).replace(HARDWARE_ADDRESS, "$address")
    script = render("frames.sh.j2", chains=resource["chains"].items(), hooked=hooked, hold=HOLD)
    run = f'ACTION=="add|move", SUBSYSTEM=="net", RUN+="/bin/sh {FOLDER}/frames"'
    return [
        file.resource(CONTROL, f"{FOLDER}/frames", script),
        file.resource(CONTROL, UDEV, f"# Written by hostguard: edit the policy instead.\n{run}\n"),
    ]


def boot(egress: Egress, gateway: Gateway | None) -> list[Resource]:
    rulesets = [*chains.output(egress), *chains.forward(egress), *chains.replies(egress)]
    rulesets += chains.gateway(gateway) if gateway else []
    sets = [*allowlist.destination_sets(egress), *allowlist.reply_sets(egress), *names.sets(egress)]
    held = frames.frames(egress)
    others = " ".join(f"{name}.service" for name in LOADERS)
    service = render("egress.service.j2", folder=FOLDER, others=others, hold=HOLD, state=STATE)
    return [
        *(each for frame in held for each in _frames(frame)),
        file.resource(CONTROL, f"{FOLDER}/sets", ipset.script(sets)),
        *(
            file.resource(CONTROL, f"{FOLDER}/{family}.rules", ruleset.load_script(members, {}))
            for family, members in by_family(rulesets).items()
        ),
        file.resource(CONTROL, f"{FOLDER}/load", render("egress-load.j2", folder=FOLDER, frames=bool(held))),
        file.resource(CONTROL, f"/etc/systemd/system/{UNIT}", service),
        unit.resource(
            CONTROL,
            UNIT,
            {},
            ours=True,
            enabled=True,
            active=True,  # systemd starts only active units again with those that flush
            asks_for=["network-pre.target"],
            hold=HOLD,
            beside=["firewalld.service"],
        ),
    ]
