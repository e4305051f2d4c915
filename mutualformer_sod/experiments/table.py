"""Finished runs of a comparison and their means over the seeds, for the table."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from mutualformer_sod.experiments.image_scores import ImageScores
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.metrics.results import Scores

METRICS = ("s_measure", "max_f", "mean_f", "weighted_f", "max_e", "mean_e", "mae")
EXCHANGE = "exchange_ratio"


@dataclass(frozen=True)
class Trial:
    """Results of one variant and seed."""

    variant: str
    seed: int
    scores: dict[str, Scores]  # by group of test images; "images" is the number of images
    statistics: dict[str, float] = field(default_factory=dict)  # of the fusion at the last epoch
    seconds: float = 0.0  # of training
    commits: tuple[str, ...] = ()  # of the training code
    remarks: tuple[str, ...] = ()  # on the maps of the run, with the names of images


@dataclass(frozen=True)
class Summary:
    """Scores of a variant on a group of test images, over its seeds."""

    group: str
    variant: str
    seeds: tuple[int, ...]
    images: int
    mean: Scores  # over the seeds
    std: Scores  # sample standard deviation (n - 1); empty for a single seed


@dataclass(frozen=True)
class FusionTable:
    """Content of the table of a comparison."""

    trials: Sequence[Trial]
    meanings: dict[str, str]  # variant -> description, in the order of the rows
    costs: dict[str, dict[str, float]]  # by variant and `report.COSTS`; may be missing or None
    notes: Sequence[str]  # lines below the table
    images: ImageScores

    @property
    def groups(self) -> list[str]:
        """Return the groups of test images, in order of appearance."""
        return list(dict.fromkeys(group for trial in self.trials for group in trial.scores))

    @property
    def metrics(self) -> list[str]:
        """Return the metrics of the first variant in the first group."""
        return list(self.summary(self.groups[0], next(iter(self.meanings))).mean)

    @property
    def shown(self) -> list[str]:
        """Return the metrics of the printed tables."""
        return [name for name in METRICS if name in self.metrics]

    def exchange_ratios(self, variant: str) -> list[float]:
        """Return the exchange ratios at the last epoch, by seed; empty for most fusions."""
        return [t.statistics[EXCHANGE] for t in self.of(variant) if EXCHANGE in t.statistics]

    def of(self, variant: str) -> list[Trial]:
        """Return the trials of a variant."""
        return [trial for trial in self.trials if trial.variant == variant]

    def summary(self, group: str, variant: str) -> Summary:
        """Return mean and standard deviation over the seeds of a variant on a group of images."""
        trials = self.of(variant)
        scores = [trial.scores[group] for trial in trials]
        names = [name for name in COLUMNS if all(name in one for one in scores)]
        mean = {name: statistics.fmean(one[name] for one in scores) for name in names}
        std = {}
        if len(scores) > 1:
            std = {name: statistics.stdev(one[name] for one in scores) for name in names}
        seeds = tuple(trial.seed for trial in trials)
        return Summary(group, variant, seeds, int(scores[0]["images"]), mean, std)
