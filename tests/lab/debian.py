"""A small Debian with systemd as a folder, and what goes into it: what the lab's images and disks are made of.

There is no registry to pull from, so it is made with debootstrap, without a mark on the machine itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.process import call

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("HOSTGUARD_LAB_CACHE", "/var/cache/hostguard-lab"))
MIRROR = os.environ.get("HOSTGUARD_LAB_MIRROR", "http://deb.debian.org/debian")
PYCACHE = "/var/cache/hostguard-pycache"  # in a host
WEEK = 7 * 24 * 3600
LOCKED = REPOSITORY / ".ci" / "locked"
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

# They would change files behind a test's back.
TIMERS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "systemd-tmpfiles-clean.timer",
)


def bootstrap(suite: str, packages: Sequence[str], tree: Path) -> None:
    """Fill the folder with a Debian that has these packages, configured, with no service started."""
    debs = CACHE / "debs"
    debs.mkdir(exist_ok=True)
    say(f"debootstrap: downloading and unpacking {suite}")
    _debootstrap("--foreign", "--variant=minbase", f"--include={','.join(packages)}",
                 f"--cache-dir={debs}", suite, str(tree), MIRROR)  # fmt: skip
    say("debootstrap: configuring the packages")
    _configure(tree)


def furnish(tree: Path, masked: Sequence[str]) -> None:
    """Add the accounts and the lab's own files, and keep systemd from starting what a test does not want."""
    inside = ["chroot", str(tree)]
    for account in ACCOUNTS:
        add = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        call([*inside, *add, "--shell", "/usr/sbin/nologin", account])
    shutil.copytree(OVERLAY, tree, dirs_exist_ok=True)
    units = tree / "etc/systemd/system"
    for unit in masked:
        (units / unit).symlink_to("/dev/null")
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    call([*inside, "systemctl", "enable", "envoy.service"])
    shutil.rmtree(tree / "var/cache/apt/archives", ignore_errors=True)
    shutil.rmtree(tree / "var/lib/apt/lists", ignore_errors=True)
    for left in (tree / "run").iterdir():  # a tmpfs covers it
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    for mark in ("etc/.updated", "var/.updated"):  # newer than /usr: nothing to bring up to date at boot
        (tree / mark).touch()


def recipe(*parts: object) -> str:
    """A hash of all that goes into what is built: the folder of our files, these values, these functions."""
    digest = hashlib.sha256()
    for part in (bootstrap, _debootstrap, _configure, furnish, ACCOUNTS, *parts):
        digest.update((inspect.getsource(part) if inspect.isfunction(part) else repr(part)).encode())
    for path in sorted(OVERLAY.rglob("*")):
        digest.update(f"{path.relative_to(OVERLAY)} {path.stat().st_mode:o}\n".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def libraries(version: tuple[int, int] = sys.version_info[:2]) -> Path:
    """Return a folder with what hostguard imports, for a host whose Python has this version.

    Hosts have no way to the internet: the packages are installed here, once per list of what is locked.
    """
    ours = version == sys.version_info[:2]
    # What must be compiled can only be compiled for the Python that is here.
    lists = [LOCKED / name for name in ("wheel.txt", "legacy.txt")[: 1 + ours]]
    wanted = "".join(each.read_text() for each in lists)
    folder = CACHE / f"lib-{hashlib.sha256(repr((wanted, version)).encode()).hexdigest()[:12]}"

    def install(scratch: Path, folder: Path) -> None:
        say(f"installing libraries for the hosts into {folder}")
        target = scratch / "lib"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "--require-hashes",
               "--no-deps", *(f"--requirement={each}" for each in lists)]  # fmt: skip
        if ours:
            pip += ["--build-constraint", str(LOCKED / "legacy.txt")]
        else:
            pip += ["--only-binary=:all:", "--implementation", "cp", "--python-version", "{}.{}".format(*version),
                    "--platform", "manylinux2014_x86_64"]  # fmt: skip
        call(pip, timeout=1200)
        target.rename(folder)

    return once(folder, "libraries", install)


PYTHONS = {"trixie": (3, 13)}


def libraries_for(image: str) -> Path:
    """The libraries for the hosts of an image; of a suite that is not listed they are this Python's."""
    found = [version for suite, version in PYTHONS.items() if f"-{suite}:" in image]
    return libraries(*found)


def compiled(libraries: Path) -> Path:
    """The folder in which the hosts' Python keeps what it has compiled of these libraries and of this checkout: where
    each program compiled all of them anew, that would take most of its time."""
    folder = CACHE / f"pycache-{hashlib.sha256(f'{libraries.name} {REPOSITORY}'.encode()).hexdigest()[:12]}"
    if not folder.exists():
        forget("pycache-*")
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # whatever the umask: programs that are not root's read there too
    return folder


def once(folder: Path, lock: str, build: Callable[[Path, Path], None]) -> Path:
    """Return the folder of the cache; where it is not there it is built first, from a scratch folder beside it."""
    if not folder.is_dir():
        with locked(lock):
            if not folder.is_dir():  # another run may have built it while this one waited for the lock
                with tempfile.TemporaryDirectory(prefix=f"{lock}-", dir=CACHE) as scratch:
                    build(Path(scratch), folder)
    return folder


def forget(pattern: str) -> None:
    """Remove folders of the cache that nobody has used for a week: another checkout may still use a recent one."""
    for folder in CACHE.glob(pattern):
        if time.time() - max(folder.stat().st_atime, folder.stat().st_mtime) > WEEK:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(what: str) -> Iterator[None]:
    """Hold the lab's lock of this name. The kernel drops it with the process, however that ends."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{what}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    print(f"hostguard-lab: {text}", file=sys.stderr, flush=True)


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
