"""State of the code and inputs of a comparison, which must be equal for all of its runs."""

import hashlib
from importlib.metadata import version
from pathlib import Path

import cv2

from mutualformer_sod.files import file_sha256

_PACKAGE = Path(__file__).parents[1]
# Parts of the package without an effect on scores.
_WITHOUT_EFFECT = (
    *("benchmark/", "cli/", "demo/", "gallery/", "report/"),
    *("experiments/collect", "experiments/costs", "experiments/image_scores"),
    *("experiments/report", "experiments/schedule"),
)
_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "scipy")


def code_of_results() -> dict[str, str]:
    """Return the digests of source files and the versions of libraries that affect scores."""
    files = [path for suffix in ("py", "json") for path in _PACKAGE.rglob(f"*.{suffix}")]
    digests = {
        name: file_sha256(path)[:16]
        for path in sorted(files)
        if not (name := path.relative_to(_PACKAGE).as_posix()).startswith(_WITHOUT_EFFECT)
    }
    return digests | {name: version(name) for name in _LIBRARIES} | {"opencv": cv2.__version__}


def inputs_of(*paths: str | None) -> dict[str, str]:
    """Return path -> digest of files and folders; skip None."""
    return {path: _digest(Path(path)) for path in paths if path is not None}


def _digest(path: Path) -> str:
    """Return the digest of a file, or of the names and sizes of the maps in a folder."""
    if path.is_file():
        return file_sha256(path)
    maps = sorted(path.rglob("*.png"))
    lines = (f"{item.relative_to(path).as_posix()} {item.stat().st_size}\n" for item in maps)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
