"""Parts of all command lines: the parser, one-line errors and exit statuses."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from mutualformer_sod.errors import InputError, ReportedElsewhere, Stopped, with_flags

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130

_LIBRARIES = r"(torch|torchvision|timm|onnx|onnxscript|PIL|matplotlib|gradio)(\.|$)"


class Parser(argparse.ArgumentParser):
    """An argument parser with one-line errors; it accepts no abbreviated flags."""

    def __init__(self, description: str | None, epilog: str | None = None) -> None:
        super().__init__(
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_INPUT_ERROR, f"{self.prog}: error: {message} (--help lists the flags)\n")


def add_maps(parser: argparse.ArgumentParser, output: str) -> None:
    """Add the flags of commands that read the maps of several methods.

    Args:
        parser: of the command.
        output: help text of --output.
    """
    add = parser.add_argument
    add("--data", nargs="+", required=True, metavar="ROOT", help="folders of sets")
    add("--maps", type=Path, required=True, metavar="DIR", help="folder of methods")
    add("--methods", nargs="+", metavar="M", help="only these, in this order (default: all)")
    add("--sets", nargs="+", metavar="SET", help="only these sets (default: all)")
    add("--output", type=Path, required=True, metavar="PATH", help=output)


def check_least(args: argparse.Namespace, **least: int) -> None:
    """Check that the values of flags are not too small. None passes.

    Raises:
        InputError: naming the flag.
    """
    for name, smallest in least.items():
        value = getattr(args, name)
        if value is not None and value < smallest:
            raise InputError(f"`{name}` {value} is too small. Fix: pass {smallest} or more.")


def run(main: Callable[[], int | None]) -> None:
    """Call ``main`` and end the process: 0 or its status, 2 for a user error, 130 for Ctrl-C.

    An ``InputError``, or an ``OSError`` of the file system, becomes one line on standard error, as
    does a run stopped by a signal (status 128 + its number). Any other exception is a defect and
    keeps its traceback.
    """
    program = Path(sys.argv[0]).name
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # for names that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    _quieten_libraries()
    try:
        status = main() or 0
    except ReportedElsewhere:
        status = EXIT_INPUT_ERROR
    except (InputError, OSError) as error:
        print(f"{program}: error: {_one_line(error)}", file=sys.stderr)
        status = EXIT_INPUT_ERROR
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        print(
            f"{program}: error: out of memory. Fix: pass a smaller --size or --batch-size",
            file=sys.stderr,
        )
        status = EXIT_INPUT_ERROR
    except Stopped as stop:
        if os.environ.get("RANK", "0") == "0":
            name = signal.Signals(stop.signal).name
            print(f"\n{program}: stopped by {name}: {stop}", file=sys.stderr)
        status = 128 + stop.signal
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        status = EXIT_INTERRUPTED
    sys.exit(status)


def _quieten_libraries() -> None:
    """Hide the libraries' warnings for programmers; ``python -W default`` shows them."""
    if sys.warnoptions:
        return
    for category in (FutureWarning, DeprecationWarning):
        warnings.simplefilter("ignore", category)
    warnings.filterwarnings("ignore", category=UserWarning, module=_LIBRARIES)


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out on a CPU or a GPU, where torch raises RuntimeErrors."""
    names = {"MemoryError", "OutOfMemoryError"}
    return type(error).__name__ in names or "can't allocate memory" in str(error)


def _one_line(error: Exception) -> str:
    """Return the message in one line; arguments in backticks become flags."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = ". Fix: free disk space and start again" if full else ""
        return f"{error.filename}: {error.strerror}{remedy}"
    return with_flags(" ".join(str(error).split()))
