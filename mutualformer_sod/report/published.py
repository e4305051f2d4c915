"""Rows that a paper reports, to stand beside measured ones, visibly marked as quoted."""

from __future__ import annotations

from collections.abc import Sequence

from mutualformer_sod.report.tables import Row

SOURCE = "quoted from the MutualFormer paper (IJCV 2024), not measured here"
_MEASURES = ("s_measure", "max_f", "max_e", "mae")
_OWN = "MutualFormer"
_REPORTED: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "NJU2K": {
        _OWN: (0.922, 0.923, 0.954, 0.032),
        "TriTransNet": (0.920, 0.926, 0.955, 0.030),
        "DCF": (0.903, 0.905, 0.943, 0.038),
    },
    "NLPR": {
        _OWN: (0.932, 0.925, 0.965, 0.021),
        "TriTransNet": (0.928, 0.924, 0.966, 0.020),
        "DCF": (0.922, 0.910, 0.957, 0.024),
    },
    "DUT-RGBD": {
        _OWN: (0.936, 0.946, 0.966, 0.024),
        "TriTransNet": (0.934, 0.946, 0.966, 0.025),
        "DCF": (0.924, 0.932, 0.957, 0.030),
    },
    "SIP": {
        _OWN: (0.894, 0.902, 0.932, 0.043),
        "TriTransNet": (0.886, 0.899, 0.930, 0.043),
        "DCF": (0.873, 0.886, 0.922, 0.052),
    },
    "STERE": {
        _OWN: (0.908, 0.908, 0.947, 0.038),
        "TriTransNet": (0.905, 0.909, 0.950, 0.036),
        "DCF": (0.908, 0.909, 0.949, 0.037),
    },
    "LFSD": {
        _OWN: (0.872, 0.879, 0.911, 0.062),
        "TriTransNet": (0.866, 0.870, 0.905, 0.066),
        "DCF": (0.856, 0.860, 0.903, 0.071),
    },
}


def with_published(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with, after each set that the paper reports, its rows and the differences.

    A difference is measured minus quoted MutualFormer, at the precision of the quotation.
    """
    sets = list(dict.fromkeys(row.set_name for row in rows))
    extended: list[Row] = []
    for set_name in sets:
        measured = [row for row in rows if row.set_name == set_name]
        extended += measured
        reported = _REPORTED.get(set_name.rsplit("/", 1)[-1])
        if reported is None:
            continue
        for method, values in reported.items():
            scores = dict(zip(_MEASURES, values, strict=True))
            extended.append(Row(set_name, f"{method}†", scores, 0, (f"† {SOURCE}",), "quoted"))
        extended += [_difference(row, reported[_OWN]) for row in measured if row.scores]
    return extended


def _difference(row: Row, quoted: Sequence[float]) -> Row:
    scores = {
        name: row.scores[name] - value
        for name, value in zip(_MEASURES, quoted, strict=True)
        if name in row.scores
    }
    return Row(row.set_name, f"{row.method} − {_OWN}†", scores, 0, (), "difference")
