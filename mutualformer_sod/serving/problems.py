"""Turn the error of a request into one line for its client."""

import logging
from collections.abc import Mapping
from pathlib import Path

from mutualformer_sod.errors import InputError, one_line
from mutualformer_sod.serving.limits import TooLarge

_log = logging.getLogger(__name__)


def problem_of(error: Exception, names: Mapping[Path, str]) -> tuple[str, int]:
    """Return a message for the client and the HTTP status; log errors of the server.

    Args:
        error: exception that was raised while a map was predicted.
        names: path -> name that replaces the path in the message, because a client must not see
            the folders of the server.
    """
    if isinstance(error, InputError):
        line = str(error)
        for path, name in names.items():
            line = line.replace(str(path), name)
        return one_line(line), 413 if isinstance(error, TooLarge) else 422
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "out of memory. Fix: save a smaller copy of the picture.", 413
    if isinstance(error, OSError):
        _log.error("%s", error)
        return "a file cannot be read or written. Fix: see the terminal of the server.", 500
    _log.error("a request failed", exc_info=error)
    return "a defect of this server. Fix: see the terminal of this server.", 500
