"""Metrics from rates of the confusion matrix, for a binary map, a curve or a pooled set."""

from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace

import numpy as np

from mutualformer_sod.metrics import confusion
from mutualformer_sod.metrics.confusion import Rate, adaptive_rate, binary_rate
from mutualformer_sod.metrics.f_measure import f_measure
from mutualformer_sod.metrics.pair import MapPair
from mutualformer_sod.metrics.registry import Metric, hidden_metric

# name -> (rate, title, larger is better)
RATES: dict[str, tuple[Rate, str, bool]] = {
    "precision": (confusion.precision, "P", True),
    "recall": (confusion.recall, "R", True),
    "f": (f_measure, "F", True),
    "iou": (confusion.iou, "IoU", True),
    "dice": (confusion.dice, "Dice", True),
    "specificity": (confusion.specificity, "Spec", True),
    "fpr": (confusion.fpr, "FPR", False),
    "accuracy": (confusion.accuracy, "Acc", True),
    "kappa": (confusion.kappa, "Kappa", True),
    "ber": (confusion.ber, "BER", False),
}
_COUNTS = ("true_positive", "false_positive", "true_negative", "false_negative")
# The registry already has these rates: at p > 0.5; at the adaptive threshold and as curves.
_KNOWN_BINARY = ("iou", "dice", "ber")
_KNOWN = ("precision", "recall", "f")
# The other rates can have their maximum at a trivial threshold.
_BOTH_SUMMARIES = ("iou", "dice", "accuracy", "kappa")


def mean_of_curve(means: Mapping[str, np.ndarray | float], name: str) -> float:
    """Return the mean of a set's curve over the thresholds."""
    return float(np.mean(means[name]))


def binary_count(pair: MapPair, name: str) -> float:
    """Return one count of the map binarised at p > 0.5, in pixels."""
    return float(getattr(pair.half, name))


def pooled_rate(means: Mapping[str, np.ndarray | float], rate: Rate) -> float:
    """Return a rate of the summed counts of a set, so that large images weigh more.

    The mean counts serve as the sums, because no rate depends on the scale of the counts.
    """
    tp, fp, tn, fn = (means[f"{name}_pixels"] for name in ("tp", "fp", "tn", "fn"))
    counts = dict(zip(_COUNTS, (tp, fp, tn, fn), strict=True))
    return float(rate(SimpleNamespace(**counts, pixels=tp + fp + tn + fn)))


def _metrics() -> tuple[Metric, ...]:
    found = []
    for name, (rate, title, larger) in RATES.items():
        text = rf"\mathrm{{{title}}}"
        known = name in _KNOWN
        if name not in _KNOWN_BINARY:
            key, label = (f"binary_{name}", f"{title}@.5") if known else (name, title)
            entry = key, label, text + r"^{\mathrm{.5}}", partial(binary_rate, rate=rate)
            found.append(hidden_metric(*entry, "mean", larger))
        if not known:
            entry = f"adaptive_{name}", f"adp{title}", text + r"^{\mathrm{adp}}"
            found.append(hidden_metric(*entry, partial(adaptive_rate, rate=rate), "mean", larger))
            summary = ("max", "mean") if name in _BOTH_SUMMARIES else ("mean",)
            entry = f"{name}_curve", title, text, rate, "curve", larger
            found.append(hidden_metric(*entry, summary=summary, score=name))
        elif name != "f":
            mean = partial(mean_of_curve, name=name)
            found.append(hidden_metric(f"mean_{name}", f"mean{title}", text, mean, "set"))
    for name, title in zip(_COUNTS, ("TP", "FP", "TN", "FN"), strict=True):
        entry = f"{title.lower()}_pixels", title, rf"\mathrm{{{title}}}"
        count, larger = partial(binary_count, name=name), name.startswith("true")
        found.append(hidden_metric(*entry, count, "mean", larger))
    for name, (rate, title, larger) in RATES.items():
        entry = f"pooled_{name}", f"{title}(all)", rf"\mathrm{{{title}}}^{{\mathrm{{all}}}}"
        found.append(hidden_metric(*entry, partial(pooled_rate, rate=rate), "set", larger))
    return tuple(found)


METRICS = _metrics()
