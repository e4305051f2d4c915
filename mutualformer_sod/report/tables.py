"""Benchmark tables: which columns there are, how scores are printed, the table on the screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.metrics.results import Row, format_score


def default_columns() -> tuple[str, ...]:
    """Return the columns that a table has unless others are requested, as papers report them."""
    return tuple(name for name, column in COLUMNS.items() if column.in_table)


def check_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Return the columns asked for, or name those that do not exist.

    Raises:
        InputError: an unknown column.
    """
    names = tuple(dict.fromkeys(names))
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise InputError(f"--columns {' '.join(unknown)}: unknown; there are: {' '.join(COLUMNS)}")
    return names


def check_digits(digits: int) -> None:
    """Refuse a number of decimals that no table can show.

    Raises:
        InputError: fewer than 1 or more than 15, what a float64 holds.
    """
    if not 1 <= digits <= 15:
        raise InputError(f"--digits {digits} is not usable: give 1 to 15")


def cell_text(row: Row, column: str, digits: int) -> str:
    """The text of one score of a row."""
    return format_score(row.scores.get(column), digits, signed=row.kind == "difference")


def images_text(row: Row) -> str:
    """The number of images; none for a row that was not measured here."""
    return str(row.images) if row.kind == "measured" else ""


def rank_rows(rows: Sequence[Row], column: str) -> list[int | None]:
    """Rank the measured rows of each set by one column, 1 for the best, at full precision.

    Equal scores share a rank; rows that are quoted, differences or without a score have none.
    """
    sign = -1.0 if COLUMNS[column].larger_is_better else 1.0
    by_set: dict[str, list[float]] = {}
    for row in rows:
        if row.kind == "measured" and column in row.scores:
            by_set.setdefault(row.set_name, []).append(sign * row.scores[column])
    return [
        1 + sum(value < sign * row.scores[column] for value in by_set[row.set_name])
        if row.kind == "measured" and column in row.scores
        else None
        for row in rows
    ]


def numbered_marks(rows: Sequence[Row]) -> dict[str, int]:
    """Number the rows' marks in their order of appearance, from 1."""
    marks = dict.fromkeys(mark for row in rows for mark in row.marks)
    return {mark: number for number, mark in enumerate(marks, start=1)}


def text_table(rows: Sequence[Row], columns: Sequence[str], digits: int = 3) -> str:
    """Return the table for a terminal: one line a row, a rule between sets, marks as footnotes."""
    numbers = numbered_marks(rows)
    titles = [f"{COLUMNS[name].title}{COLUMNS[name].arrow}" for name in columns]
    cells = [["set", "images", "method", *titles]]
    for row in rows:
        noted = "".join(f"[{numbers[mark]}]" for mark in row.marks)
        scores = [cell_text(row, name, digits) for name in columns]
        cells.append([row.set_name, f"{images_text(row)}{noted}", row.method, *scores])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [_text_line(line, widths) for line in cells]
    rule = "-" * len(lines[0])
    text = [lines[0]]
    for i, line in enumerate(lines[1:]):
        if i == 0 or rows[i].set_name != rows[i - 1].set_name:
            text.append(rule)
        text.append(line)
    text += [rule] if rows else []
    return "\n".join([*text, *(f"[{number}] {mark}" for mark, number in numbers.items())])


def _text_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Names to the left, numbers to the right."""
    left = {0, 2}
    pairs = zip(cells, widths, strict=True)
    return "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(pairs))
