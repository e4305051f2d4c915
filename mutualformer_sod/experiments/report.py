"""Table of a comparison: mean and standard deviation over seeds; Markdown, CSV and plot."""

import csv
import importlib.util
import io
import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutualformer_sod.files import replacing, write_text
from mutualformer_sod.metrics.results import Scores
from mutualformer_sod.report.tables import COLUMNS, Row, format_score, text_table

METRICS = ("s_measure", "max_f", "mean_f", "weighted_f", "max_e", "mean_e", "mae")
EXCHANGE = "exchange_ratio"
# Divisor and format of each cost in the Markdown table.
COSTS = {"parameters": (1e6, ".2f"), "macs": (1e9, ".3g"), "images_per_second": (1, ".3g")}


@dataclass(frozen=True)
class Trial:
    """Results of one variant and seed.

    Attributes:
        variant: its name.
        seed: of the training.
        scores: group of test images -> metric -> value; "images" is the number of images.
        statistics: of the fusion at the last epoch.
        seconds: of training.
        commits: of the training code.
        remarks: on its maps, with the names of images.
    """

    variant: str
    seed: int
    scores: dict[str, Scores]
    statistics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    commits: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """Scores of a variant on a group of test images, over its seeds.

    Attributes:
        images: number of images in the group.
        mean: by metric.
        std: by metric, sample standard deviation (n - 1); empty for a single seed.
    """

    group: str
    variant: str
    seeds: tuple[int, ...]
    images: int
    mean: Scores
    std: Scores


@dataclass(frozen=True)
class FusionTable:
    """Content of the table.

    Attributes:
        trials: the finished runs.
        meanings: variant -> description, in the order of the rows.
        costs: variant -> "parameters", "macs" and "images_per_second"; values may be missing.
        notes: lines below the table.
    """

    trials: Sequence[Trial]
    meanings: dict[str, str]
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def groups(self) -> list[str]:
        """Return the groups of test images, in order of appearance."""
        return list(dict.fromkeys(group for trial in self.trials for group in trial.scores))

    @property
    def metrics(self) -> list[str]:
        """Return the metrics of the first variant in the first group."""
        return list(self.summary(self.groups[0], next(iter(self.meanings))).mean)

    def exchange_ratios(self, variant: str) -> list[float]:
        """Return the exchange ratios at the last epoch, by seed; empty for most fusions."""
        return [t.statistics[EXCHANGE] for t in self.of(variant) if EXCHANGE in t.statistics]

    def of(self, variant: str) -> list[Trial]:
        """Return the trials of a variant."""
        return [trial for trial in self.trials if trial.variant == variant]

    def summary(self, group: str, variant: str) -> Summary:
        """Return a row: mean and standard deviation over the seeds of a variant."""
        trials = self.of(variant)
        scores = [trial.scores[group] for trial in trials]
        names = [name for name in COLUMNS if all(name in one for one in scores)]
        mean = {name: statistics.fmean(one[name] for one in scores) for name in names}
        std = {}
        if len(scores) > 1:
            std = {name: statistics.stdev(one[name] for one in scores) for name in names}
        seeds = tuple(trial.seed for trial in trials)
        return Summary(group, variant, seeds, int(scores[0]["images"]), mean, std)


def write_fusions(folder: Path, table: FusionTable) -> str:
    """Write fusions.md, fusions.csv, runs.csv and, with matplotlib, fusions.png.

    Returns:
        The means as a text table, and the notes.
    """
    write_text(folder / "fusions.md", fusion_markdown(table))
    write_text(folder / "fusions.csv", fusion_csv(table))
    write_text(folder / "runs.csv", runs_csv(table))
    notes = list(table.notes)
    if importlib.util.find_spec("matplotlib") is None:
        notes.append("No plot: matplotlib is missing (pip install 'mutualformer_sod[plot]').")
    else:
        plot_fusions(folder / "fusions.png", table)
    summaries = [table.summary(group, name) for group in table.groups for name in table.meanings]
    rows = [Row(s.group, f"{s.variant} x {len(s.seeds)}", s.mean, s.images) for s in summaries]
    return "\n".join([text_table(rows, METRICS), *notes])


def fusion_markdown(table: FusionTable) -> str:
    """Format the tables as Markdown: scores by group with costs, then all metrics of each group."""
    lines = [*_overview(table), ""]
    for group in table.groups:
        rows = [table.summary(group, variant) for variant in table.meanings]
        heads = [f"{COLUMNS[name].title} {COLUMNS[name].arrow}" for name in METRICS]
        lines += [f"### {group}: {rows[0].images} images", ""]
        body = [[f"`{row.variant}`", *(_spread(row, name) for name in METRICS)] for row in rows]
        lines += [*_markdown(["", *heads], body), ""]
    lines += [f"- `{name}`: {meaning}" for name, meaning in table.meanings.items() if meaning]
    lines += ["", *(f"{note}  " for note in [*_reading(table), *table.notes])]
    return "\n".join(lines).rstrip() + "\n"


def _overview(table: FusionTable) -> list[str]:
    first = table.groups[0]
    heads = ["", "seeds", *(f"S ↑ {group}" for group in table.groups), f"MAE ↓ {first}"]
    heads += ["params M", "GMACs", "images/s"]
    exchange = any(EXCHANGE in trial.statistics for trial in table.trials)
    body = []
    for variant in table.meanings:
        rows = [table.summary(group, variant) for group in table.groups]
        cells = [f"`{variant}`", str(len(rows[0].seeds))]
        cells += [_spread(row, "s_measure") for row in rows] + [_spread(rows[0], "mae")]
        cost = table.costs.get(variant, {})
        for name, (unit, style) in COSTS.items():
            cells.append(format(cost[name] / unit, style) if name in cost else "-")
        if exchange:
            cells.append(_exchange_cell(table.exchange_ratios(variant)))
        body.append(cells)
    return _markdown([*heads, "exchanged"] if exchange else heads, body)


def _exchange_cell(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    percent = [100 * ratio for ratio in ratios]
    spread = f" ± {statistics.stdev(percent):.1f}" if len(percent) > 1 else ""
    return f"{statistics.fmean(percent):.1f}{spread} %"


def _spread(row: Summary, metric: str) -> str:
    """Format mean ± standard deviation; the mean only for a single seed."""
    text = format_score(row.mean.get(metric))
    return f"{text} ± {format_score(row.std[metric])}" if metric in row.std else text


def _markdown(heads: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    ruler = [":--", *["--:"] * (len(heads) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (heads, ruler, *body)]


def _reading(table: FusionTable) -> list[str]:
    """Return notes on the standard deviations, which depend on the number of seeds."""
    counts = sorted({len(table.of(variant)) for variant in table.meanings})
    most = counts[-1]
    seeds = str(most) if len(counts) == 1 else f"{counts[0]} to {most}"
    if most == 1:
        return ["One seed: the deviation over seeds is unknown."]
    from scipy.stats import chi2  # takes half a second to import

    low, high = (((most - 1) / chi2.ppf(p, most - 1)) ** 0.5 for p in (0.975, 0.025))
    return [
        f"± is the standard deviation (n − 1) over {seeds} seeds. It is a rough estimate: for "
        f"{most} scores the true one is between {low:.2f} and {high:.1f} times it (95 %). It "
        "measures the variation over seeds, not over test images, which are the same for all."
    ]


def fusion_csv(table: FusionTable) -> str:
    """Format one line per group and variant: mean and deviation of all metrics, and the costs."""
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
    """Format one line per group, variant and seed."""
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
    """Draw the S-measure: one panel per group, one point per seed, a bar at the mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

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
    axes.set_yticks(range(len(variants)), [name.replace("$", r"\$") for name in variants])
    axes.set_ylim(len(variants) - 0.5, -0.5)  # the order of the table, from the top
    figure.supxlabel("S-measure: one point per seed, the bar is the mean", fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)
