"""The weights that ship with the project, by name."""

import os
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from mutualformer_sod.errors import InputError

_RECORD = "released.json"


def _find_folder() -> Path:
    """Find the folder ``weights`` of the repository, or the copy that pip installed."""
    own = Path(__file__).resolve().parents[2] / "weights"
    if (own / _RECORD).is_file():
        return own
    try:
        files = metadata.files("mutualformer_sod") or []
    except metadata.PackageNotFoundError:
        files = []
    installed = (Path(file.locate()).resolve() for file in files if file.name == _RECORD)
    return next((file.parent for file in installed if file.is_file()), own)


FOLDER = _find_folder()
DEFAULT_WEIGHTS = "small-dinov2"
HUB_FILE = "model.safetensors"  # weights in a folder of ``save_pretrained``
RECORD = FOLDER / _RECORD  # licence, scores and SHA-256 of the released files
ESTIMATOR = FOLDER / "depth_estimator.safetensors"
_USUAL_STEMS = ("weights", Path(HUB_FILE).stem)  # a file of this stem is named after its folder
WEIGHTS_HELP = "a weights.safetensors, or the name of released weights (small-dinov2, tiny)"


def released_weights() -> dict[str, Path]:
    """Return name -> file ``weights/mutualformer_NAME.safetensors``."""
    files = sorted(FOLDER.glob("mutualformer_*.safetensors"))
    return {file.stem.removeprefix("mutualformer_").replace("_", "-"): file for file in files}


def find_weights(given: str | os.PathLike[str]) -> Path:
    """Find a weights file by path, ``save_pretrained`` folder or name of released weights.

    A file is preferred to released weights of the same name.

    Raises:
        InputError: nothing is found.
    """
    path = Path(given)
    for file in (path, path / HUB_FILE):
        if file.is_file():
            return file
    released = released_weights()
    if str(given) in released:
        return released[str(given)]
    if path.is_dir():
        trained = path / "weights.safetensors"
        remedy = f"pass {trained}" if trained.is_file() else "pass a folder of save_pretrained"
        raise InputError(
            f"{given}: is a folder without {HUB_FILE}. Fix: {remedy}, or a weights.safetensors of "
            "tools/train.py."
        )
    names = ", ".join(released) or f"none is in {FOLDER}"
    raise InputError(
        f"{given}: no such weights file. Fix: pass a weights.safetensors of "
        f"tools/train.py, or a name of released weights: {names}."
    )


def name_weights(weights: Sequence[Path]) -> dict[str, Path]:
    """Return the weights files by name; a file that is not released gets its shortest unique name.

    Raises:
        InputError: a file is passed twice.
    """
    found: dict[str, Path] = {}
    released = {file.resolve(): name for name, file in released_weights().items()}
    resolved = [path.resolve() for path in weights]
    choices = [[released[p]] if p in released else list(_names(p)) for p in resolved]
    for path, names in zip(resolved, choices, strict=True):
        if resolved.count(path) > 1:
            raise InputError(f"`weights` {path}: is passed twice. Fix: pass each file once.")
        unique = (name for name in names if sum(name in others for others in choices) == 1)
        found[next(unique, names[0])] = path
    return found


def _names(path: Path) -> Iterator[str]:
    """Yield names of a file, short to long, starting with x for ``runs/x/weights.safetensors``."""
    parts = [*path.parts[1:-1], path.stem]
    if path.stem in _USUAL_STEMS and len(parts) > 1:
        parts.pop()
    for start in reversed(range(len(parts))):
        yield "/".join(parts[start:])
    yield str(path)
