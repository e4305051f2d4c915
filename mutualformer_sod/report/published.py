"""Scores that the paper reports, as rows beside the measured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mutualformer_sod.metrics.results import Row

SOURCE = "quoted from the MutualFormer paper (IJCV 2024), not measured here"
_OWN = "MutualFormer"
_TABLE = """
set      method       s_measure max_f max_e mae
NJU2K    MutualFormer .922      .923  .954  .032
NJU2K    TriTransNet  .920      .926  .955  .030
NJU2K    DCF          .903      .905  .943  .038
NLPR     MutualFormer .932      .925  .965  .021
NLPR     TriTransNet  .928      .924  .966  .020
NLPR     DCF          .922      .910  .957  .024
DUT-RGBD MutualFormer .936      .946  .966  .024
DUT-RGBD TriTransNet  .934      .946  .966  .025
DUT-RGBD DCF          .924      .932  .957  .030
SIP      MutualFormer .894      .902  .932  .043
SIP      TriTransNet  .886      .899  .930  .043
SIP      DCF          .873      .886  .922  .052
STERE    MutualFormer .908      .908  .947  .038
STERE    TriTransNet  .905      .909  .950  .036
STERE    DCF          .908      .909  .949  .037
LFSD     MutualFormer .872      .879  .911  .062
LFSD     TriTransNet  .866      .870  .905  .066
LFSD     DCF          .856      .860  .903  .071
"""


def _parse(table: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return set -> method -> metric -> value."""
    head, *lines = (line.split() for line in table.strip().splitlines())
    reported: dict[str, dict[str, dict[str, float]]] = {}
    for set_name, method, *values in lines:
        scores = dict(zip(head[2:], map(float, values), strict=True))
        reported.setdefault(set_name, {})[method] = scores
    return reported


_REPORTED = _parse(_TABLE)


def with_published(rows: Sequence[Row]) -> list[Row]:
    """Add the paper's rows and the differences after each set that the paper reports.

    A difference is the measured score minus the quoted score of MutualFormer.
    """
    extended: list[Row] = []
    for set_name in dict.fromkeys(row.set_name for row in rows):
        measured = [row for row in rows if row.set_name == set_name]
        extended += measured
        reported = _REPORTED.get(set_name.rsplit("/", 1)[-1])
        if reported is None:
            continue
        for method, scores in reported.items():
            extended.append(Row(set_name, f"{method}†", scores, 0, (f"† {SOURCE}",), "quoted"))
        extended += [_difference(row, reported[_OWN]) for row in measured if row.scores]
    return extended


def _difference(row: Row, quoted: Mapping[str, float]) -> Row:
    scores = {n: row.scores[n] - value for n, value in quoted.items() if n in row.scores}
    return Row(row.set_name, f"{row.method} − {_OWN}†", scores, 0, (), "difference")
