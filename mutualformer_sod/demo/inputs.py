"""Inputs that programs send to the page: told what is wrong with them before they are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mutualformer_sod.errors import InputError

NAMES = ("picture", "depth", "weights", "threshold", "invert")


def check_inputs(inputs: Sequence[Any], weights: Sequence[str]) -> None:
    """Refuse inputs of wrong number, type or range.

    Args:
        inputs: as JSON gave them: two files or None, a name, a number, a switch.
        weights: names that can be chosen.

    Raises:
        InputError: names the input and the remedy.
    """
    if len(inputs) != len(NAMES):
        raise InputError(
            f"{len(inputs)} inputs are given. Fix: give {len(NAMES)}: {', '.join(NAMES)}"
        )
    for name, value in zip(NAMES, inputs, strict=True):
        if name in ("picture", "depth"):
            usable = value is None or (isinstance(value, dict) and _is_file(value))
            remedy = "upload the file, and give what the upload answers, or null"
        elif name == "weights":
            usable, remedy = value in weights, f"give one of {', '.join(weights)}"
        elif name == "threshold":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            usable, remedy = number and 0 <= value <= 1, "give a number from 0 to 1"
        else:
            usable, remedy = isinstance(value, bool), "give true or false"
        if not usable:
            raise InputError(f"{name} {_shown(value)} is not usable. Fix: {remedy}")


def _is_file(value: dict[str, Any]) -> bool:
    path = value.get("path")
    return isinstance(path, str) and bool(path) and "\0" not in path


def _shown(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
