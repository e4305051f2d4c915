"""Metrics beyond the default table, computed with ``--columns NAME`` or ``--metrics all``.

Example::

    with enabled(["hce", "max_boundary_iou"]):
        results = evaluate("SIP/GT", "maps")
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

from mutualformer_sod.metrics import (
    boundary,
    context,
    correction_effort,
    multiscale_iou,
    rates,
    size_invariance,
)
from mutualformer_sod.metrics.registry import METRICS, Metric, register, unregister

# A requested metric is computed with its family, whose metrics share most of the work.
FAMILIES: tuple[tuple[Metric, ...], ...] = (
    rates.METRICS,
    boundary.METRICS,
    correction_effort.METRICS,
    multiscale_iou.METRICS,
    multiscale_iou.CURVES,
    size_invariance.METRICS,
    context.METRICS,
    context.ON_COLOURS,
)


def extra_columns(with_rgb: bool = True) -> tuple[str, ...]:
    """Return the names of the extra scores, including scores that read colours if ``with_rgb``."""
    metrics = chain.from_iterable(FAMILIES)
    return tuple(n for m in metrics if with_rgb or not m.needs_rgb for n in m.columns)


@contextmanager
def enabled(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Register the extra metrics of the named scores in a `with` block, with their families.

    The context yields the names of all added scores. A name that belongs to no extra metric is
    ignored.
    """
    wanted, added = set(names), []
    families = [f for f in FAMILIES if wanted & {n for metric in f for n in metric.columns}]
    try:
        for metric in chain.from_iterable(families):
            if METRICS.get(metric.name) is not metric:
                register(metric)
                added.append(metric)
        yield tuple(name for metric in added for name in metric.columns)
    finally:
        for metric in reversed(added):
            unregister(metric.name)
