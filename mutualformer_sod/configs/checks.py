"""Checks of configuration fields: values come from command lines and files."""

from __future__ import annotations

import dataclasses
import math

from mutualformer_sod.errors import InputError


def check(condition: bool, name: str, value: object, want: str) -> None:
    if not condition:
        raise InputError(f"{name}={value!r} is not usable: give {want}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES = {  # of the model's fields, by annotation: what is accepted, and its name in messages
    "str": (lambda value: isinstance(value, str), "a word"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "int": (_is_whole, "a whole number"),
    "float": (
        lambda value: (_is_whole(value) or isinstance(value, float)) and math.isfinite(value),
        "a number",
    ),
    "tuple[int, ...]": (
        lambda value: isinstance(value, tuple | list) and all(map(_is_whole, value)),
        "a list of whole numbers, for example [3, 6, 9, 12]",
    ),
}


def check_types(part: object) -> None:
    """Values come from command lines and files: a wrong type must not get to the arithmetic."""
    for item in dataclasses.fields(part):
        if item.type in _TYPES:
            accepted, want = _TYPES[item.type]
            value = getattr(part, item.name)
            check(accepted(value), item.name, value, want)
