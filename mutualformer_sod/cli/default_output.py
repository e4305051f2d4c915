"""The folder of the outputs of a command that was started without ``--output``."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from mutualformer_sod.errors import OutputExists

_Result = TypeVar("_Result")

DEFAULT_OUTPUT = "saliency"


def output_folders(given: Path | None) -> Iterator[Path]:
    """Yield the given folder; without one, the default and its numbered names, without end."""
    if given is not None:
        yield given
        return
    names = (f"{DEFAULT_OUTPUT}-{number}" for number in itertools.count(2))
    for path in map(Path, itertools.chain([DEFAULT_OUTPUT], names)):
        if path.is_dir() or not path.exists():
            yield path


def free_output(given: Path | None, use: Callable[[Path], _Result]) -> tuple[Path, _Result]:
    """Call ``use`` with the first of `output_folders` that it accepts.

    Returns:
        The folder, and the result of ``use``.

    Raises:
        OutputExists: the given folder has files of other settings.
    """
    folders = output_folders(given)
    while True:
        folder = next(folders)
        try:
            return folder, use(folder)
        except OutputExists:
            if given is not None:
                raise
