"""Metrics from rates of the confusion matrix, for a binary map, a curve or a pooled set."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from mutualformer_sod.metrics import confusion
from mutualformer_sod.metrics.confusion import Confusion, Rate, adaptive_rate, binary_rate
from mutualformer_sod.metrics.pair import Counts, MapPair
from mutualformer_sod.metrics.registry import Metric, hidden_metric

# name -> (rate, title, larger is better)
RATES: dict[str, tuple[Rate, str, bool]] = {
    "precision": (confusion.precision, "P", True),
    "recall": (confusion.recall, "R", True),
    "f": (confusion.f_rate, "F", True),
    "iou": (confusion.iou, "IoU", True),
    "dice": (confusion.dice, "Dice", True),
    "specificity": (confusion.specificity, "Spec", True),
    "fpr": (confusion.fpr, "FPR", False),
    "accuracy": (confusion.accuracy, "Acc", True),
    "kappa": (confusion.kappa, "Kappa", True),
    "ber": (confusion.ber, "BER", False),
}
# The registry already has these rates with the same definition.
_KNOWN_BINARY = ("iou", "dice", "ber")
_KNOWN_ADAPTIVE = ("precision", "recall", "f")
_KNOWN_CURVES = _KNOWN_ADAPTIVE
# The other rates can have their maximum at a trivial threshold.
_BOTH_SUMMARIES = ("iou", "dice", "accuracy", "kappa")


def rate_curve(counts: Counts, rate: Rate) -> np.ndarray:
    """Return a rate at the thresholds 255..0, (256,) float64."""
    return rate(Confusion.of(counts))


def mean_of_curve(means: Mapping[str, np.ndarray | float], name: str) -> float:
    """Return the mean of a set's curve over the thresholds."""
    return float(np.mean(means[name]))


def binary_count(pair: MapPair, name: str) -> float:
    """Return one count of the map binarised at p > 0.5, in pixels."""
    return float(getattr(Confusion.of(pair.half), name))


def pooled_rate(means: Mapping[str, np.ndarray | float], rate: Rate) -> float:
    """Return a rate of the summed counts of a set, so that large images weigh more.

    The mean counts serve as the sums, because no rate depends on the scale of the counts.
    """
    return float(rate(Confusion(*(means[f"{name}_pixels"] for name in Confusion._fields))))


def _metrics() -> tuple[Metric, ...]:
    found = []
    for name, (rate, title, larger) in RATES.items():
        text = rf"\mathrm{{{title}}}"
        if name not in _KNOWN_BINARY:
            is_curve = name in _KNOWN_CURVES
            key, label = (f"binary_{name}", f"{title}@.5") if is_curve else (name, title)
            entry = key, label, text + r"^{\mathrm{.5}}", partial(binary_rate, rate=rate)
            found.append(hidden_metric(*entry, "mean", larger))
        if name not in _KNOWN_ADAPTIVE:
            entry = f"adaptive_{name}", f"adp{title}", text + r"^{\mathrm{adp}}"
            found.append(hidden_metric(*entry, partial(adaptive_rate, rate=rate), "mean", larger))
        if name in _KNOWN_CURVES[:2]:
            mean = partial(mean_of_curve, name=name)
            found.append(hidden_metric(f"mean_{name}", f"mean{title}", text, mean, "set"))
        elif name not in _KNOWN_CURVES:
            summary = ("max", "mean") if name in _BOTH_SUMMARIES else ("mean",)
            entry = f"{name}_curve", title, text, partial(rate_curve, rate=rate), "curve", larger
            found.append(hidden_metric(*entry, summary=summary, score=name))
    for name in Confusion._fields:
        count, title = partial(binary_count, name=name), name.upper()
        entry = f"{name}_pixels", title, rf"\mathrm{{{title}}}", count
        found.append(hidden_metric(*entry, "mean", larger_is_better=name.startswith("t")))
    for name, (rate, title, larger) in RATES.items():
        entry = f"pooled_{name}", f"{title}(all)", rf"\mathrm{{{title}}}^{{\mathrm{{all}}}}"
        found.append(hidden_metric(*entry, partial(pooled_rate, rate=rate), "set", larger))
    return tuple(found)


METRICS = _metrics()
