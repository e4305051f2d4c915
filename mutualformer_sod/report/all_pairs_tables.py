"""Format the comparison of all methods as text, Markdown, LaTeX and JSON."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from mutualformer_sod.files import write_text
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.metrics.results import format_score
from mutualformer_sod.report import formats
from mutualformer_sod.report.all_pairs import SEED, AllPairs, Comparison
from mutualformer_sod.report.hypothesis_tests import ALPHA
from mutualformer_sod.report.tables import ruled_lines

_PRINTED_PAIRS = 10  # maximum number of printed pairs of a set; the files have all pairs
_LATEX_HEAD = r"""% needs \usepackage{booktabs,longtable}; \usepackage[T1]{fontenc} is recommended
% bold: significant difference
\providecommand{\sodsignificant}[1]{\textbf{#1}}
\providecommand{\sodup}{$\uparrow$}
\providecommand{\soddown}{$\downarrow$}
"""


def write_all_pairs(output: Path, found: AllPairs, digits: int = 4) -> str:
    """Write significance.json, .md and .tex to an existing folder, and return the text to print.

    ``digits`` is the number of decimals of the differences in the tables. JSON has full precision.
    """
    write_text(output / "significance.json", to_json(found))
    write_text(output / "significance.md", markdown(found, digits))
    write_text(output / "significance.tex", latex(found, digits))
    return text(found, digits)


def text(found: AllPairs, digits: int = 4) -> str:
    """Return the comparison for a terminal; sets with many pairs are shown without the pairs."""
    lines = []
    if found.comparisons:
        titles = [f"{COLUMNS[c.metric].title}{COLUMNS[c.metric].arrow}" for c in _first(found)]
        lines += ruled_lines([["set", "images", "method", *titles], *_rank_rows(found)])
        if few := _pair_rows(found, digits, _PRINTED_PAIRS):
            lines += ruled_lines([["set", "images", "difference", *titles], *few])
    return "\n".join([*lines, *_legend(found), *found.notes])


def markdown(found: AllPairs, digits: int = 4) -> str:
    """Return the ranks and the differences of all pairs as two Markdown tables."""
    lines = []
    titles = [f"{COLUMNS[c.metric].title} {COLUMNS[c.metric].arrow}" for c in _first(found)]
    for head, rows in (("Method", _rank_rows(found)), ("Difference", _pair_rows(found, digits))):
        cells = _emphasised(rows, formats.escape_markdown, "**{}**")
        lines += formats.markdown_head(["Set", "Images", head, *titles], names=(0, 2))
        lines += [*map(formats.markdown_line, cells), ""]
    lines += [f"{formats.escape_markdown(line)}  " for line in (*_legend(found), *found.notes)]
    return "\n".join(lines) + "\n"


def latex(found: AllPairs, digits: int = 4) -> str:
    r"""Return the ranks as a LaTeX tabular and the differences of all pairs as a longtable."""
    titles = [formats.latex_title(COLUMNS[c.metric]) for c in _first(found)]
    lines = []
    for kind, head, rows in (
        ("tabular", "Method", _rank_rows(found)),
        ("longtable", "Difference", _pair_rows(found, digits)),
    ):
        cells = _emphasised(rows, formats.escape_latex, r"\sodsignificant{{{}}}")
        lines += [*formats.latex_lines(kind, ["Set", "Images", head, *titles], cells), ""]
    notes = map(formats.escape_latex, (*_legend(found), *found.notes))
    return _LATEX_HEAD + "\n".join([*lines, *formats.latex_notes(notes)])


def _emphasised(
    rows: Sequence[Sequence[str]], escape: Callable[[str], str], style: str
) -> list[list[str]]:
    """Escape the cells of rows, and format the cells that end with "*" by ``style``."""
    return [
        [style.format(escape(c[:-1])) if c.endswith("*") else escape(c) for c in row]
        for row in rows
    ]


def to_json(found: AllPairs) -> str:
    """Return the text of significance.json."""
    content = {
        "alpha": ALPHA,
        "draws": found.draws,
        "seed": SEED,
        "comparisons": [_entry(item) for item in found.comparisons],
        "notes": found.notes,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _entry(item: Comparison) -> dict:
    names, pairs = item.methods, item.pairs
    columns = {
        "difference": pairs.mean,
        "low": pairs.low,
        "high": pairs.high,
        "p": pairs.p,
        "p_holm": pairs.p_holm,
    }
    return {
        "set": item.set_name,
        "metric": item.metric,
        "images": item.images,
        "means": dict(zip(names, item.means.tolist(), strict=True)),
        "ranks": dict(zip(names, item.ranks.ranks.tolist(), strict=True)),
        "blocks": item.ranks.blocks,
        "friedman": {"statistic": item.ranks.statistic, "p": item.ranks.p},
        "critical_difference": item.critical_difference,
        "groups": [[names[i] for i in group] for group in item.groups],
        "pairs": [
            {"first": names[i], "second": names[j]}
            | {key: float(column[t]) for key, column in columns.items()}
            for t, (i, j) in enumerate(pairs.pairs.tolist())
        ],
    }


def _first(found: AllPairs) -> list[Comparison]:
    """Return the comparisons of the first set, one per metric."""
    return next(iter(found.by_set().values()), [])


def _rank_rows(found: AllPairs) -> list[list[str]]:
    """Return table rows with set, images and method, and with rank, wins and losses per metric."""
    rows = []
    for name, items in found.by_set().items():
        head = [name, str(items[0].images)]
        counts = [item.better_and_worse() for item in items]
        for i, method in enumerate(items[0].methods):
            cells = [
                f"{item.ranks.ranks[i]:.2f} +{better[i]} −{worse[i]}"
                for item, (better, worse) in zip(items, counts, strict=True)
            ]
            rows.append([*head, method, *cells])
        rows.append([*head, "p (Friedman)", *(p_text(item.ranks.p) for item in items)])
        limits = (f"{item.critical_difference:.2f}" for item in items)
        rows.append([*head, "critical difference", *limits])
    return rows


def _pair_rows(found: AllPairs, digits: int, most: float = float("inf")) -> list[list[str]]:
    """Return a row for each pair of methods, for sets with at most ``most`` pairs.

    The cell of a significant difference ends with "*".
    """
    rows = []
    for name, items in found.by_set().items():
        pairs = items[0].pairs.pairs.tolist()
        for t, (i, j) in enumerate(pairs if len(pairs) <= most else []):
            cells = [
                f"{format_score(item.pairs.mean[t], digits, signed=True)}"
                f" ({p_text(item.pairs.p_holm[t])}){'*' if item.significant[t] else ''}"
                for item in items
            ]
            first, second = items[0].methods[i], items[0].methods[j]
            rows.append([name, str(items[0].images), f"{first} − {second}", *cells])
    return rows


def p_text(p: float) -> str:
    """Format a p-value with three decimals, or as "<.001" if the value is smaller."""
    return "<.001" if p < 0.001 else format_score(p)


def _legend(found: AllPairs) -> list[str]:
    """Return the explanation of the tables."""
    if not found.comparisons:
        return []
    level = format_score(ALPHA, 2)
    lines = [
        "significance: average rank, 1 is the best; +N −M: better than N methods, worse than M, by "
        f"the paired bootstrap over images ({found.draws} draws, seed {SEED}) with Holm's "
        f"correction for all pairs of a set and metric, level {level}",
        "differences: mean over the images (p after Holm's correction); max and mean are of each "
        "image's own curve",
        f"Friedman's test and the critical difference of the ranks (Nemenyi, level {level}) are "
        "over the images of a set",
    ]
    if (last := found.comparisons[-1]).sets > 1:
        lines[-1] += f"; for the {last.set_name} they are over the sets"
    return lines
