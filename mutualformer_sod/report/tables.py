"""Select the columns of benchmark tables, format and rank the scores, and format text tables."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.extra import extra_columns
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.metrics.results import Row, format_score


def default_columns() -> tuple[str, ...]:
    """Return the default columns of a table, which are the scores that papers report."""
    return tuple(name for name, column in COLUMNS.items() if column.in_table)


def check_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Return the requested columns without repetitions, or raise InputError for unknown names."""
    names = tuple(dict.fromkeys(names))
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        known = " ".join((*COLUMNS, *(name for name in extra_columns() if name not in COLUMNS)))
        raise InputError(f"`columns` {' '.join(unknown)}: unknown. Fix: choose from: {known}")
    return names


def check_digits(digits: int) -> None:
    """Raise InputError unless ``digits`` is 1 to 15, the reliable decimals of a float64."""
    if not 1 <= digits <= 15:
        raise InputError(f"`digits` {digits} is not usable. Fix: pass 1 to 15.")


def cell_text(row: Row, column: str, digits: int) -> str:
    """Return the text of one score of a row."""
    return format_score(row.scores.get(column), digits, signed=row.kind == "difference")


def images_text(row: Row) -> str:
    """Return the number of images as text, or "" for quoted scores and differences."""
    return str(row.images) if row.kind == "measured" else ""


def rank_rows(rows: Sequence[Row], column: str) -> list[int | None]:
    """Rank the measured rows of each set by one column at full precision, where 1 is the best.

    Equal scores have the same rank. Quoted rows, differences and rows without the score have None.
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
    """Number the marks of the rows in their order of appearance, from 1."""
    marks = dict.fromkeys(mark for row in rows for mark in row.marks)
    return {mark: number for number, mark in enumerate(marks, start=1)}


def text_table(rows: Sequence[Row], columns: Sequence[str], digits: int = 3) -> str:
    """Return the table for a terminal, with a rule between sets and the marks as footnotes."""
    numbers = numbered_marks(rows)
    titles = [f"{COLUMNS[name].title}{COLUMNS[name].arrow}" for name in columns]
    cells = [["set", "images", "method", *titles]]
    for row in rows:
        noted = "".join(f"[{numbers[mark]}]" for mark in row.marks)
        scores = [cell_text(row, name, digits) for name in columns]
        cells.append([row.set_name, f"{images_text(row)}{noted}", row.method, *scores])
    return "\n".join([*ruled_lines(cells), *(f"[{n}] {mark}" for mark, n in numbers.items())])


def ruled_lines(cells: Sequence[Sequence[str]]) -> list[str]:
    """Align heads and rows for a terminal, with a rule wherever the first column changes.

    The first and third columns are names, and the other columns are numbers.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = ["<", ">", "<", *">" * (len(widths) - 3)]
    pattern = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    head, *rows = cells
    text = [pattern.format(*head)]
    rule = "-" * len(text[0])
    for _, group in groupby(rows, key=lambda row: row[0]):
        text += [rule, *(pattern.format(*row) for row in group)]
    return [*text, rule] if rows else text
