"""Write the table of a comparison as Markdown, as CSV and as a plot."""

import csv
import importlib.util
import io
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer_sod.experiments.collect import EXCHANGE, FusionTable, Summary
from mutualformer_sod.experiments.image_scores import DRAWS, METRICS, Difference, differences
from mutualformer_sod.experiments.plan import DEPTHS
from mutualformer_sod.files import replacing, write_text
from mutualformer_sod.report.all_pairs_tables import p_text
from mutualformer_sod.report.curves import load_pyplot, without_mathematics
from mutualformer_sod.report.formats import markdown_head, markdown_line
from mutualformer_sod.report.tables import COLUMNS, Row, format_score, text_table

# Divisor and format of each cost in the Markdown table.
COSTS = {
    "parameters": (1e6, ".2f"),
    "macs": (1e9, ".3g"),
    "images_per_second": (1, ".3g"),
    "peak_memory": (2**20, ".0f"),
}


def write_fusions(folder: Path, table: FusionTable) -> str:
    """Write fusions.md, fusions.csv, runs.csv and, with matplotlib, fusions.png.

    Return the text for the terminal, with a table of the means and the notes.
    """
    write_text(folder / "fusions.md", fusion_markdown(table))
    write_text(folder / "fusions.csv", fusion_csv(table))
    write_text(folder / "runs.csv", runs_csv(table))
    notes = list(table.notes)
    if importlib.util.find_spec("matplotlib") is None:
        notes.append("No plot: matplotlib is missing (pip install -e '.[plot]').")
    else:
        plot_fusions(folder / "fusions.png", table)
    summaries = [table.summary(group, name) for group in table.groups for name in table.meanings]
    rows = [Row(s.group, f"{s.variant} x {len(s.seeds)}", s.mean, s.images) for s in summaries]
    return "\n".join([text_table(rows, table.shown), *notes])


def fusion_markdown(table: FusionTable) -> str:
    """Format the tables of costs, differences, misleading depth and metrics as Markdown."""
    lines = [*_overview(table), "", *_differences(table), *_misleading(table)]
    heads = [f"{COLUMNS[name].title} {COLUMNS[name].arrow}" for name in table.shown]
    for group in table.groups:
        rows = [table.summary(group, variant) for variant in table.meanings]
        lines += [f"### {group}: {rows[0].images} images", ""]
        body = [[f"`{row.variant}`", *(_spread(row, name) for name in table.shown)] for row in rows]
        lines += [*_markdown(["", *heads], body), ""]
    lines += [f"- `{name}`: {meaning}" for name, meaning in table.meanings.items() if meaning]
    lines += ["", *(f"{note}  " for note in [*_reading(table), *table.notes])]
    return "\n".join(lines).rstrip() + "\n"


def _overview(table: FusionTable) -> list[str]:
    heads = ["", "seeds", *(f"S ↑ {group}" for group in table.groups), f"MAE ↓ {table.groups[0]}"]
    heads += ["params M", "GMACs", "images/s", "MiB"]
    exchange = any(EXCHANGE in trial.statistics for trial in table.trials)
    body = []
    for variant in table.meanings:
        rows = [table.summary(group, variant) for group in table.groups]
        cells = [f"`{variant}`", str(len(rows[0].seeds))]
        cells += [_spread(row, "s_measure") for row in rows] + [_spread(rows[0], "mae")]
        cost = table.costs.get(variant, {})
        for name, (unit, style) in COSTS.items():
            cells.append("-" if cost.get(name) is None else format(cost[name] / unit, style))
        if exchange:
            cells.append(_exchange_cell(table.exchange_ratios(variant)))
        body.append(cells)
    return _markdown([*heads, "exchanged"] if exchange else heads, body)


def _differences(table: FusionTable) -> list[str]:
    """Return the table of differences between the first variant and the other variants."""
    if len(table.meanings) < 2:
        return []
    reference = next(iter(table.meanings))
    found = differences(table.images, reference)
    body = [
        [f"`{row[0].variant}`", *map(_interval, row)] for row in zip(*found.values(), strict=True)
    ]
    text = (
        f"S-measure of `{reference}` minus that of each other variant, with the 95 % interval of "
        f"{DRAWS} resamples of images and seeds together, and the p-value after Holm's correction "
        f"for the {len(body)} variants of a column."
    )
    if any(len(table.of(variant)) == 1 for variant in table.meanings):
        text += " A variant with one seed shows no variation over seeds."
    heads = ["", *(f"Δ S {group}" for group in found)]
    return [f"### `{reference}` minus the others", "", text, "", *_markdown(heads, body), ""]


def _interval(item: Difference) -> str:
    mean, low, high = (format_score(v, 3, signed=True) for v in (item.mean, item.low, item.high))
    text = f"{mean} [{low}, {high}] p {p_text(item.p)}"
    return f"**{text}**" if item.p < 0.05 else text


def _misleading(table: FusionTable) -> list[str]:
    """Return the tables of scores with misleading depth, one table for each group."""
    if len(table.images.kinds) < 2:
        return []
    lines = []
    owners = np.array([name for name, _ in table.images.runs])
    scores = {kind: table.images.by_group(kind) for kind in table.images.kinds}
    column = METRICS.index("s_measure")
    for group in table.groups:
        kinds = [kind for kind in scores if group in scores[kind]]
        body = []
        for name in table.meanings:
            of = [scores[kind][group][:, owners == name, column].mean() for kind in kinds]
            worst = min(of[1:], default=of[0]) - of[0]
            cells = (*map(format_score, of), format_score(worst, signed=True))
            body.append([f"`{name}`", *cells])
        heads = ["", *(f"S ↑ {kind}" for kind in kinds), "worst − right"]
        lines += [f"### {group} with misleading depth", "", *_markdown(heads, body), ""]
    kinds = [f"{kind} = {DEPTHS[kind]}" for kind in scores if kind in DEPTHS]
    return [*lines, f"Kinds of depth: {'; '.join(kinds)}.", ""]


def _exchange_cell(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    percent = [100 * ratio for ratio in ratios]
    spread = f" ± {statistics.stdev(percent):.1f}" if len(percent) > 1 else ""
    return f"{statistics.fmean(percent):.1f}{spread} %"


def _spread(row: Summary, metric: str) -> str:
    """Format mean ± standard deviation; for a single seed, format the mean alone."""
    text = format_score(row.mean.get(metric))
    return f"{text} ± {format_score(row.std[metric])}" if metric in row.std else text


def _markdown(heads: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [*markdown_head(heads), *map(markdown_line, body)]


def _reading(table: FusionTable) -> list[str]:
    """Return notes on the standard deviations; the notes depend on the number of seeds."""
    counts = [len(table.of(variant)) for variant in table.meanings]
    fewest, most = min(counts), max(counts)
    if most == 1:
        return ["One seed: the deviation over seeds is unknown."]
    from scipy.stats import chi2  # takes half a second to import

    low, high = (((most - 1) / chi2.ppf(p, most - 1)) ** 0.5 for p in (0.975, 0.025))
    seeds = str(most) if fewest == most else f"{fewest} to {most}"
    return [
        f"± is the standard deviation (n − 1) over {seeds} seeds. This deviation is a rough "
        f"estimate: for {most} scores the true deviation is between {low:.2f} and {high:.1f} times "
        "this value (95 %). The deviation measures the variation over seeds, not over test images, "
        "which are the same for all."
    ]


def fusion_csv(table: FusionTable) -> str:
    """Format a CSV of means, deviations and costs, with one line per group and variant."""
    names = table.metrics
    scores = [f"{name}_{kind}" for name in names for kind in ("mean", "std")]
    rows = [["group", "images", "variant", "seeds", *scores, *COSTS, EXCHANGE]]
    for group, variant in itertools.product(table.groups, table.meanings):
        row, cost = table.summary(group, variant), table.costs.get(variant, {})
        values = [part.get(name, "") for name in names for part in (row.mean, row.std)]
        values += [cost.get(name, "") for name in COSTS]
        ratios = table.exchange_ratios(variant)
        values.append(statistics.fmean(ratios) if ratios else "")
        rows.append([group, row.images, variant, len(row.seeds), *values])
    return _csv(rows) + "".join(f"# {note}\n" for note in table.notes)


def runs_csv(table: FusionTable) -> str:
    """Format a CSV of scores and statistics, with one line per group, variant and seed."""
    names = table.metrics
    logged = list(dict.fromkeys(name for trial in table.trials for name in trial.statistics))
    rows = [["group", "variant", "seed", *names, "training_seconds", *logged]]
    for group, trial in itertools.product(table.groups, table.trials):
        values = [trial.scores[group].get(name, "") for name in names]
        values += [trial.seconds, *(trial.statistics.get(name, "") for name in logged)]
        rows.append([group, trial.variant, trial.seed, *values])
    return _csv(rows)


def _csv(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def plot_fusions(path: Path, table: FusionTable) -> None:
    """Plot the S-measure in one panel per group, with a point per seed and a bar at the mean."""
    plt = load_pyplot()
    groups, variants = table.groups, list(table.meanings)
    size = (2.2 + 2.3 * len(groups), 1.2 + 0.26 * len(variants))
    figure, panels = plt.subplots(1, len(groups), figsize=size, sharey=True, layout="constrained")
    for axes, group in zip([panels] if len(groups) == 1 else panels, groups, strict=True):
        for height, variant in enumerate(variants):
            points = [trial.scores[group]["s_measure"] for trial in table.of(variant)]
            mean = statistics.fmean(points)
            axes.plot(points, [height] * len(points), "o", color="#0072b2", alpha=0.6, ms=4)
            axes.plot([mean], [height], "|", color="#d55e00", ms=12, mew=2)
        axes.set_title(group, fontsize=9)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=7)
    axes.set_yticks(range(len(variants)), list(map(without_mathematics, variants)))
    axes.set_ylim(len(variants) - 0.5, -0.5)  # the order of the table, from the top
    figure.supxlabel("S-measure: one point per seed, the bar is the mean", fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)
