"""Print the next useful command as the last line of a command's output."""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

from mutualformer_sod.errors import flag_of

COMMAND = "mutualformer-sod"


def suggest(command: str, *words: object) -> None:
    """Print a command of `commands.COMMANDS` on standard error, once in a distributed run."""
    suggest_program(*_program(command), *words)


def suggest_program(*words: object) -> None:
    """Print the command of another program as `suggest` does, quoted for the shell."""
    if is_first_process():
        line = shlex.join(map(str, words))
        print(f"Next: {line}", file=sys.stderr, flush=True)


def is_first_process() -> bool:
    """Return whether this process is the only process or the first process of a run."""
    return os.environ.get("RANK", "0") == "0"


def option(name: str, values: object) -> list[object]:
    """Return a flag with its values, the flag alone for True, or [] without a value."""
    if values is None or values is False:
        return []
    if values is True:
        return [name]
    if isinstance(values, list | tuple):
        return [name, *values] if values else []
    return [name, values]


def given(args: argparse.Namespace, *names: str) -> list[object]:
    """Return the flags of the named arguments with their values, as `option` does."""
    return [word for name in names for word in option(flag_of(name), getattr(args, name))]


def _program(command: str) -> list[str]:
    """Return the words that start a command in the same way as this command was started."""
    started = Path(sys.argv[0])
    tool = started.with_name(f"{command.replace('-', '_')}.py")
    if started.parent.name == "tools" and tool.is_file():
        return [_python(), min(str(tool), os.path.relpath(tool), key=len)]
    if shutil.which(COMMAND):
        return [COMMAND, command]
    return [_python(), "-m", "mutualformer_sod", command]


def _python() -> str:
    found = shutil.which("python")
    return "python" if found and Path(found).samefile(sys.executable) else sys.executable
