"""Parse the FIELD=VALUE pairs of ``--set``."""

from __future__ import annotations

import json
from typing import Any

from mutualformer_sod.errors import InputError


def parse_fields(assignments: list[str]) -> dict[str, Any]:
    """Return ``["epsilon=0.5", "share=true"]`` as a dictionary with typed values.

    Raises:
        InputError: an assignment is malformed, repeated, or sets the preset.
    """
    fields = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(
                f"--set {assignment!r} has no value. Fix: give FIELD=VALUE, as epsilon=0.5."
            )
        if name == "preset":
            raise InputError(f"--set {assignment!r} is not an option. Fix: pass --preset.")
        if name in fields:
            raise InputError(f"--set {assignment!r}: {name} is given twice. Fix: give it once.")
        try:
            fields[name] = json.loads(text)
        except json.JSONDecodeError:
            fields[name] = text
    return fields
