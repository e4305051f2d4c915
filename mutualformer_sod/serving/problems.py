"""Turn the error of a request into one line for its client."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mutualformer_sod.errors import InputError
from mutualformer_sod.serving.limits import TooLarge

_log = logging.getLogger(__name__)


class Problem(NamedTuple):
    """The line for the client, and the status of an HTTP answer."""

    line: str
    status: int


def problem_of(error: Exception, names: Mapping[Path, str]) -> Problem:
    """Describe an error; log it unless it is a fault of the client.

    Args:
        error: raised while a picture was mapped.
        names: of the files, instead of their paths: a client must not see our folders.
    """
    if isinstance(error, InputError):
        line = str(error)
        for path, name in names.items():
            line = line.replace(str(path), name)
        return Problem(" ".join(line.split()), 413 if isinstance(error, TooLarge) else 422)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return Problem("out of memory. Fix: save a smaller copy of the picture.", 413)
    if isinstance(error, OSError):
        _log.error("%s", error)
        return Problem("a file cannot be read or written; see the terminal of the server", 500)
    _log.error("a request failed", exc_info=error)
    return Problem("a defect of this server; see its terminal", 500)
