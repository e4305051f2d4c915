"""The weights that ship with the project, by name."""

import os
from pathlib import Path

from mutualformer_sod.errors import InputError

FOLDER = Path(__file__).resolve().parents[2] / "weights"
PREFIX, SUFFIX = "mutualformer_", ".safetensors"
DEFAULT_WEIGHTS = "small-dinov2"
HUB_FILE = "model.safetensors"  # weights in a folder of ``save_pretrained``
RECORD = FOLDER / "released.json"  # licence, scores and SHA-256 of the released files
ESTIMATOR = FOLDER / "depth_estimator.safetensors"
WEIGHTS_HELP = "a weights.safetensors, or the name of released weights (small-dinov2, tiny)"


def released_weights() -> dict[str, Path]:
    """Return the files ``weights/mutualformer_NAME.safetensors`` by name."""
    files = sorted(FOLDER.glob(f"{PREFIX}*{SUFFIX}"))
    return {file.stem.removeprefix(PREFIX).replace("_", "-"): file for file in files}


def find_weights(given: str | os.PathLike[str]) -> Path:
    """Find a weights file by its path, its folder, or the name of released weights.

    A file of that name wins over released weights. A folder is one of ``save_pretrained``.

    Raises:
        InputError: no such file or name.
    """
    path = Path(given)
    if path.is_file():
        return path
    if (path / HUB_FILE).is_file():
        return path / HUB_FILE
    released = released_weights()
    if str(given) in released:
        return released[str(given)]
    if path.is_dir():
        trained = path / "weights.safetensors"
        remedy = f"give {trained}" if trained.is_file() else "give a folder of save_pretrained"
        raise InputError(
            f"{given}: a folder without {HUB_FILE}. Fix: {remedy}, or a weights.safetensors of "
            "tools/train.py."
        )
    raise InputError(
        f"{given}: no such weights file. Fix: give a weights.safetensors of "
        f"tools/train.py, or a name of the released ones: {', '.join(released) or 'none is here'}."
    )
