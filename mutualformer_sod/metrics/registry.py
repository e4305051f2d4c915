"""Registry of the metrics for tables, files, curves, gallery and comparison.

To add a metric, write a file with the function of the metric, and add an entry here or in
`extra.FAMILIES`. Other packages call `register`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from mutualformer_sod.metrics.confusion import ber, dice, iou, precision, recall
from mutualformer_sod.metrics.e_measure import e_measure
from mutualformer_sod.metrics.f_measure import f_measure, max_f_of_mean_pr
from mutualformer_sod.metrics.mae import mae
from mutualformer_sod.metrics.s_measure import s_measure
from mutualformer_sod.metrics.weighted_f import weighted_f


@dataclass(frozen=True)
class Column:
    """Heading and presentation of a score in tables.

    Attributes:
        title, latex: the heading in plain text, and in math mode.
        per_image: whether a single image has the score.
        in_table, in_gallery: whether the default table or the gallery shows the score.
    """

    title: str
    larger_is_better: bool
    latex: str
    per_image: bool = True
    in_table: bool = True
    in_gallery: bool = True

    @property
    def arrow(self) -> str:
        """Direction of better scores, "↑" or "↓"."""
        return "↑" if self.larger_is_better else "↓"


@dataclass(frozen=True)
class Metric:
    """An entry of the registry.

    Attributes:
        name: key of the scores in Python, JSON and CSV.
        label: heading of the column; for a curve, without the prefix "max" or "mean".
        latex: heading in math mode.
        compute: function of the metric, whose argument depends on the kind.
        kind: "mean": ``compute(MapPair) -> float``; a set has the mean over its images.
            "curve": ``compute(Counts) -> (256,) float64`` at the thresholds 255..0. The curves of
            the images of a set are averaged. The maximum and the mean over the thresholds are the
            scores max_<name> and mean_<name>.
            "map_curve": ``compute(MapPair) -> (T,) float64``, for any number T of thresholds. The
            result is treated like a curve, but not drawn.
            "set": ``compute({name: value}) -> float``, for a set only. The values are the scores of
            the set, and its mean curves, such as (256,) float64.
        in_table: whether the default table shows the metric. ``--columns`` can show any metric.
        in_gallery: whether the gallery shows the metric, or the maximum of a curve.
        summary: scores of a curve; empty for a curve that is only drawn.
        score: name of a curve in max_<score> and mean_<score>; "" uses ``name``.
        needs_rgb: whether the metric reads the colour image, `GroundTruth.rgb`.
    """

    name: str
    label: str
    latex: str
    compute: Callable[..., Any]
    kind: Literal["mean", "curve", "map_curve", "set"] = "mean"
    larger_is_better: bool = True
    in_table: bool = True
    in_gallery: bool = True
    summary: tuple[Literal["max", "mean"], ...] = ("max", "mean")
    score: str = ""
    needs_rgb: bool = False

    @property
    def columns(self) -> dict[str, Column]:
        """Columns of the scores of the metric, by the name of the score."""
        if self.kind not in ("curve", "map_curve"):
            per_image = self.kind == "mean"
            shown = per_image, self.in_table, per_image and self.in_gallery
            return {self.name: Column(self.label, self.larger_is_better, self.latex, *shown)}
        exponents = {"max": r"\max", "mean": r"\mathrm{mean}"}
        return {
            f"{part}_{self.score or self.name}": Column(
                f"{part}{self.label}",
                self.larger_is_better,
                f"{self.latex}^{{{exponents[part]}}}",
                in_table=self.in_table,
                in_gallery=self.in_gallery and part == "max",
            )
            for part in self.summary
        }


# A metric that tables and gallery show only on request.
hidden_metric = partial(Metric, in_table=False, in_gallery=False)

_PAPER_ORDER = (
    *("s_measure", "max_f", "mean_f", "adaptive_f", "weighted_f"),
    *("max_e", "mean_e", "adaptive_e", "mae", "max_f_of_mean_pr"),
)
METRICS: dict[str, Metric] = {}  # in the order of scores.json
COLUMNS: dict[str, Column] = dict.fromkeys(_PAPER_ORDER)  # in the order of tables; filled below


def register(metric: Metric) -> None:
    """Add a metric to the registry.

    Worker processes receive the metric, too, if the function can be pickled: a lambda and a nested
    function cannot be pickled. Delete the cache after a change of the function, because the cache
    has old scores of unchanged maps.

    Raises:
        ValueError: another metric or score already has the name.
    """
    taken = {*METRICS, *(name for name, column in COLUMNS.items() if column)}
    if taken & {metric.name, *metric.columns}:
        raise ValueError(
            f"metric {metric.name!r}: its name or the name of one of its columns is in use. "
            "Fix: choose another name."
        )
    METRICS[metric.name] = metric
    COLUMNS.update(metric.columns)


def unregister(name: str) -> None:
    """Remove a metric that was added with `register`."""
    for column in METRICS.pop(name).columns:
        del COLUMNS[column]


def of_kind(*kinds: str) -> list[Metric]:
    """Return the registered metrics of some kinds, kind by kind, in the order of scores.json."""
    return [metric for kind in kinds for metric in METRICS.values() if metric.kind == kind]


def needs_rgb() -> list[str]:
    """Return the names of the registered metrics that read the colour images."""
    return [metric.name for metric in METRICS.values() if metric.needs_rgb]


def per_image_columns() -> tuple[str, ...]:
    """Return the names of the scores that a single image has, in the order of tables."""
    return tuple(name for name, column in COLUMNS.items() if column.per_image)


def added_metrics() -> tuple[Metric, ...]:
    """Return the registered metrics that are not default metrics."""
    return tuple(metric for name, metric in METRICS.items() if name not in _BUILT_IN)


_F, _E = r"F_\beta", r"E_\phi"
_ADP = r"^{\mathrm{adp}}"
for _metric in (
    Metric("mae", "MAE", r"\mathrm{MAE}", mae, larger_is_better=False),
    Metric("s_measure", "S", r"S_\alpha", s_measure),
    Metric("adaptive_f", "adpF", _F + _ADP, lambda p: f_measure(p.adaptive)),
    Metric("weighted_f", "wF", _F + "^{w}", weighted_f, in_gallery=False),  # slow
    Metric("adaptive_e", "adpE", _E + _ADP, lambda p: e_measure(p.adaptive)),
    hidden_metric("adaptive_precision", "adpP", "P" + _ADP, lambda p: precision(p.adaptive)),
    hidden_metric("adaptive_recall", "adpR", "R" + _ADP, lambda p: recall(p.adaptive)),
    Metric("iou", "IoU", r"\mathrm{IoU}", lambda p: iou(p.half), in_table=False),
    hidden_metric("dice", "Dice", r"\mathrm{Dice}", lambda p: dice(p.half)),
    hidden_metric("ber", "BER", r"\mathrm{BER}", lambda p: ber(p.half), "mean", False),
    Metric("precision", "P", "P", precision, "curve", summary=()),
    Metric("recall", "R", "R", recall, "curve", summary=()),
    Metric("f", "F", _F, f_measure, "curve"),
    Metric("e", "E", _E, e_measure, "curve"),
    Metric("max_f_of_mean_pr", "maxF(PR)", _F + r"^{\max}(\bar P,\bar R)", max_f_of_mean_pr, "set"),
):
    register(_metric)
_BUILT_IN = frozenset(METRICS)
