"""The wheel carries the collection beside the package, where ansible-core finds it with no configuration.

Not the editable one: copies in a development environment would hide the checkout's own files.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COLLECTION = "ansible_collections/hostguard/hostguard"
FILES = ("plugins", "roles", "playbooks", "meta", "galaxy.yml", "README.md", "LICENSE")


class Collection(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"].update({name: f"{COLLECTION}/{name}" for name in FILES})
