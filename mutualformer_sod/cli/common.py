"""Parser, flags, one-line errors and exit statuses of all command lines."""

import argparse
import contextlib
import errno
import importlib.util
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from mutualformer_sod.cli.next_step import is_first_process
from mutualformer_sod.configs.released import DEFAULT_WEIGHTS, ESTIMATOR, WEIGHTS_HELP
from mutualformer_sod.errors import (
    InputError,
    ReportedElsewhere,
    Stopped,
    flag_of,
    one_line,
    with_flags,
)
from mutualformer_sod.files import check_writable
from mutualformer_sod.signals import ended_by_sigterm

# Commands report unreadable files in one line, without the messages of OpenCV's decoders. Worker
# processes inherit this value.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130
MOST_MEGAPIXELS = 128  # limit of an upload; `imaging.photos` accepts and reduces larger pictures

_REMEDIES = {  # errno -> action, for errors of files in `run`
    errno.ENOSPC: "free disk space and start again",
    errno.EDQUOT: "free disk space and start again",
    errno.ENOTDIR: "pass another path: a folder of this path is a file",
    errno.EISDIR: "pass another path, or move this folder",
    errno.ENOENT: "pass a path that exists",
    errno.EACCES: "change the permissions, or pass another path",
    errno.EROFS: "pass another path: this file system is read-only",
}
_LIBRARIES = r"(torch|torchvision|timm|onnx|onnxscript|PIL|matplotlib|gradio)(\.|$)"


class Parser(argparse.ArgumentParser):
    """An argument parser that prints one-line errors and accepts no abbreviated flags."""

    def __init__(self, description: str | None, epilog: str | None = None) -> None:
        super().__init__(
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        remedy = "" if "Fix: " in message else ". Fix: pass --help for a list of the flags."
        self.exit(EXIT_INPUT_ERROR, f"{self.prog}: error: {message}{remedy}\n")

    def refuse_unused(self, args: argparse.Namespace, names: Iterable[str], when: str) -> None:
        """Exit with an error if an argument without an effect was passed.

        ``when`` is the condition for the message, for example "with --unpack".
        """
        for name in names:
            if getattr(args, name) != self.get_default(name):
                self.error(f"{flag_of(name)} has no effect {when}. Fix: omit {flag_of(name)}.")


def at_least(least: int) -> Callable[[str], int]:
    """Return an argparse type that accepts integers of ``least`` or more."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is too small. Fix: pass {least} or more.")
        return value

    return number


COUNT = at_least(1)


def _value(
    effect: str, metavar: str | None = None, kind: Callable[[str], Any] = str, **rest: Any
) -> dict[str, Any]:
    """Return the arguments of a flag with a value of type ``kind``, as argparse expects them.

    The help is ``effect``, followed by the default if that is a number or a text.
    """
    default = rest.get("default")
    if isinstance(default, int | float | str):
        shown = f"{default:g}" if isinstance(default, float) else "%(default)s"
        effect = f"{effect} (default: {shown})"
    return {"metavar": metavar, "type": kind, "help": effect, **rest}


_ESTIMATE = (
    "estimate depth from colour for pictures without depth; FILE: your own estimator "
    "(tools/estimate_depth.py)"
)
INPUT_SIZE = {"type": int, "help": "input size of the network in pixels per side"}  # of --size
FLAGS: dict[str, dict[str, Any]] = {
    "--amp": _value("auto, off, bf16 or fp16", default="auto"),
    "--batch-size": _value("images per batch", "N", COUNT, default=8),
    "--clock": _value(
        "cpu: CPU seconds of the process, for a shared machine and one thread",
        choices=("wall", "cpu"),
        default="wall",
    ),
    "--data": _value("folders of sets", "ROOT", nargs="+", required=True),
    "--device": _value("auto, cpu, cuda or mps", default="auto"),
    "--estimate-depth": _value(_ESTIMATE, "FILE", Path, nargs="?", const=ESTIMATOR),
    "--images": _value("only the images listed in FILE as SET/STEM", "FILE", Path),
    "--json": _value("also write the results to this file", "FILE", Path),
    "--limit": _value("the first N images of each set", "N", COUNT),
    "--map-prefix": _value("text before the stem in the names of the maps", "TEXT"),
    "--map-suffix": _value(
        "text after the stem, such as _sal in im0_sal.png; if neither this flag nor --map-prefix "
        "is passed, the text common to all maps is detected",
        "TEXT",
    ),
    "--maps": _value("folder that has one folder of maps per method", "DIR", Path, required=True),
    "--methods": _value("only these methods, in this order (default: all)", "M", nargs="+"),
    "--near": _value(
        "which depth values are near the camera, as in tools/test.py (default: auto)",
        "POLARITY",
        nargs="+",
        default=["auto"],
    ),
    "--output": {"type": Path, "required": True, "metavar": "DIR"},
    "--overwrite": {"action": "store_true", "help": "replace existing files"},
    "--rounds": {"type": COUNT, "default": 9, "metavar": "N", "help": "default: %(default)s"},
    "--set": _value(
        "model options, as in tools/train.py", "FIELD=VALUE", nargs="+", default=[], dest="fields"
    ),
    "--sets": _value("only these sets (default: all)", "SET", nargs="+"),
    "--size": _value("pixels per side (default: preset's)", "S", at_least(32)),
    "--weights": {"default": DEFAULT_WEIGHTS, "metavar": "FILE|NAME", "help": WEIGHTS_HELP},
    "--workers": _value("processes (default: all cores)", "N", COUNT),
}


def add_flags(parser: argparse._ActionsContainer, *flags: str, **changes: Any) -> None:
    """Add flags with the arguments in ``FLAGS``, which ``changes`` replace or extend."""
    for flag in flags:
        parser.add_argument(flag, **FLAGS[flag] | changes)


def flag_adder(parser: argparse._ActionsContainer) -> Callable[..., None]:
    """Return a function that adds one flag: a switch, or with further arguments a `_value`."""

    def add(flag: str, effect: str, *value: Any, **rest: Any) -> None:
        is_switch = not (value or rest)
        switch = {"action": "store_true", "help": effect}
        parser.add_argument(flag, **switch if is_switch else _value(effect, *value, **rest))

    return add


def add_server_flags(parser: argparse.ArgumentParser, port: int) -> None:
    """Add the flags of commands that listen on a port, with ``port`` as the default port."""
    add = parser.add_argument
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default 127.0.0.1: this machine only; 0.0.0.0: every machine "
        "that can reach this machine)",
    )
    add("--port", type=int, default=port, help=f"port (default {port}; 0: any free port)")
    effect = f"maximum megapixels of a picture or depth map, up to {MOST_MEGAPIXELS} (default 24)"
    add("--max-megapixels", type=float, default=24, metavar="N", help=effect)
    add("--max-upload", type=float, default=64, metavar="MB", help="maximum upload (default 64)")
    add("--queue", type=COUNT, metavar="N", default=32, help="requests that may wait (default 32)")


def check_server_flags(parser: Parser, args: argparse.Namespace, **further: float) -> None:
    """Exit with an error if a flag of `add_server_flags` has a value out of range.

    ``further`` maps further arguments to upper limits; their values must also be above 0.
    """
    limits = {"max_megapixels": MOST_MEGAPIXELS, "max_upload": 4096, **further}
    for name, most in limits.items():
        value = getattr(args, name)
        if not 0 < value <= most:
            flag = flag_of(name)
            parser.error(f"{flag} {value:g}: out of range. Fix: pass more than 0, at most {most}.")
    if not 0 <= args.port <= 65535:
        parser.error(f"--port {args.port}: out of range. Fix: pass 0 to 65535.")


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise InputError for an output file that exists, if ``overwrite`` is false."""
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists. Fix: pass another path, or --overwrite.")


def check_result_files(args: argparse.Namespace, *names: str) -> None:
    """Raise InputError if a file exists without --overwrite, or its folder is not writable."""
    for name in names:
        if (path := getattr(args, name)) is not None:
            refuse_existing(path, args.overwrite)
            check_writable(path.parent, name)


def require_packages(extra: str, *packages: str) -> None:
    """Raise InputError if a package is not installed; the message names the extra."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{package} is not installed. Fix: pip install -e '.[{extra}]'")


@contextlib.contextmanager
def kept(files: str) -> Iterator[None]:
    """Context that reports after Ctrl-C that the written files remain."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nthe {files} so far are kept; the same command continues the run", file=sys.stderr)
        raise


def program() -> str:
    """Return the file name of the started command, for messages."""
    return Path(sys.argv[0]).name


def run_command(module: str) -> None:
    """Import a module of ``cli``, and call its ``main`` by `run`; report import errors, too."""
    run(lambda: importlib.import_module(f"mutualformer_sod.cli.{module}").main())


def run(main: Callable[[], int | None]) -> None:
    """Call ``main``, and end the process with an exit status.

    The status is the result of ``main`` (0 for None), 2 for a user error, or 130 for Ctrl-C.

    An ``InputError``, an ``OSError``, a lack of memory or a missing package becomes one line on
    standard error. A run that a signal stops also prints one line, and has the status 128 + the
    number of the signal. Any other exception is a defect and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # for names that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions:  # ``python -W default`` shows the libraries' warnings for programmers
        for category in (FutureWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        warnings.filterwarnings("ignore", category=UserWarning, module=_LIBRARIES)
    status = EXIT_INPUT_ERROR
    # If a process fails, torchrun ends the others by SIGTERM; only the failed process reports.
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    try:
        with ended_by_sigterm("the command did not finish") if alone else contextlib.nullcontext():
            status = main() or 0
    except ReportedElsewhere:
        pass
    except (InputError, OSError, MemoryError, RuntimeError, ModuleNotFoundError) as error:
        line = _one_line(error)
        if line is None:
            raise
        print(f"{program()}: error: {line}", file=sys.stderr)
    except Stopped as stop:
        if is_first_process():
            name = signal.Signals(stop.signal).name
            print(f"\n{program()}: stopped by {name}: {stop}", file=sys.stderr)
        status = 128 + stop.signal
    except KeyboardInterrupt:
        print(f"\n{program()}: interrupted", file=sys.stderr)
        status = EXIT_INTERRUPTED
    sys.exit(status)


def _one_line(error: Exception) -> str | None:
    """Return the message in one line, with flags in place of arguments; None for a defect."""
    # torch raises a RuntimeError if memory runs out.
    names = ("MemoryError", "OutOfMemoryError")
    if type(error).__name__ in names or "can't allocate memory" in str(error):
        return (
            "out of memory. Fix: close other programs, or pass a smaller --size or --batch-size, "
            "if the command has these flags."
        )
    package = error.name if isinstance(error, ModuleNotFoundError) else None
    if package and package.partition(".")[0] != "mutualformer_sod":
        return f"the package {package} is not installed. Fix: pip install . in the repository"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        remedy = _REMEDIES.get(error.errno)
        return f"{error.filename}: {error.strerror}{f'. Fix: {remedy}' if remedy else ''}"
    return with_flags(one_line(error)) if isinstance(error, (InputError, OSError)) else None


def map_affixes(args: argparse.Namespace) -> tuple[str, str] | None:
    """Return the values of ``--map-prefix`` and ``--map-suffix``; None if neither is passed."""
    if args.map_prefix is None and args.map_suffix is None:
        return None
    return args.map_prefix or "", args.map_suffix or ""
