"""Checks of configuration fields: values come from command lines and files."""

from __future__ import annotations

import math
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

from mutualformer_sod.errors import InputError


def check(condition: bool, name: str, value: object, want: str) -> None:
    """Raise an InputError that names the field unless the condition is met."""
    if not condition:
        raise InputError(f"{name}={value!r} is not usable. Fix: give {want}.")


def field_types(cls: type) -> dict[str, Any]:
    """Return the type of each field by name; that of ``int | None`` is int."""
    return {name: _alternatives(hint)[0] for name, hint in get_type_hints(cls).items()}


def check_types(part: object, form: str = "{}") -> None:
    """Refuse a value of another type than its field has.

    Args:
        part: an instance of a configuration dataclass.
        form: of a field's name in messages.

    Raises:
        InputError: names the field, its value and the type.
    """
    for name, hint in get_type_hints(type(part)).items():
        kinds, value = _alternatives(hint), getattr(part, name)
        if kinds[0] in _TYPES and not (value is None and NoneType in kinds):
            accepted, want = _TYPES[kinds[0]]
            check(accepted(value), form.format(name), value, want)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, UnionType) else (hint,)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES = {  # what is accepted, and its name in messages
    str: (lambda value: isinstance(value, str), "a word"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (_is_whole, "a whole number"),
    float: (
        lambda value: (_is_whole(value) or isinstance(value, float)) and math.isfinite(value),
        "a number",
    ),
    tuple[int, ...]: (
        lambda value: isinstance(value, tuple | list) and all(map(_is_whole, value)),
        "a list of whole numbers, for example [3, 6, 9, 12]",
    ),
    tuple[str, ...]: (
        lambda value: all(isinstance(item, str) for item in value),
        "a list of words",
    ),
}
