"""Rates of the confusion matrix: of each image, over the thresholds, and pooled over a set.

Every rate is 0 where its denominator is 0, as in pysodmetrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from mutualformer_sod.metrics.f_measure import f_score
from mutualformer_sod.metrics.pair import Counts, MapPair
from mutualformer_sod.metrics.registry import Metric


class Confusion(NamedTuple):
    """Counts of pixels: true and false positives, true and false negatives, numbers or arrays."""

    tp: np.ndarray | float
    fp: np.ndarray | float
    tn: np.ndarray | float
    fn: np.ndarray | float

    @classmethod
    def of(cls, counts: Counts) -> Confusion:
        """Complete the counts of positives to the whole matrix."""
        tp, fp = counts.true_positive, counts.false_positive
        return cls(tp, fp, counts.pixels - counts.area - fp, counts.area - tp)


def divide(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    """Return part / whole as float64, and 0 where `whole` is 0."""
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.zeros(whole.shape), where=whole != 0)


def precision(c: Confusion) -> np.ndarray:
    """Return the ratio of marked pixels that are foreground."""
    return divide(c.tp, c.tp + c.fp)


def recall(c: Confusion) -> np.ndarray:
    """Return the ratio of foreground pixels that are marked; also sensitivity or TPR."""
    return divide(c.tp, c.tp + c.fn)


def specificity(c: Confusion) -> np.ndarray:
    """Return the ratio of background pixels that are not marked; also TNR."""
    return divide(c.tn, c.tn + c.fp)


def fpr(c: Confusion) -> np.ndarray:
    """Return the ratio of background pixels that are marked."""
    return divide(c.fp, c.tn + c.fp)


def accuracy(c: Confusion) -> np.ndarray:
    """Return the ratio of correct pixels (overall accuracy)."""
    return divide(c.tp + c.tn, c.tp + c.fp + c.tn + c.fn)


def kappa(c: Confusion) -> np.ndarray:
    """Return Cohen's kappa (Educational and Psychological Measurement, 1960), at most 1."""
    chance = (c.tp + c.fp) * (c.tp + c.fn) + (c.tn + c.fn) * (c.tn + c.tp)
    expected = divide(chance, (c.tp + c.fp + c.tn + c.fn) ** 2)
    return divide(accuracy(c) - expected, 1 - expected)


def iou(c: Confusion) -> np.ndarray:
    """Return intersection over union."""
    return divide(c.tp, c.tp + c.fp + c.fn)


def dice(c: Confusion) -> np.ndarray:
    """Return the Dice coefficient."""
    return divide(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def ber(c: Confusion) -> np.ndarray:
    """Return the balanced error rate 1 - (recall + specificity) / 2."""
    return 1 - 0.5 * (recall(c) + specificity(c))


def f_rate(c: Confusion) -> np.ndarray:
    """Return the F-measure with beta^2 = 0.3."""
    return f_score(precision(c), recall(c))


Rate = Callable[[Confusion], np.ndarray]
# name -> (rate, title, larger is better)
RATES: dict[str, tuple[Rate, str, bool]] = {
    "precision": (precision, "P", True),
    "recall": (recall, "R", True),
    "f": (f_rate, "F", True),
    "iou": (iou, "IoU", True),
    "dice": (dice, "Dice", True),
    "specificity": (specificity, "Spec", True),
    "fpr": (fpr, "FPR", False),
    "accuracy": (accuracy, "Acc", True),
    "kappa": (kappa, "Kappa", True),
    "ber": (ber, "BER", False),
}
_COUNTS = {"tp": "TP", "fp": "FP", "tn": "TN", "fn": "FN"}
# The registry has these under the same definition already.
_KNOWN_BINARY = ("iou", "dice", "ber")
_KNOWN_ADAPTIVE = ("precision", "recall", "f")
_KNOWN_CURVES = ("precision", "recall", "f")
_BOTH_SUMMARIES = ("iou", "dice", "accuracy", "kappa")  # others: a threshold has the best value


def binary_rate(pair: MapPair, rate: Rate) -> float:
    """Return a rate of the map binarised at p > 0.5."""
    return float(rate(Confusion.of(pair.half)))


def adaptive_rate(pair: MapPair, rate: Rate) -> float:
    """Return a rate of the map binarised at the adaptive threshold."""
    return float(rate(Confusion.of(pair.adaptive)))


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

    The mean counts serve as the sums, because every rate is a ratio.
    """
    return float(rate(Confusion(*(means[f"{name}_pixels"] for name in Confusion._fields))))


def _metrics() -> tuple[Metric, ...]:
    hidden = {"in_table": False, "in_gallery": False}
    found = []
    for name, (rate, title, larger) in RATES.items():
        text = rf"\mathrm{{{title}}}"
        for prefix, known, compute, label in (
            ("binary", _KNOWN_BINARY, binary_rate, f"{title}@.5"),
            ("adaptive", _KNOWN_ADAPTIVE, adaptive_rate, f"adp{title}"),
        ):
            if name not in known:
                score = name if prefix == "binary" and name not in _KNOWN_CURVES else ""
                latex = f"{text}^{{\\mathrm{{{'adp' if prefix == 'adaptive' else '.5'}}}}}"
                entry = (score or f"{prefix}_{name}", title if score else label, latex)
                found.append(Metric(*entry, partial(compute, rate=rate), "mean", larger, **hidden))
        if name in _KNOWN_CURVES[:2]:
            mean = partial(mean_of_curve, name=name)
            found.append(Metric(f"mean_{name}", f"mean{title}", text, mean, "set", **hidden))
        elif name not in _KNOWN_CURVES:
            summary = ("max", "mean") if name in _BOTH_SUMMARIES else ("mean",)
            shown = {"summary": summary, "score": name, **hidden}
            curve = partial(rate_curve, rate=rate)
            found.append(Metric(f"{name}_curve", title, text, curve, "curve", larger, **shown))
    for name, title in _COUNTS.items():
        count = partial(binary_count, name=name)
        larger = name.startswith("t")
        entry = (f"{name}_pixels", title, rf"\mathrm{{{title}}}", count)
        found.append(Metric(*entry, "mean", larger, **hidden))
    for name, (rate, title, larger) in RATES.items():
        latex = rf"\mathrm{{{title}}}^{{\mathrm{{all}}}}"
        entry = (f"pooled_{name}", f"{title}(all)", latex, partial(pooled_rate, rate=rate))
        found.append(Metric(*entry, "set", larger, **hidden))
    return tuple(found)


METRICS = _metrics()
