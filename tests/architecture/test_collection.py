"""What .ansible-lint leaves to us."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).parents[2] / "roles"


@pytest.mark.parametrize("role", sorted(path.name for path in ROLES.iterdir()))
def test_a_role_s_variables_are_named_after_the_collection_or_the_role(role: str) -> None:
    names: list[str] = []
    for place in ("defaults", "vars"):
        path = ROLES / role / place / "main.yml"
        names += yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else ()
    for path in ROLES.joinpath(role, "tasks").glob("*.yml"):
        names += registered(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert names
    assert [name for name in names if not name.startswith(("hostguard_", f"{role}_"))] == []


def registered(tasks: list[dict[str, object]]) -> list[str]:
    found = []
    for task in tasks:
        found += [str(task["register"])] if "register" in task else []
        found += list(facts) if isinstance(facts := task.get("ansible.builtin.set_fact"), dict) else []
        found += registered(inner) if isinstance(inner := task.get("block"), list) else []
    return found
