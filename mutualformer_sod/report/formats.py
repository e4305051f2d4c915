"""Write scores.json with the results of an evaluation, and a table in CSV, Markdown and LaTeX."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from mutualformer_sod.files import write_text
from mutualformer_sod.metrics.registry import COLUMNS, Column
from mutualformer_sod.metrics.results import Results, Row
from mutualformer_sod.report import tables
from mutualformer_sod.report.published import with_published

_LATEX_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"{{{character}}}" for character in "[]*"},  # after \\, [ begins an option
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "†": r"\textsuperscript{\textdagger}",
    "−": r"$-$",
    "→": r"$\rightarrow$",
    "Δ": r"$\Delta$",
}
_LATEX_HEAD = r"""% needs \usepackage{booktabs}; \usepackage[T1]{fontenc} is recommended
% best, second and third of the measured methods of a set, ranked at full precision
\providecommand{\sodbest}[1]{\textbf{#1}}
\providecommand{\sodsecond}[1]{\underline{#1}}
\providecommand{\sodthird}[1]{\textit{#1}}
\providecommand{\sodup}{$\uparrow$}
\providecommand{\soddown}{$\downarrow$}
"""
_LATEX_RANKS = {1: r"\sodbest", 2: r"\sodsecond", 3: r"\sodthird"}
_MARKDOWN_RANKS = {1: "**{}**", 2: "<u>{}</u>", 3: "*{}*"}


def write_results(
    output: Path,
    results: Results,
    columns: Sequence[str],
    digits: int = 3,
    published: Sequence[str] = (),
) -> str:
    """Write scores.json, table.csv, table.md and table.tex, and return the table for the screen.

    Args:
        columns: metrics in the tables; scores.json has all metrics.
        digits: decimals in the tables; CSV and JSON have full precision.
        published: methods whose quoted scores are added, see ``report.published``.
    """
    rows, protocol = results.rows(), results.protocol_lines()
    if published:
        rows = with_published(rows, published)
        if not any(row.kind == "quoted" for row in rows):
            results.notes.append("no published scores are stored for these sets and methods")
    write_text(output / "scores.json", results.to_json())
    write_text(output / "table.csv", csv_table(rows, columns, protocol))
    write_text(output / "table.md", markdown_table(rows, columns, protocol, digits))
    write_text(output / "table.tex", latex_table(rows, columns, protocol, digits))
    return "\n".join([tables.text_table(rows, columns, digits), *protocol, *results.notes])


def csv_table(rows: Sequence[Row], columns: Sequence[str], protocol: Sequence[str]) -> str:
    """Return the table as CSV with full precision and a rank column for each score.

    The protocol follows as comment lines that start with "#". Read the file with
    `pandas.read_csv(..., comment="#")`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ranks = {name: tables.rank_rows(rows, name) for name in columns}
    titles = [title for name in columns for title in (name, f"{name}_rank")]
    writer.writerow(["set", "images", "method", "kind", *titles, "marks"])
    for i, row in enumerate(rows):
        values = [v for n in columns for v in (row.scores.get(n, ""), ranks[n][i] or "")]
        head = [row.set_name, tables.images_text(row), row.method, row.kind]
        writer.writerow([*head, *values, "; ".join(row.marks)])
    return text.getvalue() + "".join(f"# {line}\n" for line in protocol)


def markdown_table(
    rows: Sequence[Row], columns: Sequence[str], protocol: Sequence[str], digits: int = 3
) -> str:
    """Return the table as Markdown, with the best, second and third score of a set marked."""
    numbers = tables.numbered_marks(rows)
    ranks = {name: tables.rank_rows(rows, name) for name in columns}
    titles = [f"{COLUMNS[name].title} {COLUMNS[name].arrow}" for name in columns]
    lines = markdown_head(["Set", "Images", "Method", *titles], names=(0, 2))
    for i, row in enumerate(rows):
        noted = "".join(f"<sup>{numbers[mark]}</sup>" for mark in row.marks)
        scores = [
            _MARKDOWN_RANKS.get(ranks[name][i], "{}").format(tables.cell_text(row, name, digits))
            for name in columns
        ]
        names = [escape_markdown(name) for name in (row.set_name, row.method)]
        lines.append(markdown_line([names[0], tables.images_text(row) + noted, names[1], *scores]))
    lines.append("")
    lines += [f"<sup>{n}</sup> {escape_markdown(mark)}  " for mark, n in numbers.items()]
    lines.append("Per set: **best**, <u>second</u>, *third*.  ")
    lines += [f"{escape_markdown(line)}  " for line in protocol]
    return "\n".join(lines) + "\n"


def markdown_line(cells: Sequence[str]) -> str:
    """Join cells to a row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def markdown_head(cells: Sequence[str], names: Sequence[int] = (0,)) -> list[str]:
    """Return the two head lines of a Markdown table, with the columns ``names`` left-aligned."""
    ruler = [":--" if column in names else "--:" for column in range(len(cells))]
    return [markdown_line(cells), markdown_line(ruler)]


def escape_markdown(text: str) -> str:
    """Escape the special characters of Markdown."""
    return re.sub(r"[\\`*_|\[\]<&~$]", r"\\\g<0>", text)


def latex_table(
    rows: Sequence[Row], columns: Sequence[str], protocol: Sequence[str], digits: int = 3
) -> str:
    r"""Return a LaTeX table that needs booktabs; a document may define the table's macros first."""
    numbers = tables.numbered_marks(rows)
    ranks = {name: tables.rank_rows(rows, name) for name in columns}
    cells = []
    for i, row in enumerate(rows):
        noted = ",".join(str(numbers[mark]) for mark in row.marks)
        images = tables.images_text(row) + (rf"\textsuperscript{{{noted}}}" if noted else "")
        scores = [_latex_score(row, name, digits, ranks[name][i]) for name in columns]
        cells.append([escape_latex(row.set_name), images, escape_latex(row.method), *scores])
    titles = [latex_title(COLUMNS[name]) for name in columns]
    notes = [rf"\textsuperscript{{{n}}}\,{escape_latex(mark)}" for mark, n in numbers.items()]
    notes += [escape_latex(line) for line in protocol]
    lines = latex_lines("tabular", ["Set", "Images", "Method", *titles], cells)
    return _LATEX_HEAD + "\n".join([*lines, "", *latex_notes(notes)])


def latex_lines(kind: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a tabular or longtable, with a rule wherever the first column changes."""
    columns = "lrl" + "c" * (len(head) - 3)
    lines = [rf"\begin{{{kind}}}{{{columns}}}", r"\toprule", _latex_line(head)]
    lines += [r"\endhead"] if kind == "longtable" else []
    for _, group in groupby(rows, key=lambda row: row[0]):
        lines += [r"\midrule", *map(_latex_line, group)]
    return [*lines, r"\bottomrule", rf"\end{{{kind}}}"]


def latex_notes(notes: Iterable[str]) -> list[str]:
    """Return the lines of the notes below a table."""
    return [r"\smallskip", r"{\footnotesize", "\\\\\n".join(notes), "\\par}\n"]


def latex_title(column: Column) -> str:
    """Return the heading of a column with an arrow macro, which the head of a table defines."""
    arrow = r"\sodup" if column.larger_is_better else r"\soddown"
    return rf"${column.latex}$\,{arrow}"


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_score(row: Row, column: str, digits: int, rank: int | None) -> str:
    text = tables.cell_text(row, column, digits)
    if row.kind == "difference":
        text = f"${text}$"
    elif text == "-":
        text = "--"
    return f"{_LATEX_RANKS[rank]}{{{text}}}" if rank in _LATEX_RANKS else text


def escape_latex(text: str) -> str:
    """Escape the special characters of LaTeX."""
    return text.translate(str.maketrans(_LATEX_SPECIAL))
