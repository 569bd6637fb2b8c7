"""Write what the roles say of their variables, from the policy's own classes: `python -m hostguard.ansible.role_docs`.

The policy is described once, in hostguard/policy/model.py, and its areas in hostguard/controls. From there come the
files of each role but for the text of its README, the areas that the modules' documentation names, and docs/policy.md.
With `--check` nothing is written, and the exit code is 1 where a file is not what it would be.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hostguard import generated
from hostguard.ansible.actions.login import LOGIN_SPEC
from hostguard.ansible.actions.programs import PROGRAM_SPEC, SECRET_AGENT_SPEC
from hostguard.ansible.actions.transaction import APPLY_SPEC
from hostguard.controls import AREAS
from hostguard.policy import model
from hostguard.policy.settings import Setting, settings

ROLES = generated.ROOT / "roles"
BEGIN = "<!-- Written by `python -m hostguard.ansible.role_docs`. -->"
END = "<!-- The end of what is written. -->"
DO_NOT_EDIT = "# Written by `python -m hostguard.ansible.role_docs`.\n---\n"
POLICY = "hostguard_policy"


@dataclass(frozen=True)
class Role:
    """`sections` of the policy, or keys of one, that it looks at; `area` is what it speaks for, "" for all of it."""

    name: str
    short: str
    area: str
    sections: tuple[str, ...]

    @property
    def own(self) -> dict[str, dict[str, Any]]:
        """Variables that no other role has: those of a role with tasks of its own."""
        return OWN.get(self.name, {})


GATEWAY: dict[str, dict[str, Any]] = {
    "hostguard_gateway_package": {
        **PROGRAM_SPEC["package"],
        "description": [
            "The package that brings the program, for the distribution's package manager: from a repository that you "
            "have set up, such as apt.envoyproxy.io."
        ],
    },
    "hostguard_gateway_binary": {
        **PROGRAM_SPEC["binary"],
        "description": [
            "Or else the program itself: a file on the controller, absolute or beside the playbook, that is copied to "
            "C(gateway.program)."
        ],
    },
    "hostguard_gateway_sha256": {
        **PROGRAM_SPEC["sha256"],
        "description": [
            "What the program's file must be; needed with O(hostguard_gateway_binary). Where the policy has "
            "C(gateway.sha256) that counts, and this stays empty."
        ],
    },
    "hostguard_gateway_accounts": {
        "type": "bool",
        "default": True,
        "description": [
            "Make the account C(egress.proxy_user) and the groups of the providers' sockets, where they are missing. "
            "Applications' accounts (C(users)) are yours to make."
        ],
    },
}
SECRET_AGENT: dict[str, dict[str, Any]] = {
    "hostguard_secret_agent_package": {
        **SECRET_AGENT_SPEC["package"],
        "description": [
            "The package that brings the program, for the distribution's package manager: from a repository that you "
            "have set up, such as OpenBao's or HashiCorp's."
        ],
    },
    "hostguard_secret_agent_binary": {
        **SECRET_AGENT_SPEC["binary"],
        "description": [
            "Or else the program itself: a file on the controller, absolute or beside the playbook, that is copied to "
            "C(secrets.agent.program)."
        ],
    },
    "hostguard_secret_agent_sha256": {
        **SECRET_AGENT_SPEC["sha256"],
        "description": [
            "What the program's file must be; needed with O(hostguard_secret_agent_binary). Where the policy has "
            "C(secrets.agent.sha256) that counts, and this stays empty."
        ],
    },
    "hostguard_secret_agent_accounts": {
        "type": "bool",
        "default": True,
        "description": [
            "Make the account C(secrets.owner), the gateway's where it reads secrets, and the groups that read others, "
            "where they are missing."
        ],
    },
    "hostguard_secret_agent_ca": {
        **SECRET_AGENT_SPEC["ca"],
        "description": [
            "The certificates by which the server is verified: a file on the controller, that is copied to "
            "C(secrets.agent.ca)."
        ],
    },
    "hostguard_secret_agent_role_id": {
        **LOGIN_SPEC["role_id"],
        "description": ["AppRole: the role_id, for its file. Left out, the file must be there."],
    },
    "hostguard_secret_agent_secret_id": {
        **LOGIN_SPEC["secret_id"],
        "description": [
            "AppRole: the secret_id, for its file, or with C(wrapped_by) the token that wraps it: a variable from a "
            "vault of ansible's, or the like. A lookup here would make a new one at each run."
        ],
    },
    "hostguard_secret_agent_secret_id_command": {
        **LOGIN_SPEC["secret_id_command"],
        "description": [
            "Or else a program of the controller's, with its arguments, that prints it. It runs where the host needs "
            "one, and not in check mode."
        ],
    },
}
OWN = {"gateway": GATEWAY, "secret_agent": SECRET_AGENT}


EVERY = tuple(name for name in model.Policy.model_fields if name != "version")
WHOLE = Role("hostguard", "The whole policy, in one transaction", "", EVERY)
OF_AREAS = tuple(Role(area.role, area.does, area.name, (area.name, *area.reads)) for area in AREAS)
EGRESS = next(role.sections for role in OF_AREAS if role.area == "egress")
SECRETS = next(role.sections for role in OF_AREAS if role.area == "secrets")
BESIDE = (
    Role("name_resolver", "What the host may reach by its name", "egress", EGRESS),
    Role("secret_agent", "An agent that fetches secrets into memory and keeps them fresh there", "secrets", SECRETS),
)
"""Roles that do more for an area than the one that speaks for it alone."""
ALL_ROLES = (WHOLE, *OF_AREAS, *BESIDE)
CHECKED = {area.name for area in AREAS if area.checks_only}
"""Areas of which apply changes nothing: their role audits."""


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
    if role.area in CHECKED:
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
    return found | role.own


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
    shown = "" if default in (None, "") else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    return generated.row((f"`{name}`", expected, shown, text))


def _plain(text: str) -> str:
    """Without ansible's marks."""
    for mark in ("O(", "V(", "C("):
        while mark in text:
            head, _, tail = text.partition(mark)
            inner, _, rest = tail.partition(")")
            text = f"{head}`{inner}`{rest}"
    return text


def tasks(role: Role) -> str:
    """The one task of a role: an apply of its area, an audit where there is nothing to apply, or the whole policy."""
    module = "audit" if role.area in CHECKED else "apply"
    lines = [
        f"- name: {role.short}",
        f"  hostguard.hostguard.{module}:",
        '    policy: "{{ hostguard_policy }}"',
        '    policy_file: "{{ hostguard_policy_file }}"',
        f"    areas: [{role.area}]" if role.area else '    run_tags: "{{ ansible_run_tags }}"',
    ]
    if module == "apply":
        lines += ['    confirm_within: "{{ hostguard_confirm_within }}"', '    restart: "{{ hostguard_restart }}"']
    tags = [role.area] if role.area else [area.name for area in AREAS if not area.checks_only]
    return DO_NOT_EDIT + "\n".join([*lines, f"  tags: [{', '.join(['hostguard', *tags])}]"]) + "\n"


def defaults(role: Role) -> str:
    found = {name: option.get("default", "") for name, option in variables(role).items()}
    head = f"{DO_NOT_EDIT}# README.md says what each is for. `{POLICY}` is in the format of the policy file.\n"
    return head + yaml.dump(found, Dumper=Indented, sort_keys=False).replace("''", '""')


def galaxy(role: Role) -> str:
    return (
        f"{DO_NOT_EDIT}galaxy_info:\n  author: hostguard\n  description: {role.short}\n  license: Apache-2.0\n"
        '  min_ansible_version: "2.19"\n  platforms:\n    - name: Debian\n      versions: [bookworm, trixie]\n'
        f"  galaxy_tags: [security, hardening, {role.area or 'networking'}]\ndependencies: []\n"
    )


def readme(role: Role) -> str:
    """Written by hand but for its table; a new role's begins with the least."""
    path = ROLES / role.name / "README.md"
    text = path.read_text(encoding="utf-8") if path.exists() else f"# {role.name}\n\n{role.short}.\n\n{BEGIN}\n{END}\n"
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for the table, from {BEGIN} to {END}")
    return f"{head}{BEGIN}\n\n{table(role)}\n\n{END}{tail}"


def written(role: Role) -> dict[Path, str]:
    """Each file that is written, and its whole text."""
    folder = ROLES / role.name
    found = {folder / "meta" / "argument_specs.yml": specification(role), folder / "README.md": readme(role)}
    if role.own or role in (WHOLE, *OF_AREAS):
        found |= {
            folder / "defaults" / "main.yml": defaults(role),
            folder / "meta" / "main.yml": galaxy(role),
        }
        if not role.own:
            found[folder / "tasks" / "main.yml"] = tasks(role)
    return found


MODULES = generated.ROOT / "plugins" / "modules"
CHOICES = re.compile(r"(?<=\n    choices: )\[platform, [a-z, ]*\]")


def modules() -> dict[Path, str]:
    """The modules whose documentation names the areas: text, as ansible reads it without running it."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(MODULES.glob("*.py"))}
    names = f"[{', '.join(area.name for area in AREAS)}]"
    return {path: CHOICES.sub(names, text) for path, text in texts.items() if CHOICES.search(text)}


if __name__ == "__main__":
    of_roles = {path: text for role in ALL_ROLES for path, text in written(role).items()}
    sys.exit(generated.keep({**of_roles, **modules(), PAGE: page()}, sys.argv[1:]))
