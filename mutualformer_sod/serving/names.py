"""Short names of weights for the clients of a server."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mutualformer_sod.configs.released import HUB_FILE, released_weights
from mutualformer_sod.errors import InputError

_USUAL_STEMS = ("weights", Path(HUB_FILE).stem)  # the folder of such a file is its name


def named(weights: Sequence[Path]) -> dict[str, Path]:
    """Return the weights by name: that of released weights, else the shortest unique one.

    Raises:
        InputError: a file is given twice.
    """
    found: dict[str, Path] = {}
    released = {file.resolve(): name for name, file in released_weights().items()}
    resolved = [path.resolve() for path in weights]
    choices = [[released[p]] if p in released else list(_names(p)) for p in resolved]
    for path, names in zip(resolved, choices, strict=True):
        if resolved.count(path) > 1:
            raise InputError(f"`weights` {path}: given twice. Fix: pass each file once.")
        unique = (name for name in names if sum(name in others for others in choices) == 1)
        found[next(unique, names[0])] = path
    return found


def _names(path: Path) -> Iterator[str]:
    """Yield names from short to long; the first of ``runs/x/weights.safetensors`` is x."""
    parts = [*path.parts[1:-1], path.stem]
    if path.stem in _USUAL_STEMS and len(parts) > 1:
        parts.pop()
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[-count:])
    yield str(path)
