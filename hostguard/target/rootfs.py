"""An image that is being built: the folder that will be its root."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hostguard import answer as answers
from hostguard.host import image, program_main  # noqa: F401 - both before the root is another one
from hostguard.host.resource import HostError
from hostguard.target.bounded import USUAL


def read(folder: Path, bundle: Mapping[str, Any]) -> dict[str, Any]:
    """What the image's files say, from a child of this process whose root is the image: a link in it can't lead out.

    Raises HostError where the folder is none, or where this account may not change its root.
    """
    from_child, to_parent = os.pipe()
    child = os.fork()
    if not child:
        _child(folder, bundle, to_parent)
    os.close(to_parent)
    try:
        text = _said(folder, from_child)
    finally:
        os.close(from_child)
        os.kill(child, signal.SIGKILL)  # it has ended, or is held up by what the image has in the place of a file
        os.waitpid(child, 0)
    answer = answers.read("image", text) if text else {"error": "its reader ended without an answer"}
    if "error" in answer:
        raise HostError(answer["error"])
    return answer


def _said(folder: Path, source: int) -> bytes:
    text, end = bytearray(), time.monotonic() + USUAL.seconds
    while len(text) <= USUAL.size:
        if not select.select([source], [], [], max(0.0, end - time.monotonic()))[0]:
            raise HostError(f"{folder}: could not be read within {USUAL.seconds:g} s")
        data = os.read(source, 1 << 20)
        if not data:
            return bytes(text)
        text += data
    raise HostError(f"{folder}: more than {USUAL.size} bytes are to be said of it")


def _child(folder: Path, bundle: Mapping[str, Any], to_parent: int) -> None:
    try:
        try:
            os.chroot(folder)
            os.chdir("/")
        except PermissionError:
            answer = {"error": "only root may look into an image (or run it in `podman unshare`)"}
        except OSError as error:
            answer = {"error": f"{folder}: {error.strerror}"}
        else:
            answer = program_main.answer_or_error({"do": "image", "bundle": bundle})
        with os.fdopen(to_parent, "w", encoding="utf-8") as pipe:
            json.dump(answer, pipe)
    finally:
        os._exit(0)
