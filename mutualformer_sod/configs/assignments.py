"""Parse the FIELD=VALUE pairs of ``--set``."""

from __future__ import annotations

import json
from typing import Any

from mutualformer_sod.errors import InputError


def parse_fields(assignments: list[str]) -> dict[str, Any]:
    """``["epsilon=0.5", "share=true"]`` -> a dictionary with typed values, for ``--set``."""
    fields = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment!r}: give FIELD=VALUE, for example epsilon=0.5")
        if name == "preset":
            raise InputError(f"--set {assignment!r}: choose the preset with --preset")
        if name in fields:
            raise InputError(f"--set {assignment!r}: {name} is given twice")
        try:
            fields[name] = json.loads(text)
        except json.JSONDecodeError:
            fields[name] = text
    return fields
