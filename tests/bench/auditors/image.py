"""The image of a lab host that has the rivals in it: built once and kept by podman, as the lab's own are."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from tests.lab import debian, image
from tests.lab.process import call

RECIPE = Path(__file__).with_name("rivals") / "Containerfile"


def ensure() -> str:
    """Return the image's name; build it first when podman does not have it."""
    base = image.ensure()
    recipe = hashlib.sha256(f"{base} {debian.MIRROR} {RECIPE.read_text(encoding='utf-8')}".encode())
    name = f"localhost/hostguard-lab-auditors:{recipe.hexdigest()[:12]}"
    with debian.locked("image-auditors"):
        if call(["podman", "image", "exists", name], check=False).returncode:
            _build(base, name)
    return name


def _build(base: str, name: str) -> None:
    debian.say(f"building {name}: half a minute, once")
    arguments = (f"--build-arg=BASE={base}", f"--build-arg=MIRROR={debian.MIRROR}")
    with tempfile.TemporaryDirectory() as nothing:
        # In a chroot, with the machine's way to Debian's mirror; nothing of it starts.
        call(["podman", "build", "--quiet", "--isolation=chroot", "--network=host", "--layers=false", *arguments,
              "--file", str(RECIPE), "--tag", name, nothing], timeout=1800)  # fmt: skip
