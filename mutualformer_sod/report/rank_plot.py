"""Draw critical-difference diagrams of average ranks, with bars over similar methods."""

import re
from pathlib import Path

import numpy as np

from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.report.all_pairs import AllPairs, Comparison
from mutualformer_sod.report.all_pairs_tables import p_text
from mutualformer_sod.report.curves import load_pyplot, save_figure, without_mathematics

BAR_COLOUR = "#d55e00"
_ROW = 0.24  # height of a line of text in inches
_WIDTH = 7.0  # width of a figure in inches


def plot_ranks(folder: Path, found: AllPairs) -> list[Path]:
    """Draw a figure of each set, with a diagram for each metric.

    The files are SET_ranks.pdf and SET_ranks.png. The diagrams are those of Demšar (JMLR 2006).

    Raises:
        InputError: matplotlib is not installed.
    """
    plt = load_pyplot()
    paths = []
    for name, items in found.by_set().items():
        heights = [_height(item) for item in items]
        size = (_WIDTH, _ROW * (sum(heights) + 3))
        figure, panels = plt.subplots(
            len(items), 1, figsize=size, height_ratios=heights, squeeze=False, layout="constrained"
        )
        for axes, item in zip(panels[:, 0], items, strict=True):
            draw_ranks(axes, item)
        unit = "sets" if items[0].sets > 1 else "images"
        title = f"{without_mathematics(name)}: average ranks over {items[0].ranks.blocks} {unit}"
        figure.suptitle(title, fontsize=10)
        paths += save_figure(figure, folder, f"{re.sub('[/ ]', '_', name)}_ranks")
    return paths


def _height(item: Comparison) -> float:
    """Return the height of a diagram in lines of text."""
    return 3.2 + 0.5 * len(item.groups) + (len(item.methods) + 1) // 2


def draw_ranks(axes, item: Comparison) -> None:
    """Draw one diagram: ranks on a line with the best rank at the left, and names at both sides."""
    ranks, order = item.ranks.ranks, np.argsort(item.ranks.ranks, kind="stable")
    low = int(np.floor(ranks.min()))
    high = max(int(np.ceil(ranks.max())), low + 1)
    span = high - low
    axes.set(xlim=(low - 0.35 * span, high + 0.35 * span), ylim=(_height(item) - 2.2, -2.2))
    axes.axis("off")
    axes.plot([low, high], [0, 0], color="black", lw=1)
    for rank in range(low, high + 1, max(1, span // 9)):
        axes.plot([rank, rank], [0, -0.25], color="black", lw=1)
        axes.text(rank, -0.35, str(rank), ha="center", va="bottom", fontsize=7)
    half = (len(order) + 1) // 2
    for place, i in enumerate(order):
        left = place < half
        line = 0.5 * len(item.groups) + 0.7 + (place if left else len(order) - 1 - place)
        side, edge = (-1, low) if left else (1, high)
        end = edge + 0.05 * side * span
        axes.plot([ranks[i], ranks[i], end], [0, line, line], color="black", lw=0.8)
        label = f"{without_mathematics(item.methods[i])} {ranks[i]:.2f}"
        style = {"ha": "right" if left else "left", "va": "center", "fontsize": 8}
        axes.text(end + 0.01 * side * span, line, label, **style)
    for row, group in enumerate(item.groups):
        ends = [ranks[group[0]] - 0.01 * span, ranks[group[-1]] + 0.01 * span]
        axes.plot(ends, [0.3 + 0.5 * row] * 2, color=BAR_COLOUR, lw=3)
    _draw_heading(axes, item, low - 0.35 * span, high + 0.35 * span)


def _draw_heading(axes, item: Comparison, left: float, right: float) -> None:
    """Draw the name of the metric, the p-value of Friedman's test, and the critical difference."""
    column, limit = COLUMNS[item.metric], item.critical_difference
    title = f"{without_mathematics(column.title)}{column.arrow}"
    friedman = f"(Friedman: p {p_text(item.ranks.p)})"
    axes.text(left, -1.6, f"{title}   {friedman}", fontsize=8, va="center")
    if limit < (right - left) / 2:
        axes.plot([right - limit, right], [-1.3, -1.3], "|-", color="black", lw=1.2, ms=5)
    text = f"critical difference {limit:.2f}"
    axes.text(right, -1.8, text, fontsize=7, ha="right", va="center")
