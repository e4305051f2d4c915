"""Write the tables of an evaluation to a folder."""

from collections.abc import Sequence
from pathlib import Path

from mutualformer_sod.files import write_text
from mutualformer_sod.metrics.results import Results
from mutualformer_sod.report.formats import csv_table, latex_table, markdown_table
from mutualformer_sod.report.published import with_published
from mutualformer_sod.report.tables import text_table


def write_results(
    output: Path,
    results: Results,
    columns: Sequence[str],
    digits: int = 3,
    published: Sequence[str] = (),
) -> str:
    """Write scores.json, table.csv, table.md and table.tex; return the table for the screen.

    Args:
        results: the scores, protocol, marks and notes.
        columns: metrics in the tables; scores.json has all.
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
    return "\n".join([text_table(rows, columns, digits), *protocol, *results.notes])
