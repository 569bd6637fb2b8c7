"""Write what the roles say of their variables, from the policy's own classes: `python -m hostguard.ansible.role_docs`.

The policy is described once, in hostguard/policy/model.py. From there come `meta/argument_specs.yml` of each role, and
the table between two marks in its README. With `--check` nothing is written, and the exit code is 1 where a file is
not what it would be.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import yaml
from pydantic import BaseModel, PlainValidator, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from hostguard import generated
from hostguard.ansible.action import APPLY_SPEC
from hostguard.policy import model

ROLES = generated.ROOT / "roles"
BEGIN = "<!-- Written by `python -m hostguard.ansible.role_docs`. -->"
END = "<!-- The end of what is written. -->"
DO_NOT_EDIT = "# Written by `python -m hostguard.ansible.role_docs` from hostguard/policy/model.py.\n---\n"
POLICY = "hostguard_policy"
WRITTEN_AS_TEXT = (model.size, model.duration, model.percent, model.network, model.address)
"""What reads text and makes a number, or another thing, of it."""


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


@dataclass(frozen=True)
class Setting:
    """One key of a policy. `path` has `NAME` where the name is free; `inside` is what stands below it."""

    path: tuple[str, ...]
    type: str
    text: str
    expected: str
    default: Any
    elements: str = ""
    choices: tuple[Any, ...] = ()
    inside: tuple[Setting, ...] = ()

    @property
    def named(self) -> bool:
        """Whether what stands below it has names of the user's choice."""
        return bool(self.inside) and self.inside[0].path[len(self.path)] == "NAME"


def settings(of: type[BaseModel], path: tuple[str, ...] = ()) -> tuple[Setting, ...]:
    """Every key of a section, in the order of the class."""
    texts = generated.docstrings(of)
    return tuple(_setting(field, (*path, field.alias or name), texts[name]) for name, field in of.model_fields.items())


def _setting(field: FieldInfo, path: tuple[str, ...], text: str) -> Setting:
    kind, validators = _core(field.annotation, field.metadata)
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    default = _as_written(default, validators) if default else None
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        element, inner = _core(arguments[0], ())
        if isinstance(element, type) and issubclass(element, BaseModel):
            inside = settings(element, path)
            return Setting(path, "list", text, "with these settings", default, elements="dict", inside=inside)
        return Setting(path, "list", text, _expected(element, inner), default, elements=_scalar(element, inner))
    if typing.get_origin(kind) is dict:
        value, inner = _core(arguments[1], ())
        if isinstance(value, type) and issubclass(value, BaseModel):
            return Setting(
                path, "dict", text, "names and their settings", default, inside=settings(value, (*path, "NAME"))
            )
        return Setting(path, "dict", text, f"names and, each, {_expected(value, inner)}", default)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return Setting(path, "dict", text, "its settings", default, inside=settings(kind, path))
    choices = arguments if typing.get_origin(kind) is typing.Literal else ()
    return Setting(path, _scalar(kind, validators), text, _expected(kind, validators), default, choices=choices)


def _core(annotation: Any, metadata: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type under Annotated and `| None`, and its validators."""
    validators = tuple(metadata)
    while True:
        options = [option for option in typing.get_args(annotation) if option is not NoneType]
        if typing.get_origin(annotation) is typing.Annotated:
            annotation, validators = options[0], (*annotation.__metadata__, *validators)
        elif NoneType in typing.get_args(annotation) and len(options) == 1:
            annotation = options[0]
        else:
            return annotation, validators


def _reader(validators: tuple[Any, ...]) -> Any:
    return next((validator.func for validator in validators if isinstance(validator, PlainValidator)), None)


def _scalar(kind: Any, validators: tuple[Any, ...]) -> str:
    """Ansible's word for how a value is written."""
    if typing.get_origin(kind) is typing.Literal:
        kind = type(typing.get_args(kind)[0])
    if _reader(validators) in WRITTEN_AS_TEXT or kind not in (int, float):
        return "str"
    return str(kind.__name__)


def _expected(kind: Any, validators: tuple[Any, ...]) -> str:
    """What a validator says that it expects, when it is shown what nothing expects."""
    try:
        TypeAdapter(typing.Annotated[(kind, *validators)] if validators else kind).validate_python(object())
    except ValidationError as error:
        (detail,) = error.errors(include_url=False)
        return str(detail["ctx"]["expected"])
    raise ValueError(f"{kind} takes anything")


def _as_written(value: Any, validators: tuple[Any, ...]) -> Any:
    if _reader(validators) is model.size:
        return f"{value // 2**20}M"
    return list(value) if isinstance(value, tuple) else value


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


def specification(role: Role) -> str:
    spec = {"short_description": role.short, "author": ["hostguard"], "options": variables(role)}
    return DO_NOT_EDIT + yaml.safe_dump({"argument_specs": {"main": spec}}, sort_keys=False, width=110)


def table(role: Role) -> str:
    """The variables as Markdown: the role's own, then each key of the policy that it looks at."""
    rows = ["| variable | what it may be | default | what it is for |", "|---|---|---|---|"]
    for name, option in variables(role).items():
        rows.append(_row(name, option["type"], option.get("default"), _plain(option["description"][0])))
    for setting in settings(model.Policy):
        for each in _flat(setting):
            if (name := ".".join(each.path)).startswith(role.sections):
                rows.append(_row(name, _taken(each), each.default, each.text))
    return "\n".join(rows)


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
    sys.exit(generated.keep({path: text for role in ALL_ROLES for path, text in written(role).items()}, sys.argv[1:]))
