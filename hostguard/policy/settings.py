"""Every key of a policy with what it takes, found in the policy's own classes: for documents and for editors."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from types import NoneType
from typing import Any

from pydantic import BaseModel, PlainValidator, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from hostguard import generated
from hostguard.policy import grammar

WRITTEN_AS_TEXT = (
    grammar.size, grammar.duration, grammar.long_duration, grammar.percent, grammar.share, grammar.network,
    grammar.address,
)  # fmt: skip
"""What reads text and makes a number, or another thing, of it."""


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
    reader: Any = None
    """The validator of the value, or of each element; `key` is that of a name of the user's choice."""
    key: Any = None
    required: bool = False

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
        return Setting(path, "list", text, _expected(element, inner), default, elements=_scalar(element, inner),
                       reader=_reader(inner), required=field.is_required())  # fmt: skip
    if typing.get_origin(kind) is dict:
        value, inner = _core(arguments[1], ())
        key = _reader(_core(arguments[0], ())[1])
        if isinstance(value, type) and issubclass(value, BaseModel):
            return Setting(
                path,
                "dict",
                text,
                "names and their settings",
                default,
                inside=settings(value, (*path, "NAME")),
                key=key,
            )
        expected = f"names and, each, {_expected(value, inner)}"
        return Setting(path, "dict", text, expected, default, reader=_reader(inner), key=key)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return Setting(path, "dict", text, "its settings", None, inside=settings(kind, path))
    choices = arguments if typing.get_origin(kind) is typing.Literal else ()
    return Setting(path, _scalar(kind, validators), text, _expected(kind, validators), default, choices=choices,
                   reader=_reader(validators), required=field.is_required())  # fmt: skip


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
    if _reader(validators) is grammar.size:
        return f"{value // 2**20}M" if value % 2**20 == 0 else f"{value // 2**10}K"
    if _reader(validators) is grammar.duration:
        return f"{value:g}s" if value >= 1 else f"{value * 1000:g}ms"
    if _reader(validators) is grammar.share:
        return f"{value * 100:g}%"
    if _reader(validators) is grammar.address:
        return str(value)
    return list(value) if isinstance(value, tuple) else value
