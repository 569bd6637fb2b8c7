"""The lab's network: one namespace that plays the world, and one for each host, on one Ethernet segment.

The world holds every address of the example policy: the resolver, the provider, the management station
and the enemy are all real there, and nothing leaves the machine. The machine's own network namespace is
never touched: links are born inside the namespaces that they join.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.process import LabError, call

RESOLVER = "10.0.0.2"
TIME_SERVER = "10.0.0.3"
VAULT = "10.0.0.8"
MANAGEMENT = "10.77.0.1"
MANAGEMENT_V6 = "2001:db8:77::1"
PROVIDER = "203.0.113.5"
PROVIDER_V6 = "2001:db8::5"
ENEMY = "198.51.100.66"
ENEMY_V6 = "2001:db8:bad::66"

BRIDGE = "br0"
GATEWAY_LINK_LOCAL = "fe80::1"
LAST_NUMBER = 200
MACHINES_NUMBER = 240
CABLE = "machine"
TUNSETIFF, TAP, NO_HEADER, NEW_NETWORK = 0x400454CA, 0x0002, 0x1000, 0x40000000  # linux/if_tun.h, linux/sched.h
WORLD_ADDRESSES = (
    f"{MANAGEMENT}/24",
    f"{MANAGEMENT_V6}/64",
    f"{GATEWAY_LINK_LOCAL}/64",
    *(f"{address}/32" for address in (RESOLVER, TIME_SERVER, VAULT, PROVIDER, ENEMY)),
    *(f"{address}/128" for address in (PROVIDER_V6, ENEMY_V6)),
)


@dataclass(frozen=True)
class Address:
    """Where host number N lives on the segment. A reboot keeps all of it, as a real network card would."""

    number: int

    @property
    def ipv4(self) -> str:
        return f"10.77.0.{10 + self.number}"

    @property
    def ipv6(self) -> str:
        return f"2001:db8:77::{10 + self.number}"

    @property
    def link_local(self) -> str:
        return f"fe80::{10 + self.number}"

    @property
    def mac(self) -> str:
        return f"02:00:00:77:00:{10 + self.number:02x}"

    @property
    def world_end(self) -> str:
        return f"host{self.number}"


def namespaces() -> list[str]:
    """The names of all network namespaces that `ip netns` knows on this machine."""
    return [line.split()[0] for line in call(["ip", "netns", "list"]).stdout.splitlines() if line.strip()]


def inside(namespace: str) -> list[str]:
    """The beginning of a command that runs in this namespace.

    Not `ip netns exec`: that one mounts another /sys, and a `podman exec` under it loses the cgroups.
    """
    return ["nsenter", f"--net=/run/netns/{namespace}"]


def remove(namespace: str) -> None:
    """Forget a namespace; it goes for good with its last process."""
    call(["ip", "netns", "delete", namespace], check=False)


class World:
    """The namespace that holds the bridge and every address that a host may or may not talk to."""

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self) -> None:
        """Make it. One that is there already is taken as it is: hosts may be hanging on it."""
        if Path("/run/netns", self.name).exists():
            return
        call(["ip", "netns", "add", self.name])
        # It must not forward: what has no address here has to stay unreachable.
        self.run(["sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"])
        _batch(
            self.name,
            "link set lo up",
            # No learning delay and no multicast snooping: a link carries traffic, and neighbour discovery
            # works, as soon as it is up.
            f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {BRIDGE} address 02:00:00:77:00:01 addrgenmode none up",
            *(f"address add {address} dev {BRIDGE}{_nodad(address)}" for address in WORLD_ADDRESSES),
        )

    def attach(self, namespace: str, number: int) -> Address:
        """Make a fresh namespace with a leg on the bridge. Fails when the number is taken."""
        address = Address(number)
        call(["ip", "netns", "add", namespace])
        try:
            self._plug(namespace, address)
        except LabError:
            remove(namespace)
            raise
        return address

    def cable(self) -> int:
        """The other end of an Ethernet cable that hangs on the bridge, for a virtual machine, as a file descriptor: it
        is unplugged when nobody has it open any more."""
        with Path("/proc/thread-self/ns/net").open() as ours, Path("/run/netns", self.name).open() as theirs:
            _enter(theirs.fileno())  # the interface is born where it is asked for
            try:
                end = os.open("/dev/net/tun", os.O_RDWR)
                fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", CABLE.encode(), TAP | NO_HEADER))
            finally:
                _enter(ours.fileno())
        _batch(self.name, f"link set {CABLE} addrgenmode none master {BRIDGE} up")
        return end

    def detach(self, namespace: str, number: int) -> None:
        """Destroy a host's namespace, and its link first: the kernel clears a namespace up later."""
        call(["ip", "-n", self.name, "link", "delete", Address(number).world_end], check=False)
        remove(namespace)

    def numbers(self) -> set[int]:
        """The numbers of the hosts that hang on the bridge."""
        links = call(["ip", "-n", self.name, "-o", "link", "show", "type", "veth"]).stdout
        names = (line.split(": ")[1].split("@")[0] for line in links.splitlines())
        return {int(name.removeprefix("host")) for name in names if name.startswith("host")}

    def run(self, argv: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program of the machine's in the world."""
        return call([*inside(self.name), *argv], check=check)

    def start_program(self, argv: Sequence[str]) -> subprocess.Popen[str]:
        """Start a program in the world, a server for instance. The caller ends it."""
        return subprocess.Popen(
            [*inside(self.name), *argv], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )

    def stop(self) -> None:
        remove(self.name)

    def _plug(self, namespace: str, address: Address) -> None:
        end = address.world_end
        _batch(
            self.name,
            f"link add {end} type veth peer name eth0 address {address.mac} netns {namespace}",
            f"link set {end} addrgenmode none master {BRIDGE} up",
        )
        _batch(
            namespace,
            "link set lo up",
            "link set eth0 addrgenmode none",
            "link set eth0 up",
            f"address add {address.ipv4}/24 dev eth0",
            f"address add {address.ipv6}/64 dev eth0 nodad",
            f"address add {address.link_local}/64 dev eth0 nodad",
            f"route add default via {MANAGEMENT} dev eth0",
            f"route add default via {MANAGEMENT_V6} dev eth0",
        )


def _enter(namespace: int) -> None:
    """Only this thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, NEW_NETWORK):
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")


def _nodad(address: str) -> str:
    """Duplicate address detection would keep an IPv6 address unusable for a second."""
    return " nodad" if ":" in address else ""


def _batch(namespace: str, *commands: str) -> None:
    call(["ip", "-n", namespace, "-batch", "-"], input="".join(f"{command}\n" for command in commands))
