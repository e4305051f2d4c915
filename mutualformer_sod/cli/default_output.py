"""The folder of the outputs of a command that was started without ``--output``."""

import itertools
from collections.abc import Iterator
from pathlib import Path

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
