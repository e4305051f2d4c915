"""Findings about data sets, each printed as one line with its files and its remedy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mutualformer_sod.errors import first_of

Level = Literal["problem", "note"]


@dataclass(frozen=True)
class Finding:
    """One finding about a set."""

    level: Level  # "problem" needs attention, "note" is information
    kind: str  # short name of the kind of finding
    set: str  # name of the set, or of two sets as "A / B"
    text: str
    remedy: str = ""  # the action; empty if none is needed
    files: tuple[str, ...] = ()  # the files that the finding concerns

    def line(self) -> str:
        """Return the finding in one line, with the first files (and the total if more exist)."""
        label = "PROBLEM" if self.level == "problem" else "note"
        files = f": {first_of(self.files)}" if self.files else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{label}: {self.set}: {self.text}{files}{remedy}"


def about(
    level: Level, kind: str, set_name: str, text: str, remedy: str, files: Iterable[object]
) -> list[Finding]:
    """Return a list of one finding about some files, or an empty list if there are no files."""
    listed = tuple(map(str, files))
    return [Finding(level, kind, set_name, text, remedy, listed)] if listed else []
