"""The exception for mistakes of a user, and functions that format messages."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_LISTED = 10  # names in a message before "and N more"
_FLAGS = {"fields": "set", "finetune": "fine-tune"}  # argument -> flag, if the names differ


class InputError(ValueError):
    """Error for an unusable file, folder or option, with the remedy in the message.

    A message names an argument in backticks, for example "`size` 3 is too small". A
    command replaces the argument by its flag (`with_flags`), prints only the message and exits
    with status 2 (`cli.common.run`). Other exceptions are defects and keep their tracebacks.
    """


class OutputExists(InputError):
    """Error for an output that would replace an existing file."""


def flag_of(argument: str) -> str:
    """Return the flag of an argument, for example --batch-size for batch_size."""
    return "--" + _FLAGS.get(argument, argument).replace("_", "-")


def with_flags(message: str) -> str:
    """Replace the names of arguments in backticks by their flags."""
    return re.sub(r"`([a-z_]+)`", lambda argument: flag_of(argument[1]), message)


class ReportedElsewhere(InputError):
    """An error that another process of this run also raises and reports."""

    def __init__(self) -> None:
        super().__init__("another process of this run reports the problem")


def one_line(text: object) -> str:
    """Return the text of an object in one line, without repeated spaces."""
    return " ".join(str(text).split())


def name_list(names: Iterable[object], none: str = "nothing") -> str:
    """Join the first ten names for a message, and count the others; return `none` for no names."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return (", ".join(texts[:_LISTED]) or none) + more


def counted(number: int, noun: str) -> str:
    """Return a number with its noun for a message: "1 image", "2 images"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def first_of(names: Sequence[str], most: int = 3) -> str:
    """Join at most ``most`` names for a message; add the total number if names are omitted."""
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def together(read: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Return the results of a function for all items, or raise one InputError with all messages."""
    results, problems = [], []
    for item in items:
        try:
            results.append(read(item))
        except InputError as error:
            problems.append(str(error))
    refuse_all(problems)
    return results


def refuse_all(problems: Sequence[str]) -> None:
    """Raise one InputError with all problems; do nothing for an empty list."""
    if problems:
        raise InputError(" | ".join(problems))


class Stopped(BaseException):
    """Exception that ends a long run after a signal, with a message about the run's output."""

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal
