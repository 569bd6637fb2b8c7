"""The disk that virtual machines start from: a Debian with a kernel of its own, built once and kept in the cache.

The folder's name carries a hash of all that goes into it: change the recipe and the next run builds another one.
"""

from __future__ import annotations

import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab import debian
from tests.lab.process import PACKAGE_OF_MACHINES, LabUnavailable, call, whats_missing

SUITE = "trixie"
PYTHON = debian.PYTHONS[SUITE]
LIBRARIES = "/opt/hostguard-lib"
SOURCES = "/opt/hostguard-src"
SIZE = "3G"  # sparse: what the machine writes goes into an overlay

PACKAGES = (*debian.PACKAGES, "dnsmasq-base", "linux-image-cloud-amd64", "initramfs-tools", "udev", "zstd")
MASKED = (
    "systemd-networkd-wait-online.service",
    "serial-getty@ttyS0.service",
    # No test has a use for them, and an emulated boot takes seconds for each.
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "modprobe@.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    *debian.TIMERS,
)

CARD = "52:54:00:12:34:56"
# What qemu's user network hands out. By hand, since it never changes: a DHCP client would write leases to /run.
NETWORK = f"""\
[Match]
MACAddress={CARD}

[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
DHCP=no
IPv6AcceptRA=no
"""
# Callers that are cut off in the middle of a handshake are what these tests are about; sshd must not punish the
# next ones for it.
SSHD = "PerSourcePenalties no\n"
FSTAB = f"/dev/vdb {SOURCES} ext4 ro 0 0\n"


@dataclass(frozen=True)
class Disk:
    """The folder of one built disk."""

    folder: Path

    @property
    def root(self) -> Path:
        """The root file system; nobody writes to it any more."""
        return self.folder / "root.img"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def key(self) -> Path:
        """The private key that root of the machine knows."""
        return self.folder / "key"


def ensure() -> Disk:
    """Return the disk; build it first when the cache does not have it."""
    if reason := whats_missing_for_machines():
        raise LabUnavailable(reason)
    libraries = debian.libraries(PYTHON)
    recipe = debian.recipe(SUITE, PACKAGES, MASKED, NETWORK, SSHD, FSTAB, SIZE, debian.PYCACHE, libraries.name,
                           _furnish, _add_libraries, _pack)  # fmt: skip
    return Disk(debian.once(debian.CACHE / f"disk-{SUITE}-{recipe}", f"disk-{SUITE}", _build))


def whats_missing_for_machines() -> str | None:
    """Say in one sentence why there can be no virtual machine here; None when there can."""
    if platform.machine() != "x86_64":
        return "the lab's virtual machine is an x86_64 one"
    return whats_missing(PACKAGE_OF_MACHINES)


def _build(scratch: Path, folder: Path) -> None:
    started = time.monotonic()
    debian.say(f"building {folder}: a minute or two, once")
    tree, new = scratch / "tree", scratch / "disk"
    new.mkdir()
    debian.bootstrap(SUITE, PACKAGES, tree)
    key = new / "key"
    call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "hostguard-lab", "-f", str(key)])
    _furnish(tree, key.with_suffix(".pub").read_text())
    debian.say("compiling hostguard's libraries")
    _add_libraries(tree)
    debian.say("mke2fs")
    _pack(tree, new)
    debian.forget(f"disk-{SUITE}-*")
    new.rename(folder)
    debian.say(f"built in {time.monotonic() - started:.0f} s")


def _furnish(tree: Path, public_key: str) -> None:
    debian.furnish(tree, MASKED)
    inside = ["chroot", str(tree)]
    for path, text in (
        ("etc/hostname", "machine\n"),
        ("etc/fstab", FSTAB),
        ("etc/systemd/network/10-lab.network", NETWORK),
        ("etc/ssh/sshd_config.d/lab.conf", SSHD),
        ("root/.ssh/authorized_keys", public_key),
    ):
        place = tree / path
        place.parent.mkdir(mode=0o700 if path.startswith("root") else 0o755, parents=True, exist_ok=True)
        place.write_text(text)
    (tree / SOURCES.lstrip("/")).mkdir()
    call([*inside, "systemctl", "enable", "systemd-networkd.service", "ssh.service"])
    call([*inside, "systemd-machine-id-setup"])  # a first boot would write more than that


def _add_libraries(tree: Path) -> None:
    """With what Python makes of them: under an emulator each import would otherwise take seconds."""
    shutil.copytree(debian.libraries(PYTHON), tree / LIBRARIES.lstrip("/"))
    compile_all = ["python3", "-m", "compileall", "-q", LIBRARIES]
    call(["chroot", str(tree), "env", f"PYTHONPYCACHEPREFIX={debian.PYCACHE}", *compile_all])


def _pack(tree: Path, folder: Path) -> None:
    for name in ("vmlinuz", "initrd.img"):  # links to what is in /boot
        shutil.copy(tree / name, folder / name)
    make_file_system(tree, folder / "root.img", SIZE)


def make_file_system(tree: Path, image: Path, size: str) -> None:
    """Make an ext4 image that holds this folder, without mounting anything."""
    call(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(image), size])
