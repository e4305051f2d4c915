"""What a set's depth maps mean: which values are near the camera, and depth as [0, 1], near = 1.

The sets of the field disagree about the sign of depth, and packs of one set do too. It is decided
once for a set, from all its depth maps and nothing else, before anything is computed from them:

1. what the user says (``--near``) wins;
2. metric depth (millimetres, metres): small is near;
3. other maps: evidence from the pictures themselves, see `depth_evidence.polarity`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from mutualformer_sod.config import DEPTH_RULES
from mutualformer_sod.data.depth_evidence import polarity, weigh
from mutualformer_sod.data.depth_kind import DepthSample, DepthUnits, tell_units
from mutualformer_sod.data.holes import fill_holes, find_holes
from mutualformer_sod.data.io import read_depth
from mutualformer_sod.data.layout import SodSet, canonical_name
from mutualformer_sod.errors import InputError

__all__ = [
    "SAMPLE_SIDE",
    "WEAK_MARGIN",
    "DepthEncoding",
    "DepthRule",
    "chosen_sides",
    "decide_encoding",
    "decide_encodings",
    "depth_to_unit",
    "encoding_of",
    "parse_near",
    "polarity",
    "without_flat",
]

Near = Literal["white", "black"]
DepthRule = Literal["minmax", "range", "percentile"]

WEAK_MARGIN = 0.2
"""Below this margin a decision is reported as weak, and ``--near strict`` stops.

Measured: 0.6 and more on every set whose sign is known, 0.02 and less on two of close-up views
from above (road surface, pipe wall), where depth hardly depends on the place in the image
(docs/data.md).
"""

SAMPLE_SIDE = 96
"""Pixels of the longer side of a map that are looked at: the evidence is of large scale."""

_SIDES = ("auto", "white", "black")
_PERCENTILES = (1.0, 99.0)
_BAR_FROM = 200  # maps in a set from which on a progress bar is worth it

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DepthEncoding:
    """How one set stores depth.

    Attributes:
        kind: "map" (relative, every value counts) or "metric" (0, NaN, infinity are holes).
        near: "white" if large values are near the camera, else "black".
        margin: how clear the decision is, 0 to about 1.5; 1 where no evidence was needed.
        reason: the evidence, in words.
        low: least value that is stored, for the rule "range".
        high: largest value that is stored.
        holes: share of pixels without a value.
    """

    kind: Literal["map", "metric"]
    near: Near
    margin: float
    reason: str
    low: float = 0.0
    high: float = 255.0
    holes: float = 0.0

    @property
    def is_weak(self) -> bool:
        """Whether the evidence is too thin to rely on without a look."""
        return self.margin < WEAK_MARGIN

    def describe(self) -> str:
        """The decision in one line, for the screen and the record of a run."""
        holes = f"; {self.holes:.1%} holes, filled" if self.holes else ""
        weak = "; WEAK, check it" if self.is_weak else ""
        return f"near = {self.near} (margin {self.margin:.2f}{weak}): {self.reason}{holes}"


def parse_near(items: Sequence[str]) -> tuple[str, dict[str, str], bool]:
    """Understand the values of ``--near``: auto, white, black, strict, SET=white, SET=black.

    Returns:
        What holds for sets that are not named ("auto", "white" or "black"), what holds for those
        that are, and whether a weak decision stops the run.

    Raises:
        InputError: anything else, or two values that contradict each other.
    """
    defaults: set[str] = set()
    by_set: dict[str, str] = {}
    for item in items:
        name, equals, value = item.rpartition("=")
        if (value not in _SIDES and item != "strict") or bool(name) != bool(equals):
            raise InputError(
                f"--near {item}: give auto, white, black, strict, SET=white or SET=black"
            )
        if not name:
            defaults.add(item)
        elif by_set.setdefault(name, value) != value:
            raise InputError(f"--near: {name} is given twice, {by_set[name]} and {value}")
    strict = "strict" in defaults
    sides = defaults - {"strict", "auto"} or {"auto"}
    if len(sides) > 1 or (strict and sides != {"auto"}):
        raise InputError(f"--near {' '.join(sorted(defaults))}: these contradict each other")
    return sides.pop(), by_set, strict


def decide_encodings(sets: Iterable[SodSet], near: Sequence[str] = ()) -> dict[str, DepthEncoding]:
    """Decide how each set stores depth; sets without depth are left out.

    Args:
        sets: as found by `layout.discover_sets`.
        near: values of ``--near``, see `parse_near`.

    Returns:
        Encodings by the name of the set.

    Raises:
        InputError: ``near`` is wrong or names an unknown set; depth maps that cannot be read or
            are not alike; a weak decision if ``near`` says "strict".
    """
    sets = list(sets)
    sides, strict = chosen_sides([s.name for s in sets], near)
    return {
        s.name: decide_encoding([t.depth for t in s.triplets], sides[s.name], s.name, strict=strict)
        for s in sets
        if s.has_depth
    }


def chosen_sides(names: Sequence[str], near: Sequence[str]) -> tuple[dict[str, str], bool]:
    """What ``--near`` says of each set.

    Returns:
        "auto", "white" or "black" by the name of the set, and whether a weak decision stops.

    Raises:
        InputError: as `parse_near`; a set that is not among ``names``.
    """
    default, by_set, strict = parse_near(near)
    sides = dict.fromkeys(names, default)
    for asked, side in by_set.items():
        named = [name for name in names if asked == name] or [
            name for name in names if _last_part(asked) == _last_part(name)
        ]
        if len(named) != 1:
            problem = "names several sets" if named else "names no set"
            raise InputError(f"--near {asked}={side} {problem}; the sets are: {', '.join(names)}")
        sides[named[0]] = side
    return sides, strict


def decide_encoding(
    depth_paths: Sequence[Path | str],
    near: str = "auto",
    name: str = "",
    *,
    strict: bool = False,
) -> DepthEncoding:
    """Decide how one set stores depth, from all its depth maps and from nothing else.

    A weak decision is logged as a warning, and so is metric depth that looks the other way round.

    Args:
        depth_paths: every depth map of the set.
        near: "auto", "white" or "black"; the latter two are not questioned.
        name: of the set, for messages only.
        strict: refuse a weak decision.

    Raises:
        InputError: unreadable files, files of different types, a weak decision if ``strict``.
    """
    return encoding_of(_read_samples(depth_paths, name), near, name, strict=strict)


def encoding_of(
    samples: Sequence[DepthSample],
    near: str = "auto",
    name: str = "",
    *,
    strict: bool = False,
    warn: bool = True,
) -> DepthEncoding:
    """Decide as `decide_encoding` does, from samples of every depth map of the set (one dtype).

    Args:
        samples: of its maps.
        near: "auto", "white" or "black".
        name: of the set, for messages only.
        strict: refuse a weak decision.
        warn: log what is doubtful.

    Raises:
        InputError: a weak decision if ``strict``.
    """
    units = tell_units(samples)
    holes = float(np.mean([s.holes_if_metric if units.metric else s.holes for s in samples]))
    if near == "auto":
        side, margin, reason = _decide_near(samples, units, name if warn else None)
    else:
        side, margin, reason = near, 1.0, f"{units.reason}; as given by --near"
    kind = "metric" if units.metric else "map"
    encoding = DepthEncoding(kind, side, margin, reason, units.low, units.high, holes)
    if encoding.is_weak:
        sides = f"{name}=white or =black" if name else "white or black"
        remedy = f"look at some maps and give --near {sides}"
        if strict:
            raise InputError(f"{name or 'depth'}: {encoding.describe()}; {remedy}")
        if warn:
            _log.warning("%s: weak evidence, %s; %s", name or "depth", encoding.describe(), remedy)
    return encoding


def depth_to_unit(
    raw: np.ndarray, encoding: DepthEncoding, rule: DepthRule = "minmax"
) -> np.ndarray:
    """Turn depth as stored into [0, 1], near = 1.

    Holes (0, NaN, infinity and 65535 in metric depth; NaN and infinity in other maps) take the
    value of the nearest pixel that has one. A map of one value, or of none, becomes 0.

    Args:
        raw: (H, W) as read by `io.read_depth`.
        encoding: of the set.
        rule: what becomes 0 and 1: the map's own least and largest value ("minmax"), those that
            the set can store ("range"), or the map's 1st and 99th percentile ("percentile").

    Returns:
        (H, W) float32.

    Raises:
        InputError: unknown rule.
    """
    if rule not in DEPTH_RULES:
        raise InputError(f"depth rule {rule!r} is unknown; give one of {', '.join(DEPTH_RULES)}")
    holes = find_holes(raw, encoding.kind == "metric")
    has_holes = holes.any()
    valid = raw[~holes] if has_holes else raw
    if valid.size == 0:
        return np.zeros(raw.shape, np.float32)
    if rule == "range":
        low, high = encoding.low, encoding.high
    elif rule == "percentile":
        low, high = np.percentile(valid, _PERCENTILES)
    else:
        low, high = valid.min(), valid.max()
    if not high > low:
        return np.zeros(raw.shape, np.float32)
    unit = raw.astype(np.float32)
    if has_holes:
        unit = fill_holes(unit, holes)
    unit -= np.float32(low)
    unit /= np.float32(high) - np.float32(low)
    np.clip(unit, 0, 1, out=unit)
    return unit if encoding.near == "white" else np.subtract(1, unit, out=unit)


def without_flat(unit: np.ndarray) -> np.ndarray | None:
    """Depth (H, W) in [0, 1]; None if all of it is one value, which tells nothing apart."""
    return unit if unit.min() < unit.max() else None


def _decide_near(
    samples: Sequence[DepthSample], units: DepthUnits, name: str | None
) -> tuple[Near, float, str]:
    """Which side is near, how clearly, and why; no ``name``, no warning."""
    evidence = weigh(samples, units.metric)
    side: Near = "white" if evidence.mean > 0 else "black"
    if units.metric:
        if name is not None and side == "white" and evidence.margin >= WEAK_MARGIN:
            _log.warning(
                "%s: %s, so small is near; but the maps look as if large were near (margin %.2f):"
                " look at some and give --near if that is so",
                *(name or "depth", units.reason, evidence.margin),
            )
        return "black", 1.0, f"{units.reason}: small is near"
    return side, evidence.margin, f"{units.reason}; {evidence.describe()}"


def _read_samples(paths: Sequence[Path | str], name: str) -> list[DepthSample]:
    def read(path: Path | str) -> DepthSample:
        return DepthSample.of(read_depth(path), SAMPLE_SIDE)

    quiet = True if len(paths) < _BAR_FROM else None  # None: no bar where nobody looks on
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        reading = pool.map(read, paths)
        bar = tqdm(reading, f"{name} depth", len(paths), leave=False, disable=quiet)
        samples = list(bar)
    first = {sample.pixels.dtype: path for sample, path in zip(samples, paths, strict=True)}
    if len(first) != 1:
        listed = ", ".join(f"{path} ({dtype})" for dtype, path in first.items()) or "no file"
        raise InputError(f"{name or 'depth'}: maps of different types: {listed}; convert them")
    return samples


def _last_part(name: str) -> str:
    return canonical_name(name.rsplit("/", 1)[-1])
