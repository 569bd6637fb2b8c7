"""The image that lab hosts start from: a small Debian with systemd, built once and kept by podman.

There is no registry to pull from, so it is made with debootstrap. Its name carries a hash of all that
goes into it: change the recipe and the next run builds another one.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.process import LabError, LabUnavailable, call, whats_missing

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("HOSTGUARD_LAB_CACHE", "/var/cache/hostguard-lab"))
MIRROR = os.environ.get("HOSTGUARD_LAB_MIRROR", "http://deb.debian.org/debian")
OVERLAY = Path(__file__).with_name("rootfs")  # copied over the debootstrapped tree as it is

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "ca-certificates",
    "conntrack",
    "ipset",
    "iproute2",
    "iptables",
    "kmod",
    "libpam-modules",
    "netcat-openbsd",
    "nftables",
    "openssh-server",
    "openssl",
    "procps",
    "python3",
    "util-linux",
)
ACCOUNTS = ("envoy", "vault-agent")

# The first group cannot work in a container or would reach for the machine's devices; the second would
# change files behind a test's back. systemd-sysctl is not among them: net.* is the host's own, and a
# reboot must bring it back. Values that are the machine's are refused to it, see tests/lab/host.py.
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
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "systemd-tmpfiles-clean.timer",
)


def ensure(suite: str = "bookworm") -> str:
    """Return the image's name; build it first when podman does not have it."""
    if reason := whats_missing():
        raise LabUnavailable(reason)
    name = _name(suite)
    if _exists(name):
        return name
    with locked(f"image-{suite}"):
        if not _exists(name):  # another run may have built it while this one waited for the lock
            _build(suite, name)
    return name


def libraries() -> Path:
    """Return a folder with what hostguard imports, for the Python of a host of the same version.

    Hosts have no way to the internet: the packages are installed here, once per list of dependencies.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    dependencies = sorted(project["dependencies"] + project["optional-dependencies"]["legacy"])
    recipe = repr((dependencies, sys.version_info[:2])).encode()
    folder = CACHE / f"lib-{hashlib.sha256(recipe).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    with locked("libraries"):
        if not folder.is_dir():
            _say(f"installing {len(dependencies)} libraries for the hosts into {folder}")
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                target = Path(scratch) / "lib"
                pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
                call([*pip, *dependencies], timeout=1200)
                target.rename(folder)
    return folder


@contextmanager
def locked(what: str) -> Iterator[None]:
    """Hold the lab's lock of this name. The kernel drops it with the process, however that ends."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{what}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _name(suite: str) -> str:
    digest = hashlib.sha256(repr((suite, PACKAGES, ACCOUNTS, MASKED)).encode())
    for step in (_debootstrap, _configure, _furnish, _import):
        digest.update(inspect.getsource(step).encode())
    for path in sorted(OVERLAY.rglob("*")):
        digest.update(f"{path.relative_to(OVERLAY)} {path.stat().st_mode:o}\n".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return f"localhost/hostguard-lab-{suite}:{digest.hexdigest()[:12]}"


def _exists(name: str) -> bool:
    return call(["podman", "image", "exists", name], check=False).returncode == 0


def _build(suite: str, name: str) -> None:
    started = time.monotonic()
    _say(f"building {name}: about a minute and a half, once")
    debs = CACHE / "debs"
    debs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="image-", dir=CACHE) as scratch:
        tree = Path(scratch) / "tree"
        _say(f"debootstrap: downloading and unpacking {suite}")
        _debootstrap("--foreign", "--variant=minbase", f"--include={','.join(PACKAGES)}",
                     f"--cache-dir={debs}", suite, str(tree), MIRROR)  # fmt: skip
        _say("debootstrap: configuring the packages")
        _configure(tree)
        _furnish(tree)
        _say("podman import")
        _import(tree, name)
    _forget_old()
    _say(f"built in {time.monotonic() - started:.0f} s")


def _debootstrap(*arguments: str) -> None:
    """debootstrap mounts /proc: in a mount namespace of its own the machine never sees that."""
    call(["unshare", "--mount", "--fork", "debootstrap", *arguments], timeout=1800)


def _configure(tree: Path) -> None:
    """Run the second stage, with no service started and none of the machine's net.* in reach."""
    no_services = tree / "usr/sbin/policy-rc.d"
    no_services.write_text("#!/bin/sh\nexit 101\n")
    no_services.chmod(0o755)
    fence = ["unshare", "--mount", "--pid", "--fork", "--net", "--kill-child"]
    call([*fence, "chroot", str(tree), "/debootstrap/debootstrap", "--second-stage"], timeout=1800)
    no_services.unlink(missing_ok=True)  # debootstrap puts one there too, and takes it away


def _furnish(tree: Path) -> None:
    """Add the accounts, the lab's own files and what a container needs of systemd."""
    inside = ["chroot", str(tree)]
    for account in ACCOUNTS:
        add = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        call([*inside, *add, "--shell", "/usr/sbin/nologin", account])
    shutil.copytree(OVERLAY, tree, dirs_exist_ok=True)
    units = tree / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).symlink_to("/dev/null")
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    call([*inside, "systemctl", "enable", "envoy.service"])
    shutil.rmtree(tree / "var/cache/apt/archives", ignore_errors=True)
    shutil.rmtree(tree / "var/lib/apt/lists", ignore_errors=True)
    (tree / "etc/machine-id").unlink(missing_ok=True)  # lab-init gives every host its own
    for left in (tree / "run").iterdir():  # podman would copy it into the tmpfs that covers it
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    for mark in ("etc/.updated", "var/.updated"):  # newer than /usr: nothing to bring up to date at boot
        (tree / mark).touch()


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


def _say(text: str) -> None:
    print(f"hostguard-lab: {text}", file=sys.stderr, flush=True)
