"""Decide the depth encoding of a set: its polarity and its units.

The sets of the field differ in the polarity of depth, and so do copies of one set. The polarity is
decided once for a set, from all its depth maps:

1. ``--near`` is used as given;
2. otherwise the evidence of the maps (`evidence.polarity`) is combined with the units: small is
   near in millimetres and metres, which counts as much as `TYPE_WEIGHT` of evidence.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mutualformer_sod.data.depth.encoding import (
    WEAK_MARGIN,
    DepthEncoding,
    DepthRule,
    depth_to_unit,
    without_flat,
)
from mutualformer_sod.data.depth.evidence import polarity, weigh
from mutualformer_sod.data.depth.holes import METRIC_INVALID
from mutualformer_sod.data.depth.kind import DepthSample, DepthUnits, decide_units
from mutualformer_sod.data.depth.near_option import chosen_sides, parse_near
from mutualformer_sod.data.depth.notes import CONSTANT, depth_notes, doubt_of
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_depth

__all__ = [
    "SAMPLE_SIDE",
    "TYPE_WEIGHT",
    "WEAK_MARGIN",
    "DepthEncoding",
    "DepthRule",
    "chosen_sides",
    "decide_encoding",
    "depth_to_unit",
    "encoding_of",
    "encodings_by_name",
    "parse_near",
    "polarity",
    "thermal_encoding",
    "with_encodings",
    "without_flat",
]

SAMPLE_SIDE = 96
"""Pixels of the longer side of a sampled map; the evidence is of large scale."""

TYPE_WEIGHT = 2.0
"""Evidence, summed over the maps, that outweighs contradicting units of distance.

Measured on 4000 random subsets of 3, 5, 10 and 20 of the 700 maps of NLPR, in millimetres: .03 %,
0, 0 and 0 reach it for the wrong polarity. 5 disparity maps of NJU2K or DES always reach it
(docs/data.md).
"""

_BAR_FROM = 200  # maps in a set from which on a progress bar is shown
_ASK = "--near {}"

_log = logging.getLogger(__name__)


def with_encodings(
    sets: Iterable[SodSet], near: Sequence[str] = (), *, quiet: bool = False
) -> list[SodSet]:
    """Decide once for each set how it stores depth, and keep the decision in the set.

    Thermal images (`SodSet.thermal`) have no polarity and are never inverted. Doubtful depth maps
    (`depth_notes`) are logged.

    Args:
        sets: as found by `sets.discover_sets`.
        near: values of ``--near``, see `parse_near`.
        quiet: see `encoding_of`.

    Returns:
        The sets in their order, each with its ``encoding``; None stays where there is no depth.

    Raises:
        InputError: an illegal value of ``near``, an unknown set or a set of thermal images in it;
            unreadable depth maps, or maps of different types; maps that contradict their units
            (see `TYPE_WEIGHT`); a weak decision or any contradiction with "strict".
    """
    sets = list(sets)
    sides, strict = chosen_sides([s.name for s in sets], near)
    thermal = [s.name for s in sets if s.thermal]
    if asked := [name for name in thermal if sides[name] != "auto"]:
        raise InputError(
            f"--near {sides[asked[0]]}: {asked[0]} holds thermal images, which have no polarity."
            f" Fix: name the sets with depth, as in --near SET={sides[asked[0]]}"
        )
    decided = []
    for sod_set in sets:
        encoding = None
        if sod_set.has_depth:
            name = sod_set.name
            samples = _read_samples([t.depth for t in sod_set.samples], name, sod_set.thermal)
            if sod_set.thermal:
                encoding = thermal_encoding(samples)
            else:
                encoding = encoding_of(samples, sides[name], name, strict=strict, quiet=quiet)
            for note in () if quiet else depth_notes(sod_set.samples, samples, encoding):
                _log.warning("%s: %s", name, note)
        decided.append(replace(sod_set, encoding=encoding))
    return decided


def encodings_by_name(sets: Iterable[SodSet]) -> dict[str, DepthEncoding]:
    """Return the encodings of the sets with depth, for the screen and the record of a run."""
    return {item.name: item.encoding for item in sets if item.encoding is not None}


def decide_encoding(
    depth_paths: Sequence[Path | str],
    near: str = "auto",
    name: str = "",
    *,
    strict: bool = False,
) -> DepthEncoding:
    """Decide how one set stores depth, from all its depth maps alone.

    A weak decision is logged as a warning, and so are maps that outweigh their units.

    Args:
        depth_paths: every depth map of the set.
        near: "auto", "white" or "black"; the latter two are used as given.
        name: of the set, for messages only.
        strict: refuse a weak decision, and maps that contradict their units.

    Raises:
        InputError: unreadable files, files of different types, or as `encoding_of`.
    """
    return encoding_of(_read_samples(depth_paths, name), near, name, strict=strict)


def encoding_of(
    samples: Sequence[DepthSample],
    near: str = "auto",
    name: str = "",
    *,
    strict: bool = False,
    quiet: bool = False,
    ask: str = _ASK,
) -> DepthEncoding:
    """Decide as `decide_encoding` does, from samples of every depth map of the set (one dtype).

    Args:
        samples: of its maps.
        near: "auto", "white" or "black".
        name: of the set, for messages only.
        strict: refuse a weak decision, and maps that contradict their units.
        quiet: log nothing; where units and maps contradict each other and neither prevails, the
            units are used and the decision is_contradicted.
        ask: argument or flag that gives the polarity, with {} in its place; for messages only.

    Raises:
        InputError: a weak decision or a contradiction if ``strict``; a contradiction where neither
            prevails, unless ``quiet``.
    """
    units = decide_units(samples)
    label = name or "depth"
    white, black = (ask.format(f"{name}={side}" if name else side) for side in ("white", "black"))
    if near != "auto":
        return _encoding(samples, units, near, None, f"{units.reason}; as given by --near")
    evidence = weigh(samples, units.metric, units.hole_code)
    seen = "white" if evidence.mean > 0 else "black"
    if units.metric and seen == "white" and evidence.margin >= WEAK_MARGIN:
        problem = (
            f"{units.reason} by the type of the maps, so small would be near, but they look as if"
            f" large were ({evidence.describe()}, margin {evidence.margin:.2f})"
        )
        choice = f"{black} if these are distances, {white} if disparity or inverse depth"
        prevails = evidence.margin * len(evidence.scores) >= TYPE_WEIGHT
        if strict or not (prevails or quiet):
            raise InputError(f"{label}: {problem}. Fix: look at some maps and give {choice}")
        if prevails:
            if not quiet:
                _log.warning(
                    "%s: %s: taken so; give %s if they are distances", label, problem, black
                )
            return _encoding(samples, units, "white", evidence.margin, f"no distances: {problem}")
    if units.metric:
        sign = -1 if seen == "white" else 1
        reason = f"{units.reason}: small is near; {evidence.describe()}"
        return _encoding(samples, units, "black", sign * evidence.margin, reason)
    reason = f"{units.reason}; {evidence.describe()}"
    encoding = _encoding(samples, units, seen, evidence.margin, reason)
    if encoding.is_weak:
        remedy = f"look at some maps and give {white} or {'=black' if name else black}"
        if strict:
            raise InputError(f"{label}: {encoding.describe()}. Fix: {remedy}")
        if not (quiet or encoding.is_empty):
            _log.warning("%s: weak evidence, %s; %s", label, encoding.describe(), remedy)
    return encoding


def thermal_encoding(samples: Sequence[DepthSample]) -> DepthEncoding:
    """Return the encoding of a set of thermal images: brightness as stored."""
    if samples[0].pixels.dtype == np.uint8:
        low, high = 0.0, 255.0
    else:
        low = min(sample.least for sample in samples)
        high = max(sample.largest for sample in samples)
    holes = float(np.mean([sample.holes for sample in samples]))
    reason = "brightness as stored, no near or far"
    encoding = DepthEncoding("thermal", "none", None, reason, low, high, holes)
    return _with_emptiness(encoding, samples)


def _encoding(
    samples: Sequence[DepthSample],
    units: DepthUnits,
    side: str,
    margin: float | None,
    reason: str,
) -> DepthEncoding:
    """Return the encoding of maps of known polarity; maps with large = near are no distances."""
    metric = units.metric and side == "black"
    low, high, code = units.low, units.high, units.hole_code
    if units.metric and not metric:
        low, high = 0.0, max(sample.largest for sample in samples)
        if code is None and samples[0].pixels.dtype == np.uint16:
            code = METRIC_INVALID  # outside the range of the values, which would be compressed
    holes = float(np.mean([s.holes_if_metric if metric else s.holes for s in samples]))
    if code is not None:
        holes += float(np.mean([np.mean(s.pixels == code) for s in samples]))
    kind = "metric" if metric else "map"
    encoding = DepthEncoding(kind, side, margin, reason, low, high, holes, code)
    return _with_emptiness(encoding, samples)


def _with_emptiness(encoding: DepthEncoding, samples: Sequence[DepthSample]) -> DepthEncoding:
    is_empty = all(doubt_of(sample, encoding) == CONSTANT for sample in samples)
    return replace(encoding, is_empty=is_empty)


def _read_samples(
    paths: Sequence[Path | str], name: str, thermal: bool = False
) -> list[DepthSample]:
    def read(path: Path | str) -> DepthSample:
        return DepthSample.of(read_depth(path, thermal), SAMPLE_SIDE)

    quiet = True if len(paths) < _BAR_FROM else None  # None: no bar without a terminal
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        reading = pool.map(read, paths)
        bar = tqdm(
            reading,
            f"{name} {'thermal' if thermal else 'depth'}",
            len(paths),
            leave=False,
            disable=quiet,
        )
        samples = list(bar)
    first = {sample.pixels.dtype: path for sample, path in zip(samples, paths, strict=True)}
    if len(first) != 1:
        listed = ", ".join(f"{path} ({dtype})" for dtype, path in first.items()) or "no file"
        raise InputError(f"{name or 'depth'}: maps of different types: {listed}. Fix: convert them")
    return samples
