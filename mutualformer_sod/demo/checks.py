"""Check the inputs that programs send to the page."""

import reprlib
from collections.abc import Sequence
from typing import Any

from mutualformer_sod.errors import InputError

NAMES = ("picture", "depth", "weights", "threshold", "invert")


def check_inputs(inputs: Sequence[Any], weights: Sequence[str]) -> None:
    """Raise InputError for decoded JSON that is not `NAMES` in number, type and range."""
    if len(inputs) != len(NAMES):
        raise InputError(
            f"{len(inputs)} inputs are given. Fix: pass {len(NAMES)}: {', '.join(NAMES)}."
        )
    picture, depth, name, threshold, invert = inputs
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    upload = "upload the file and pass the answer of the upload, or null"
    usable = (
        (_is_file_or_none(picture), upload),
        (_is_file_or_none(depth), upload),
        (name in weights, f"pass one of {', '.join(weights)}"),
        (is_number and 0 <= threshold <= 1, "pass a number from 0 to 1"),
        (isinstance(invert, bool), "pass true or false"),
    )
    for label, value, (is_usable, remedy) in zip(NAMES, inputs, usable, strict=True):
        if not is_usable:
            raise InputError(f"{label} {reprlib.repr(value)} is not usable. Fix: {remedy}.")


def _is_file_or_none(value: Any) -> bool:
    if value is None:
        return True
    path = value.get("path") if isinstance(value, dict) else None
    return isinstance(path, str) and path != "" and "\0" not in path
