"""Declaration of the options of a training run, with one dataclass field for each option.

The command line, the checks, the tables of docs/training.md, the record inside a weights file and
the check of a resumed run are generated from the declarations.
"""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mutualformer_sod.configs.switches import Value, check_fields, field_types
from mutualformer_sod.errors import InputError


@dataclass(frozen=True)
class Unset:
    """Description of the default None, for an option that None does not switch off."""

    text: str


@dataclass(frozen=True)
class Need:
    """Condition on the configuration under which an option has an effect, with a description."""

    is_met: Callable[[Any], bool]
    text: str


@dataclass(frozen=True)
class Resume:
    """Part of a value that must not change when a run is resumed; the text names legal changes."""

    part: Callable[[Any], Any]
    text: str


@dataclass(frozen=True)
class Recorded:
    """Function that converts the value of an option to the entry in a weights file."""

    entry: Callable[[Any], Any]


@dataclass(frozen=True)
class Option:
    """Declaration of one option, whose name, type and default are in the dataclass field."""

    group: str
    value: Value
    help: str
    unset: str
    need: Need | None
    resume: Resume
    recorded: Recorded | None

    @property
    def effect(self) -> str:
        """Return the legal values of the option, if they are listed, and the help text."""
        words = ", ".join(self.value.choices)
        return f"{words}: {self.help}" if words else self.help


_SAME = Resume(lambda value: value, "")


def option(
    group: str, default: Any, value: Value, effect: str, *rules: Unset | Need | Resume | Recorded
) -> Any:
    """Declare a dataclass field as an option.

    Args:
        group: heading in ``--help`` and in docs/training.md; "" for the required options.
        effect: help text.
        rules: at most one rule of each class. Without ``Resume``, the value must stay in a resumed
            run.
    """
    given = {type(rule): rule for rule in rules}
    declared = Option(
        group=group,
        value=value,
        help=effect,
        unset=given[Unset].text if Unset in given else "",
        need=given.get(Need),
        resume=given.get(Resume, _SAME),
        recorded=given.get(Recorded),
    )
    return dataclasses.field(default=default, metadata={"option": declared, "value": value})


def options_of(config: Any) -> dict[str, Option]:
    """Return the declarations of a configuration, or of its class, by field name."""
    return {item.name: item.metadata["option"] for item in dataclasses.fields(config)}


def describe_default(config: type, name: str) -> str:
    """Return the default of an option as text; "" if the option is off by default."""
    default = getattr(config, name)
    if isinstance(default, bool):
        return "on" if default else ""
    return options_of(config)[name].unset if default in (None, "", ()) else str(default)


def check_options(config: Any) -> None:
    """Convert paths to strings, and in tuple fields a string to a tuple; check types and limits."""
    for name, kind in field_types(type(config)).items():
        value = getattr(config, name)
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if kind == tuple[str, ...]:
            value = (value,) if isinstance(value, str) else value
            if isinstance(value, list | tuple):
                value = tuple(os.fspath(i) if isinstance(i, os.PathLike) else i for i in value)
        object.__setattr__(config, name, value)
    check_fields(config, "`{}`")


_OFF = (None, False, 0, (), ("auto",))


def check_effects(config: Any, given: dict[str, Any]) -> None:
    """Raise InputError for an option of ``given`` that the other options make ineffective.

    A value that switches an option off is always accepted.
    """
    for name, declared in options_of(config).items():
        need, value = declared.need, getattr(config, name)
        if need and name in given and value not in _OFF and not need.is_met(config):
            raise InputError(
                f"`{name}` has no effect: it needs {need.text}. Fix: leave `{name}` out."
            )


def recorded_options(config: Any) -> dict[str, Any]:
    """Return option -> value for the options that a weights file records."""
    options = options_of(config).items()
    return {name: o.recorded.entry(getattr(config, name)) for name, o in options if o.recorded}


def differing_options(config: Any, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Describe the changes of options that are not allowed in a resumed run.

    ``before`` and ``now`` are the values of the run's start and of this start, as in JSON.
    """
    return [
        f"{name} was {before.get(name)!r} and is now {now[name]!r}"
        for name, declared in options_of(config).items()
        if declared.resume.part(before.get(name)) != declared.resume.part(now[name])
    ]
