"""Write docs/ways-out.md from the cases: `python -m hostguard.attack.page`.

With `--check` nothing is written, and the exit code is 1 where the page is not what it would be.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from hostguard import generated
from hostguard.attack.case import WHO, Case, Holds
from hostguard.attack.cases import CASES, LIMITS

PAGE = generated.ROOT / "docs" / "ways-out.md"
HEAD = """\
<!-- Written by `python -m hostguard.attack.page` from hostguard/attack/cases. -->
# The ways out

Somebody runs code on the host, and wants a packet out that the policy does not name. Each way below is one that
`hostguard rehearse` tries on the kernel it runs on, before the policy and after it, over IPv4 and IPv6 where both have
it; frames are judged as they come off the wire, by a namespace outside of the host, and each carries a number of its
own. A way that was not seen to get out before proves nothing, and is not counted. `hostguard prove` tries those marked
**p** on a host in service.

What must hold is **the rules** (chains of iptables in OUTPUT and FORWARD), **the hook** (nftables' egress hook of each
device: Linux 5.16 and nft, `egress.frames: hold`), the mode of a socket's **folder**, the **kernel** by itself, the
**gateway**'s own configuration, or **nothing**: then the way is open, is tried all the same, and is shown as open.
Packets that stay on the link count as out.

For the gateway a rehearsal runs the real Envoy with the policy's configuration, and a provider with a certificate of
its own in the world outside. A request is judged by what that provider saw, read in each of the ways in which servers
read: another host's name, a request that was not asked for, an upgrade. First it is sent to the provider directly,
where all of that must be seen.
"""


def page() -> str:
    layers = dict.fromkeys(each.layer for each in CASES)
    parts = [HEAD, _who(), *(_layer(layer) for layer in layers), _limits()]
    return "\n".join(parts)


def _who() -> str:
    rows = [generated.row((who, WHO[who], str(sum(each.who == who for each in CASES)))) for who in WHO]
    return "\n".join(["## Who tries\n", "| who | is | ways |", "|---|---|---|", *rows, ""])


def _layer(layer: str) -> str:
    members = [each for each in CASES if each.layer == layer]
    rows = [generated.row(_cells(each)) for each in members]
    heading = layer[0].upper() + layer[1:]
    head = ["| way | who | tries | IP | held by | |", "|---|---|---|---|---|---|"]
    return "\n".join([f"## {heading}\n", *head, *rows, ""])


def _cells(each: Case) -> Iterator[str]:
    yield f"`{each.id}`"
    yield each.who
    yield each.tries
    yield " ".join(map(str, each.families))
    yield f"**{HELD[each.holds]}**: {each.held_by.removeprefix('nothing: ').removeprefix(f'{HOOK}: ')}"
    yield "p" if each.harmless else ""


HOOK = "the hook on the way out of the interface"
HELD = {
    Holds.RULES: "rules",
    Holds.FRAMES: "hook",
    Holds.FOLDER: "folder",
    Holds.KERNEL: "kernel",
    Holds.GATEWAY: "gateway",
    Holds.NOTHING: "nothing",
}


def _limits() -> str:
    rows = [generated.row(limit) for limit in LIMITS]
    head = [
        "## What is not tried\n",
        "No rule of a host's can hold these.\n",
        "| who | does | what holds it |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


if __name__ == "__main__":
    sys.exit(generated.keep({PAGE: page()}, sys.argv[1:]))
