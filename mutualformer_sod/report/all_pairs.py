"""Significance of the differences between all methods of an evaluation, by set and metric."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mutualformer_sod.errors import InputError, counted, name_list
from mutualformer_sod.metrics.per_image import CommonScores
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.report import hypothesis_tests
from mutualformer_sod.report.hypothesis_tests import ALPHA, Friedman, PairedBootstrap

SEED = 0
LEAST_DRAWS, MOST_DRAWS = 10_000, 1_000_000
_DRAWS_PER_PAIR = 100  # the smallest p-value after Holm's correction is then .02
_FEW_IMAGES = 30  # with fewer images, the bootstrap rejects too often
_NUMBERS = 2**25  # resampled means at a time, to bound the memory


@dataclass(frozen=True)
class Comparison:
    """Comparison of k methods by one metric, on one set or over all sets.

    Attributes:
        set_name: name of the set, or "mean of N sets".
        sets: number of sets; if more than 1, the blocks of `ranks` are the sets, else the images.
        images: number of images that all methods have.
        means: (k,) means over the images of a set, or averages of the means of several sets.
        critical_difference: critical difference of the average ranks (Nemenyi).
        groups: indices of the methods of each group without a significant difference of ranks, best
            first. If Friedman's test is not significant, all methods are one group.
    """

    set_name: str
    metric: str
    sets: int
    methods: tuple[str, ...]
    images: int
    means: np.ndarray
    ranks: Friedman
    critical_difference: float
    groups: list[list[int]]
    pairs: PairedBootstrap

    @property
    def significant(self) -> np.ndarray:
        """Whether each pair differs at the level .05 after Holm's correction, (T,) bool."""
        return self.pairs.p_holm < ALPHA

    def better_and_worse(self) -> tuple[list[int], list[int]]:
        """Return for each method the numbers of significantly worse and better methods."""
        sign = 1 if COLUMNS[self.metric].larger_is_better else -1
        first_wins = sign * self.pairs.mean > 0
        first, second = self.pairs.pairs[self.significant].T
        wins = first_wins[self.significant]
        number = len(self.methods)
        better = np.bincount(np.where(wins, first, second), minlength=number)
        worse = np.bincount(np.where(wins, second, first), minlength=number)
        return better.tolist(), worse.tolist()


@dataclass
class AllPairs:
    """The comparisons of an evaluation.

    Attributes:
        comparisons: comparisons set by set, then over all sets, with the metrics in the order of
            the table.
        draws: number of bootstrap resamples.
        notes: remarks on sets and methods that could not be compared, and on weak tests.
    """

    comparisons: list[Comparison]
    draws: int
    notes: list[str] = field(default_factory=list)

    def by_set(self) -> dict[str, list[Comparison]]:
        """Return the comparisons of each set."""
        found: dict[str, list[Comparison]] = {}
        for item in self.comparisons:
            found.setdefault(item.set_name, []).append(item)
        return found


def metrics_per_image(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns with a value for each image, or raise InputError without such a column."""
    chosen = tuple(name for name in columns if COLUMNS[name].per_image)
    if not chosen:
        raise InputError(
            f"`columns` {' '.join(columns)}: single images do not have these scores, so the "
            "significance is unknown. Fix: add a column such as s_measure or mae."
        )
    return chosen


def default_draws(methods: int) -> int:
    """Return the default number of resamples; more pairs need more, due to Holm's correction."""
    return min(MOST_DRAWS, max(LEAST_DRAWS, _DRAWS_PER_PAIR * methods * (methods - 1) // 2))


def compare_all(
    tables: Mapping[str, CommonScores],
    metrics: Sequence[str],
    draws: int | None = None,
    each: Callable[[], None] = lambda: None,
) -> AllPairs:
    """Compare all methods on every set, and over all sets.

    Args:
        tables: set -> scores on the images for which all methods of the set have scores.
        draws: number of resamples; None uses `default_draws`.
        each: function that is called after each comparison.
    """
    usable = {name: t for name, t in tables.items() if len(t.methods) > 1 and t.images}
    most = max((len(table.methods) for table in usable.values()), default=2)
    found = AllPairs([], draws or default_draws(most))
    compared = [(name, [table]) for name, table in usable.items()]
    if len(usable) > 1:
        title = f"mean of {len(usable)} sets"
        parts, found.notes = _shared_methods(title, list(usable.values()))
        if parts:
            compared.append((title, parts))
    for name, parts in compared:
        for item in _compare(name, parts, metrics, found.draws):
            found.comparisons.append(item)
            each()
    for name, table in tables.items():
        found.notes += _remarks(name, table, found.draws)
    return found


def _shared_methods(
    title: str, tables: Sequence[CommonScores]
) -> tuple[list[CommonScores], list[str]]:
    """Return the tables of the methods on every set, or [] if fewer than two, and notes."""
    all_methods = dict.fromkeys(name for table in tables for name in table.methods)
    shared = [name for name in all_methods if all(name in table.methods for table in tables)]
    absent = [name for name in all_methods if name not in shared]
    notes = [f"{title}: without {name_list(absent)}, not scored on every set"] if absent else []
    if len(shared) < 2:
        return [], [*notes, f"{title}: not compared: no two methods are scored on every set"]
    return [table.of(shared) for table in tables], notes


def _compare(
    title: str, tables: Sequence[CommonScores], metrics: Sequence[str], draws: int
) -> Iterator[Comparison]:
    """Yield a comparison for each metric, with images (one table) or sets (several) as blocks."""
    methods = tables[0].methods
    images = sum(table.images for table in tables)
    freedom = images - len(tables)
    step = max(1, _NUMBERS // (draws * len(methods)))
    for start in range(0, len(metrics), step):
        part = metrics[start : start + step]
        groups = [np.stack([t.scores[name] for name in part], axis=2) for t in tables]
        means = hypothesis_tests.mean_of_groups(groups)
        resampled = hypothesis_tests.bootstrap_means(groups, draws, SEED)
        for i, name in enumerate(part):
            blocks = [group[:, :, i] for group in groups]
            scores = blocks[0] if len(blocks) == 1 else np.array([b.mean(axis=0) for b in blocks])
            test = hypothesis_tests.friedman(scores, COLUMNS[name].larger_is_better)
            limit = hypothesis_tests.nemenyi_cd(len(methods), test.blocks)
            reach = limit if test.p < ALPHA else np.inf
            indistinct = hypothesis_tests.indistinct_groups(test.ranks, reach)
            pairs = hypothesis_tests.compare_pairs(means[:, i], resampled[:, :, i], freedom)
            compared = title, name, len(tables), methods, images, means[:, i]
            yield Comparison(*compared, test, limit, indistinct, pairs)


def _remarks(name: str, table: CommonScores, draws: int) -> Iterator[str]:
    """Yield remarks on a set whose comparison is missing, partial or statistically weak."""
    methods, images = len(table.methods), table.images
    if methods < 2:
        yield f"{name}: not compared: fewer than two methods have scores"
        return
    if not images:
        yield f"{name}: not compared: no image has scores of all methods"
        return
    if images < table.total:
        left_out = counted(table.total - images, "image")
        yield f"{name}: {left_out} not compared: some method has no map"
    if images < _FEW_IMAGES:
        yield f"{name}: fewer than {_FEW_IMAGES} images: p of the bootstrap is not reliable"
    pairs = methods * (methods - 1) // 2
    if 2 * pairs / (draws + 1) >= ALPHA:
        yield (
            f"{name}: {draws} draws are too few for {pairs} pairs: no pair can be significant."
            f" Fix: pass --draws {default_draws(methods)}."
        )
