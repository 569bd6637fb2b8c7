"""Write what the roles say of their variables, from the policy's own classes: `python -m hostguard.ansible.role_docs`.

The policy is described once, in hostguard/policy/model.py. From there come `meta/argument_specs.yml` of each role, the
table between two marks in its README, and docs/policy.md. With `--check` nothing is written, and the exit code is 1
where a file is not what it would be.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hostguard import generated
from hostguard.ansible.action import APPLY_SPEC
from hostguard.policy import model
from hostguard.policy.settings import Setting, settings

ROLES = generated.ROOT / "roles"
BEGIN = "<!-- Written by `python -m hostguard.ansible.role_docs`. -->"
END = "<!-- The end of what is written. -->"
DO_NOT_EDIT = "# Written by `python -m hostguard.ansible.role_docs` from hostguard/policy/model.py.\n---\n"
POLICY = "hostguard_policy"


@dataclass(frozen=True)
class Role:
    """`sections` of the policy, or keys of one, that it looks at; `area` is what it speaks for, "" for all of it."""

    name: str
    short: str
    area: str
    sections: tuple[str, ...]


EVERY = tuple(name for name in model.Policy.model_fields if name != "version")
ALL_ROLES = (
    Role("hostguard", "The whole policy, in one transaction", "", EVERY),
    Role("egress_firewall", "What the host may reach, and who may connect in", "egress", ("egress",)),
    Role("name_resolver", "What the host may reach by its name", "egress", ("egress",)),
    Role(
        "kernel_tuning",
        "Kernel parameters for the load that the calls cause",
        "kernel",
        # The ceiling of open files follows the limits, and sanctioned inbound ports are reserved.
        ("kernel", "capacity", "limits", "egress.inbound"),
    ),
    Role("resource_limits", "Open files of sessions and services", "limits", ("limits", "capacity")),
    Role("service_slices", "Memory, CPU and tasks of services", "slices", ("slices", "capacity")),
    Role("secret_mount", "A tmpfs for credentials that never reaches a disk", "secrets", ("secrets",)),
    Role("platform_checks", "What the host must be; checks only", "platform", ("platform", "waivers")),
)


def variables(role: Role) -> dict[str, dict[str, Any]]:
    """The role's variables as ansible's argument specification has them."""
    found: dict[str, dict[str, Any]] = {
        POLICY: {
            "type": "dict",
            "default": {},
            "description": [
                "The policy of the host, or what refines O(hostguard_policy_file): dicts are merged deep, lists are "
                "replaced. Keys may be left out, and a section that is left out is not managed."
            ],
            "options": {s.path[0]: _option(s, role) for s in settings(model.Policy)},
        },
        "hostguard_policy_file": {
            "type": "path",
            "description": ["A policy file on the controller, absolute or beside the playbook."],
        },
    }
    if role.area == "platform":
        return found
    found["hostguard_confirm_within"] = {
        **APPLY_SPEC["confirm_within"],
        "description": [
            "The host goes back by itself unless a new connection confirms within this time. V(0) is for hosts that "
            "are built, not run."
        ],
    }
    found["hostguard_restart"] = {
        **APPLY_SPEC["restart"],
        "description": ["Restart the services that would run on with old values."],
    }
    return found


def _option(setting: Setting, role: Role | None = None) -> dict[str, Any]:
    """Nothing is required here: what a file has may be left out of the variable. The policy's own check comes later,
    on the controller too, and sees the two together."""
    if role and setting.path[0] not in ("version", *(section.partition(".")[0] for section in role.sections)):
        return {"type": setting.type, "description": ["This role does not look at it."]}
    option: dict[str, Any] = {"type": setting.type, "description": [setting.text, *_below(setting)]}
    if setting.type != "dict" and not setting.choices:
        option["description"].append(f"{'Each ' if setting.elements else 'Takes '}{setting.expected}.")
    if setting.elements:
        option["elements"] = setting.elements
    if setting.choices:
        option["choices"] = list(setting.choices)
    if setting.default is not None:
        option["default"] = setting.default
    if setting.inside and not setting.named:
        option["options"] = {inner.path[-1]: _option(inner) for inner in setting.inside}
    return option


def _below(setting: Setting) -> Iterator[str]:
    """Ansible has no word for a dict whose keys are free: its settings are told as text."""
    if setting.named:
        for inner in setting.inside:
            yield f"C(NAME.{inner.path[-1]}) - {inner.text} Takes {_taken(inner)}."


def _taken(setting: Setting) -> str:
    return f"a list, each {setting.expected}" if setting.elements else setting.expected


class Indented(yaml.SafeDumper):
    """The items of a list stand further in than its key, as ansible-lint and `ansible-galaxy role init` have it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - PyYAML's signature
        super().increase_indent(flow, indentless=False)


def specification(role: Role) -> str:
    spec = {"short_description": role.short, "author": ["hostguard"], "options": variables(role)}
    return DO_NOT_EDIT + yaml.dump({"argument_specs": {"main": spec}}, Dumper=Indented, sort_keys=False, width=110)


def table(role: Role) -> str:
    """The variables as Markdown: the role's own, then each key of the policy that it looks at."""
    rows = ["| variable | what it may be | default | what it is for |", "|---|---|---|---|"]
    for name, option in variables(role).items():
        rows.append(_row(name, option["type"], option.get("default"), _plain(option["description"][0])))
    rows += [row for name, row in _keys() if name.startswith(role.sections)]
    return "\n".join(rows)


def _keys() -> Iterator[tuple[str, str]]:
    """Each key of the policy, and its row."""
    for setting in settings(model.Policy):
        for each in _flat(setting):
            name = ".".join(each.path)
            yield name, _row(name, _taken(each), each.default, each.text)


PAGE = generated.ROOT / "docs" / "policy.md"
PAGE_HEAD = """\
<!-- Written by `python -m hostguard.ansible.role_docs` from hostguard/policy/model.py. -->
# Every key of a policy

One YAML file: `-p FILE`, else `./hostguard.yml`, else `/etc/hostguard/policy.yml`. A section that is left out is not
managed; a key that is left out has its default, or is derived (`hostguard size`). `NAME` is a name of your choice.
`hostguard validate` says every error at once; `hostguard schema` is this page for editors.

| key | what it may be | default | what it is for |
|---|---|---|---|
"""


def page() -> str:
    return PAGE_HEAD + "\n".join(row for _, row in _keys()) + "\n"


def _flat(setting: Setting) -> Iterator[Setting]:
    yield setting
    for inner in setting.inside:
        yield from _flat(inner)


def _row(name: str, expected: str, default: Any, text: str) -> str:
    shown = "" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    return generated.row((f"`{name}`", expected, shown, text))


def _plain(text: str) -> str:
    """Without ansible's marks."""
    for mark in ("O(", "V("):
        while mark in text:
            head, _, tail = text.partition(mark)
            inner, _, rest = tail.partition(")")
            text = f"{head}`{inner}`{rest}"
    return text


def written(role: Role) -> dict[Path, str]:
    """Each file that is written, and its whole text."""
    folder = ROLES / role.name
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} has no place for the table, from {BEGIN} to {END}")
    return {
        folder / "meta" / "argument_specs.yml": specification(role),
        readme: f"{head}{BEGIN}\n\n{table(role)}\n\n{END}{tail}",
    }


if __name__ == "__main__":
    of_roles = {path: text for role in ALL_ROLES for path, text in written(role).items()}
    sys.exit(generated.keep({**of_roles, PAGE: page()}, sys.argv[1:]))
