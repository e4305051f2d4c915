"""Compare two methods by the per-image differences, with a bootstrap interval."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mutualformer_sod.errors import counted
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.metrics.results import format_score

RESAMPLES = 2000
_BATCH = 200  # resamples at a time, to bound the memory


@dataclass(frozen=True)
class Difference:
    """Difference, first minus second, of two methods in one metric on the common images of a set.

    Attributes:
        mean: mean of the per-image differences.
        low, high: bounds of the 95 % bootstrap interval of the mean.
        better, worse: numbers of images on which the first method is better, or worse.
    """

    metric: str
    images: int
    mean: float
    low: float
    high: float
    better: int
    worse: int

    @property
    def settled(self) -> bool:
        """Whether the interval of two or more images excludes zero."""
        return self.images > 1 and (self.low > 0 or self.high < 0)


def compare(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], seed: int = 0
) -> list[Difference]:
    """Compare two methods on one set, given metric -> (N,) scores in the same order of images.

    The interval is the percentile bootstrap over images (Efron 1979) with 2000 resamples. All
    metrics use the same resamples.

    Returns:
        One difference for each metric that both methods have, in the order of the table columns.
    """
    names = [name for name in COLUMNS if name in first and name in second]
    differences = np.stack([first[name] - second[name] for name in names])  # (M, N)
    number = differences.shape[1]
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(RESAMPLES // _BATCH):
        # Number of draws of each image: (batch, N).
        times = rng.multinomial(number, np.full(number, 1.0 / number), _BATCH)
        means.append(differences @ times.T / number)  # (M, batch)
    low, high = np.percentile(np.concatenate(means, axis=1), [2.5, 97.5], axis=1)
    found = []
    for name, row, *interval in zip(names, differences, low.tolist(), high.tolist(), strict=True):
        larger, smaller = int((row > 0).sum()), int((row < 0).sum())
        wins = (larger, smaller) if COLUMNS[name].larger_is_better else (smaller, larger)
        found.append(Difference(name, number, float(row.mean()), *interval, *wins))
    return found


def comparison_text(set_name: str, first: str, second: str, found: list[Difference]) -> str:
    """Return the comparison on one set as lines of text."""
    images = counted(found[0].images, "image")
    lines = [f"{set_name}: {first} − {second}, {images}, 95 % bootstrap interval"]
    for item in found:
        title = f"{COLUMNS[item.metric].title}{COLUMNS[item.metric].arrow}"
        values = (item.mean, item.low, item.high)
        mean, low, high = (format_score(value, 4, signed=True) for value in values)
        lines.append(
            f"  {title:9} {mean:>7} [{low:>7}, {high:>7}]  "
            f"better {item.better:4}  worse {item.worse:4}{'  *' if item.settled else ''}"
        )
    lines.append("  * the interval excludes zero; max and mean are of each image's own curve")
    return "\n".join(lines)
