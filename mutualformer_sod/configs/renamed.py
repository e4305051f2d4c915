"""Options of earlier versions, which commands, weights files and runs may contain."""

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "taps": "feature_blocks",
    "blocks_per_tap": "blocks_per_level",
    "min_lr_share": "min_lr_ratio",
}
_REMOVED = ("attention_stride",)  # this option never changed a network


def current_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options under their current names."""
    return {RENAMED.get(name, name): value for name, value in options.items()}


def stored_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a file under their current names, without removed options."""
    return {n: value for n, value in current_names(options).items() if n not in _REMOVED}
