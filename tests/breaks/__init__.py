"""What breaks a hardened host: each goes round what hostguard wrote, and exactly one control must fail."""

from __future__ import annotations

from tests.breaks import egress, gateway, kernel, machine, names, platform, secrets, services
from tests.breaks.model import UNIT, Break

BREAKS: tuple[Break, ...] = (
    *platform.BREAKS, *egress.ANY_BACKEND, *egress.NFT, *egress.ON_DISK, *names.BREAKS, *kernel.BREAKS,
    *services.BREAKS, *secrets.BREAKS,
)  # fmt: skip
"""On a container that hardens itself with the example policy, with iptables on nft."""

WIDER = (
    'net.ipv4.ip_local_port_range: "10240 65535"',
    f'net.ipv4.ip_local_port_range: "10240 65535"\n  {kernel.RESERVED}: "15001"\n  {kernel.IDLE}: 0',
)
OF_A_WIDER_POLICY: tuple[Break, ...] = kernel.OF_A_WIDER_POLICY
"""Under the example policy with that change: what it leaves out."""

BY_NAME = ('cidrs: [203.0.113.5/32, "2001:db8::5/128"]', "hosts: [api.provider.com]")
OF_NAMES: tuple[Break, ...] = names.OF_NAMES
"""Under the example policy with that change."""

ON_LEGACY: tuple[Break, ...] = (*egress.ANY_BACKEND, *egress.LEGACY)
ON_A_MACHINE: tuple[Break, ...] = machine.BREAKS
"""In a virtual machine, whose kernel is its own."""

EVERY: tuple[Break, ...] = (
    *BREAKS, *OF_A_WIDER_POLICY, *OF_NAMES, *egress.LEGACY, *ON_A_MACHINE, machine.WITHOUT_AES, *gateway.BEHIND,
    *gateway.OF_FOREIGN, *secrets.OF_AGENT,
)  # fmt: skip

# What a boot sets: not the machine's own parameters, in a container, and not what only listens.
PARAMETERS = {each.control for each in (*kernel.BREAKS, *OF_A_WIDER_POLICY)} - {
    "kernel.listening-ports", "kernel.nr-open", "kernel.file-max"
}  # fmt: skip
OF_SEVERAL: tuple[tuple[str, str, str, set[str]], ...] = (
    ("a table that is switched off", "nft 'add table ip6 filter { flags dormant; }'", "nft add table ip6 filter",
     {"egress.output", "egress.replies"}),
    ("a boot that reads no parameters",
     f"mkdir {UNIT}/systemd-sysctl.service.d; printf '[Unit]\\nConditionPathExists=/nope\\n' > "
     f"{UNIT}/systemd-sysctl.service.d/z.conf", f"rm -r {UNIT}/systemd-sysctl.service.d", PARAMETERS),
    ("a kernel that says it is 2.6, and would refuse the mount's noswap",
     "printf '#!/bin/sh\\nexec setarch --uname-2.6 /usr/bin/python3 \"$@\"\\n' > /usr/local/bin/python3; "
     "chmod 755 /usr/local/bin/python3", "rm /usr/local/bin/python3", {"platform.kernel", "secrets.boot"}),
)  # fmt: skip
"""One act that truly undoes several controls: exactly those must fail."""

MISSING = {
    "platform.kernel": "no host has an older kernel to boot, and what feigns one (above) breaks the mount at boot too",
}
"""Controls without two breaks of their own, and why."""
