"""Add the scores that papers report, as rows beside the measured rows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.results import Row

# Method -> the source paper of the scores, the setting in this paper, and the scores by set.
_PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
PUBLISHED = tuple(_PUBLISHED)
# Methods in the MutualFormer paper; differences are computed from the first method.
DEFAULT_PUBLISHED = ("MutualFormer", "TriTransNet", "DCF")


def check_published(names: Sequence[str]) -> tuple[str, ...]:
    """Return the methods to quote ("all": every method); raise InputError for an unknown name."""
    if "all" in names:
        return PUBLISHED
    for name in names:
        if name not in PUBLISHED:
            raise InputError(
                f"`published` {name}: no scores are stored. Fix: pass all, or some of "
                f"{', '.join(PUBLISHED)}."
            )
    return tuple(names)


def with_published(rows: Sequence[Row], methods: Sequence[str] = DEFAULT_PUBLISHED) -> list[Row]:
    """Add the quoted rows and the difference rows of each set.

    A difference row has the scores of a measured row minus those of the first of ``methods``.

    The mark of a quoted row names the source paper, because papers report different scores for one
    method. The mark also states the setting in the source paper, such as the backbone.
    """
    extended: list[Row] = []
    for set_name in dict.fromkeys(row.set_name for row in rows):
        measured = [row for row in rows if row.set_name == set_name]
        extended += measured
        name = set_name.rsplit("/", 1)[-1]
        quoted = {m: _PUBLISHED[m] for m in methods if name in _PUBLISHED[m]["scores"]}
        for method, entry in quoted.items():
            source = f"{entry['read_in']} ({entry['setting']})"
            mark = f"† {method}: quoted from {source}, not measured here"
            scores = entry["scores"][name]
            extended.append(Row(set_name, f"{method}†", scores, 0, (mark,), "quoted"))
        if methods and methods[0] in quoted:
            first = quoted[methods[0]]["scores"][name]
            extended += [_difference(row, methods[0], first) for row in measured if row.scores]
    return extended


def _difference(row: Row, method: str, quoted: Mapping[str, float]) -> Row:
    scores = {n: row.scores[n] - value for n, value in quoted.items() if n in row.scores}
    return Row(row.set_name, f"{row.method} − {method}†", scores, 0, (), "difference")
