"""The image of a lab host that has the rivals in it."""

from __future__ import annotations

from pathlib import Path

from tests.lab import image

RECIPE = Path(__file__).with_name("rivals") / "Containerfile"


def ensure() -> str:
    return image.grown("auditors", RECIPE)
