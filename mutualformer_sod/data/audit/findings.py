"""What is to be said of data sets: one line each, with the files it is about and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["problem", "note"]

NAMED = 3  # files that a line names before it only counts


@dataclass(frozen=True)
class Finding:
    """One thing to say of a set.

    Attributes:
        level: "problem" wants attention, "note" is to be known.
        kind: in one word, the same for all findings of a kind.
        set_name: the set it is about, or the two, as "A / B".
        text: what is the matter.
        remedy: what to do; empty where nothing is to be done.
        files: the files it is about.
    """

    level: Level
    kind: str
    set_name: str
    text: str
    remedy: str = ""
    files: tuple[str, ...] = ()

    def line(self) -> str:
        """The finding in one line; of many files the first are named and all counted."""
        label = {"problem": "PROBLEM", "note": "note"}[self.level]
        parts = [f"{label}: {self.set_name}: {self.text}"]
        if self.files:
            more = f", ... ({len(self.files)} in all)" if len(self.files) > NAMED else ""
            parts.append(": " + ", ".join(self.files[:NAMED]) + more)
        if self.remedy:
            parts.append(f"; {self.remedy}")
        return "".join(parts)


def about(
    level: Level, kind: str, set_name: str, text: str, remedy: str, files: Iterable[object]
) -> list[Finding]:
    """One finding about some files; none if there are no files."""
    listed = tuple(map(str, files))
    return [Finding(level, kind, set_name, text, remedy, listed)] if listed else []
