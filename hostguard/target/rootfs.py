"""An image that is being built: the folder that will be its root."""

from __future__ import annotations

import json
import os
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
    with os.fdopen(from_child, "rb") as pipe:
        text = pipe.read(USUAL.size + 1)
    os.waitpid(child, 0)
    if len(text) > USUAL.size:
        raise USUAL.long()
    answer = answers.read("image", text) if text else {"error": "its reader ended without an answer"}
    if "error" in answer:
        raise HostError(answer["error"])
    return answer


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
