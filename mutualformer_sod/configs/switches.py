"""Declaration and checks of dataclass fields that are options of the model.

The checks also apply to the options of a training run, which ``options`` declares.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

from mutualformer_sod.errors import InputError

# Options of earlier versions, which commands, weights files and runs may contain.
_RENAMED = {
    "taps": "feature_blocks",
    "blocks_per_tap": "blocks_per_level",
    "min_lr_share": "min_lr_ratio",
}
_REMOVED = ("attention_stride",)  # this option never changed a network


def check(condition: bool, name: str, value: object, want: str) -> None:
    """Raise an InputError that names the option if the condition is false."""
    if not condition:
        raise InputError(f"{name}={value!r} is not usable. Fix: pass {want}.")


@dataclass(frozen=True)
class Value:
    """Rule for the values of an option.

    Attributes:
        metavar: placeholder in ``--help``; "" for a switch.
        accepts: whether a value is legal. None is always legal in an optional field.
        text: description of the legal values; it completes the message "Fix: pass ...".
        choices: legal strings; () for no restriction.
    """

    metavar: str
    accepts: Callable[[Any], bool] = lambda value: True
    text: str = ""
    choices: tuple[str, ...] = ()


def words(metavar: str, *choices: str) -> Value:
    """Return the rule of an option whose value is one of ``choices``."""
    return Value(metavar, lambda v: v in choices, f"one of {', '.join(choices)}", choices)


def check_fields(part: object, form: str = "{}") -> None:
    """Raise InputError for an illegal type or value in an instance of a configuration dataclass.

    ``form`` is the format of a field's name in messages.
    """
    hints = get_type_hints(type(part))
    for item in dataclasses.fields(part):
        kinds, value = _alternatives(hints[item.name]), getattr(part, item.name)
        if value is None and NoneType in kinds:
            continue
        name = form.format(item.name)
        if kinds[0] in _TYPES:
            accepted, want = _TYPES[kinds[0]]
            check(accepted(value), name, value, want)
        if declared := item.metadata.get("value"):
            check(declared.accepts(value), name, value, declared.text)


def field_types(cls: type) -> dict[str, Any]:
    """Return the type of each field, by name; int for the annotation ``int | None``."""
    return {name: _alternatives(hint)[0] for name, hint in get_type_hints(cls).items()}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, UnionType) else (hint,)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and math.isfinite(value)


def _list_of(is_item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple | list) and all(map(is_item, value))


_TYPES = {  # accepted values, and their name in messages
    str: (lambda value: isinstance(value, str), "a string"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (_is_whole, "a whole number"),
    float: (_is_number, "a number"),
    tuple[int, ...]: (_list_of(_is_whole), "a list of whole numbers, for example [3, 6, 9, 12]"),
    tuple[str, ...]: (_list_of(lambda value: isinstance(value, str)), "a list of strings"),
    tuple[float, float, float]: (
        lambda value: _list_of(_is_number)(value) and len(value) == 3,
        "a list of three numbers, one for each of R, G, B",
    ),
}


def switch(
    default: Any,
    want: str = "",
    accepts: Callable[[Any], bool] = lambda value: True,
    *,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a dataclass field as an option of the model.

    ``want`` describes the values that ``accepts`` accepts; ``choices`` replaces both.
    """
    value = words("", *choices) if choices else Value("", accepts, want)
    return dataclasses.field(default=default, metadata={"value": value})


@dataclass(frozen=True)
class Switches:
    """Base of dataclasses that raise InputError if a field has an illegal type or value."""

    def __post_init__(self) -> None:
        check_fields(self)


def current_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options under their current names."""
    return {_RENAMED.get(name, name): value for name, value in options.items()}


def stored_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a file under their current names, without removed options."""
    return {n: value for n, value in current_names(options).items() if n not in _REMOVED}


def parse_fields(assignments: list[str]) -> dict[str, Any]:
    """Parse the assignments of ``--set``, such as "epsilon=0.5", as a dictionary of typed values.

    Raises:
        InputError: an assignment is malformed, repeated, or sets the preset.
    """
    fields = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = _RENAMED.get(name, name)
        if not equals:
            raise InputError(
                f"--set {assignment!r} has no value. Fix: pass FIELD=VALUE, e.g. epsilon=0.5."
            )
        if name == "preset":
            raise InputError(f"--set {assignment!r} is not an option. Fix: pass --preset.")
        if name in fields:
            raise InputError(f"--set {assignment!r}: {name} is passed twice. Fix: pass it once.")
        try:
            fields[name] = json.loads(re.sub(r"^(-?)\.(?=\d)", r"\g<1>0.", text))  # .5 as 0.5
        except json.JSONDecodeError:
            fields[name] = text
    return fields
