"""The policy of one host, as a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hostguard.ansible.actions.task import POLICY_FILE_SPEC, HostguardAction, plain
from hostguard.policy import load


class Policy(HostguardAction):
    """The policy of one host as a file, for who puts it there. Nothing goes to the host."""

    def run(self, tmp: None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        loaded = self.loaded(self.arguments(POLICY_FILE_SPEC))
        return {**result, "changed": False, "text": as_file(loaded)}


def as_file(loaded: load.LoadedPolicy) -> str:
    """The file itself where nothing refines it: its hash and its lines are then those that the controller knows."""
    path = Path(loaded.path)
    if path.is_file() and hashlib.sha256(raw := path.read_bytes()).hexdigest() == loaded.sha256:
        return raw.decode("utf-8")
    return yaml.safe_dump(plain(loaded.data), sort_keys=False, allow_unicode=True)
