"""The image that lab hosts start from: a small Debian with systemd, built once and kept by podman.

Its name carries a hash of all that goes into it: change the recipe and the next run builds another one.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import time
from pathlib import Path

from tests.lab import debian
from tests.lab.process import LabError, LabUnavailable, call, whats_missing

# For hosts that pull, with a hostguard of their own, that resolve names, that install packages, and for an application
# that asks a gateway.
PACKAGES = (*debian.PACKAGES, "curl", "dnsmasq-base", "git", "gpg", "sudo", "python3-apt", "python3-packaging",
            "python3-venv")  # fmt: skip

# They cannot work in a container or would reach for the machine's devices. systemd-sysctl is not among them: net.*
# is the host's own, and a reboot must bring it back. Values that are the machine's are refused to it, see
# tests/lab/host.py.
MASKED = (
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    "systemd-logind.service",
    "systemd-modules-load.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "dev-hugepages.mount",
    "console-getty.service",
    "getty.target",
    *debian.TIMERS,
)


def ensure(suite: str = "bookworm") -> str:
    """Return the image's name; build it first when podman does not have it."""
    if reason := whats_missing():
        raise LabUnavailable(reason)
    name = _name(suite)
    if _exists(name):
        return name
    with debian.locked(f"image-{suite}"):
        if not _exists(name):  # another run may have built it while this one waited for the lock
            _build(suite, name)
    return name


def grown(name: str, recipe: Path, suite: str = "bookworm") -> str:
    """The name of the suite's image with more in it, as a Containerfile says; built first when podman does not have it.
    It is built in a chroot, with the machine's way to Debian's mirror; nothing of it starts."""
    base = ensure(suite)
    text = recipe.read_text(encoding="utf-8")
    number = hashlib.sha256(f"{base} {debian.MIRROR} {text}".encode()).hexdigest()[:12]
    tag = f"localhost/hostguard-lab-{name}-{suite}:{number}"
    with debian.locked(f"image-{name}"):
        if not _exists(tag):
            debian.say(f"building {tag}: a minute at most, once")
            arguments = (f"--build-arg=BASE={base}", f"--build-arg=MIRROR={debian.MIRROR}")
            with tempfile.TemporaryDirectory() as nothing:
                call(["podman", "build", "--quiet", "--isolation=chroot", "--network=host", "--layers=false",
                      *arguments, "--file", str(recipe), "--tag", tag, nothing], timeout=1800)  # fmt: skip
    return tag


def _name(suite: str) -> str:
    recipe = debian.recipe(suite, PACKAGES, MASKED, _furnish, _import)
    return f"localhost/hostguard-lab-{suite}:{recipe}"


def _exists(name: str) -> bool:
    return call(["podman", "image", "exists", name], check=False).returncode == 0


def _build(suite: str, name: str) -> None:
    started = time.monotonic()
    debian.say(f"building {name}: about a minute and a half, once")
    with tempfile.TemporaryDirectory(prefix="image-", dir=debian.CACHE) as scratch:
        tree = Path(scratch) / "tree"
        debian.bootstrap(suite, PACKAGES, tree)
        _furnish(tree)
        debian.say("podman import")
        _import(tree, name)
    _forget_old()
    debian.say(f"built in {time.monotonic() - started:.0f} s")


def _furnish(tree: Path) -> None:
    debian.furnish(tree, MASKED)
    (tree / "etc/machine-id").unlink(missing_ok=True)  # lab-init gives every host its own


def _import(tree: Path, name: str) -> None:
    command = ["podman", "import", "--quiet", "--change", 'CMD ["/usr/local/sbin/lab-init"]',
               "--change", "STOPSIGNAL SIGRTMIN+3", "-", name]  # fmt: skip
    with subprocess.Popen(["tar", "-C", str(tree), "-c", "."], stdout=subprocess.PIPE) as tar:
        imported = subprocess.run(command, stdin=tar.stdout, capture_output=True, text=True, check=False)
    if tar.returncode or imported.returncode:
        raise LabError(f"podman import of {tree} failed: {imported.stderr.strip()}")


def _forget_old() -> None:
    """Remove images of recipes past. A week's grace: another checkout may still use a recent one."""
    old = ["--filter", "reference=localhost/hostguard-lab-*", "--filter", "until=168h"]
    for number in call(["podman", "images", "--quiet", *old]).stdout.split():
        call(["podman", "rmi", number], check=False)  # refused while a container uses it
