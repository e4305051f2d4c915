"""Names of options in earlier versions, which commands, weights files and runs may contain."""

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "taps": "feature_blocks",
    "blocks_per_tap": "blocks_per_level",
    "min_lr_share": "min_lr_ratio",
}


def current_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options under their current names."""
    return {RENAMED.get(name, name): value for name, value in options.items()}
