"""Decide the depth encoding of a set: its polarity and its units.

Data sets, and even copies of one set, differ in the polarity of depth. The polarity is decided once
for a set, from all its depth maps:

1. a polarity passed by ``--near`` is used without evidence;
2. otherwise the evidence of the maps (`evidence.polarity`) is combined with the units: small is
   near in millimetres and metres. Evidence that clearly contradicts the units has
   priority if it reaches `TYPE_WEIGHT`; below this weight, the set is refused;
3. 16-bit maps that may be disparity (`disparity.disparity_question`) are not decided: an error
   asks the user to pass ``--near``.
"""

import logging
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mutualformer_sod.data.depth.disparity import DISPARITY, disparity_question
from mutualformer_sod.data.depth.encoding import WEAK_MARGIN, DepthEncoding, Encoding, GreyEncoding
from mutualformer_sod.data.depth.evidence import SetEvidence, weigh
from mutualformer_sod.data.depth.holes import METRIC_INVALID
from mutualformer_sod.data.depth.kind import DepthSample, DepthUnits, decide_units
from mutualformer_sod.data.depth.near import POLARITIES, chosen_sides
from mutualformer_sod.data.depth.notes import depth_notes
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.modality import DEPTH, Modality
from mutualformer_sod.errors import InputError
from mutualformer_sod.workers import in_threads

TYPE_WEIGHT = 2.0
"""Minimum of margin x number of maps at which evidence outweighs contradicting units of distance.

In NLPR, 0.03 % of the subsets of 3 maps in millimetres reach 2.0 for the wrong polarity. Any five
maps of NJU2K, or inverted maps of DES, reach 2.0 if stored as distances (docs/data.md).
"""

_BAR_FROM = 200  # minimum number of maps in a set for which a progress bar is shown

_log = logging.getLogger(__name__)


def with_encodings(
    sets: Iterable[SodSet],
    near: Sequence[str] = (),
    *,
    quiet: bool = False,
    ask_disparity: bool = False,
) -> list[SodSet]:
    """Decide the encoding of the maps of each set, and store the encoding in the returned sets.

    Doubtful maps (`depth_notes`) are logged unless ``quiet``.

    Args:
        near: values of ``--near``, see `near.parse_near`.
        quiet, ask_disparity: see `encoding_of`.

    Raises:
        InputError: an error of `near.chosen_sides`, `read_samples` or `encoding_of`, or ``near``
            sets a value other than "auto" for maps without polarity.
    """
    sets = list(sets)
    sides, strict = chosen_sides([s.name for s in sets], near, any(s.has_depth for s in sets))
    for item in sets:
        side = sides[item.name]
        if item.modality and not item.modality.has_polarity and side != "auto":
            problem = f"{item.name} has {item.modality.maps}, which have no polarity"
            remedy = f"name the sets with depth, as in --near SET={side}"
            raise InputError(f"--near {side}: {problem}. Fix: {remedy}")
    options = {"strict": strict, "quiet": quiet, "ask_disparity": ask_disparity}
    decided = []
    for sod_set in sets:
        name, modality, encoding = sod_set.name, sod_set.modality, None
        if modality is not None:
            samples = read_samples([t.depth for t in sod_set.samples], name, modality)
            encoding = encoding_of(samples, sides[name], name, modality=modality, **options)
            if not quiet:
                for note in depth_notes(sod_set.samples, samples, encoding):
                    _log.warning("%s: %s", name, note)
        decided.append(replace(sod_set, encoding=encoding))
    return decided


def encodings_by_name(sets: Iterable[SodSet]) -> dict[str, Encoding]:
    """Return the encodings of the sets with maps, for the screen and the record of a run."""
    return {item.name: item.encoding for item in sets if item.encoding is not None}


def print_maps(sets: Iterable[SodSet]) -> None:
    """Print one line for each set with maps: the modality and the encoding of the maps."""
    for item in sets:
        if item.encoding is not None:
            print(f"{item.name}: {item.modality.name} {item.encoding.describe()}")


def read_samples(
    paths: Sequence[Path | str], name: str = "", modality: Modality = DEPTH
) -> list[DepthSample]:
    """Sample every map of a set; raise InputError if maps are unreadable or differ in type."""
    label, show_bar = f"{name} {modality.name}", len(paths) >= _BAR_FROM
    samples = in_threads(
        lambda path: DepthSample.of(modality.read(path)), paths, label, show_bar=show_bar
    )
    first = {sample.pixels.dtype: path for sample, path in zip(samples, paths, strict=True)}
    if len(first) != 1:
        listed = ", ".join(f"{path} ({dtype})" for dtype, path in first.items()) or "no file"
        problem = f"{name or modality.name}: the maps have different types: {listed}"
        raise InputError(f"{problem}. Fix: convert them to one type")
    return samples


def encoding_of(
    samples: Sequence[DepthSample],
    near: str = "auto",
    name: str = "",
    *,
    modality: Modality = DEPTH,
    strict: bool = False,
    quiet: bool = False,
    ask_disparity: bool = False,
    ask: str = "--near {}",
) -> Encoding:
    """Decide how one set stores depth, from samples of all its maps (same dtype).

    Maps of a modality without polarity are brightness. A warning is logged for a weak decision, and
    if the evidence of the maps outweighs their units.

    Args:
        near: "auto", "white", "black" or "disparity"; only "auto" uses the evidence of the maps.
        name: name of the set, for messages only.
        strict: whether to refuse a weak decision, and maps that contradict their units.
        quiet: whether to log nothing. With ``quiet``, the units are used if the maps contradict
            the units and neither prevails; ``is_contradicted`` of the encoding is then true.
        ask_disparity: whether to refuse maps that may be disparity even if ``quiet``. With
            ``quiet`` alone, possible disparity is decided like other maps, and the caller must
            inform the user.
        ask: argument or flag that sets the polarity, with {} for its value; for messages only.

    Raises:
        InputError: the maps may be disparity; or units and maps contradict each other and neither
            prevails, unless ``quiet``; or, with ``strict``, the decision is weak or contradicted.
    """
    if not modality.has_polarity:
        return GreyEncoding.of(samples, modality.name)
    units = decide_units(samples)
    if near != "auto":
        reason = "disparity, 0 means no value" if near == DISPARITY else units.reason
        return _encoding(samples, units, near, None, f"{reason}; set by {ask.format(near)}")
    label = name or "depth"
    # The argument or flag that sets each polarity.
    flags = {
        side: ask.format(f"{shlex.quote(name)}={side}" if name else side) for side in POLARITIES
    }
    evidence = weigh(samples, units.metric, units.hole_code)
    asks = ask_disparity or not quiet
    if asks and (question := disparity_question(samples, units, evidence)):
        raise InputError(
            f"{label}: {question}. Fix: pass {flags[DISPARITY]} for disparity, {flags['black']} for"
            f" millimetres, or {flags['white']} if large values are near and 0 is a valid value"
        )
    if units.metric:
        return _encoding_of_distances(samples, units, evidence, label, flags, strict, quiet)
    near = "white" if evidence.mean > 0 else "black"
    reason = f"{units.reason}; {evidence.describe()}"
    encoding = _encoding(samples, units, near, evidence.margin, reason)
    remedy = f"look at some maps and pass {flags['white']} or {flags['black']}"
    if encoding.is_weak and strict:
        raise InputError(f"{label}: {encoding.describe()}. Fix: {remedy}")
    if encoding.is_weak and not (quiet or encoding.is_empty):
        _log.warning("%s: weak evidence, %s; %s", label, encoding.describe(), remedy)
    return encoding


def _encoding_of_distances(
    samples: Sequence[DepthSample],
    units: DepthUnits,
    evidence: SetEvidence,
    label: str,
    flags: dict[str, str],
    strict: bool,
    quiet: bool,
) -> DepthEncoding:
    """Decide between units of distance (small = near) and contradicting evidence of the maps."""
    agrees = evidence.mean <= 0
    if not agrees and evidence.margin >= WEAK_MARGIN:
        problem = (
            f"{units.reason} by the type of the maps, so small is near, but the maps look as if"
            f" large were near ({evidence.describe()}, margin {evidence.margin:.2f})"
        )
        prevails = evidence.margin * len(evidence.scores) >= TYPE_WEIGHT
        if strict or not (prevails or quiet):
            raise InputError(
                f"{label}: {problem}. Fix: look at some maps and pass {flags['black']} if these are"
                f" distances, {flags['white']} if they are disparity or inverse depth,"
                f" {flags[DISPARITY]} if they are disparity in which 0 means no value"
            )
        if prevails:
            if not quiet:
                remedy = f"pass {flags['black']} if the maps contain distances"
                _log.warning("%s: %s: large values are used as near; %s", label, problem, remedy)
            return _encoding(samples, units, "white", evidence.margin, f"not distances: {problem}")
    margin = evidence.margin if agrees else -evidence.margin
    reason = f"{units.reason}: small is near; {evidence.describe()}"
    return _encoding(samples, units, "black", margin, reason)


def _encoding(
    samples: Sequence[DepthSample], units: DepthUnits, side: str, margin: float | None, reason: str
) -> DepthEncoding:
    """Return the encoding of maps of known polarity, never as distances if large = near."""
    kind = "metric" if units.metric and side == "black" else "map"
    if side == DISPARITY:
        kind, side = DISPARITY, "white"
    code = units.hole_code
    is_16_bit = samples[0].pixels.dtype == np.uint16
    if units.metric and kind == "map" and code is None and is_16_bit:
        code = METRIC_INVALID  # as depth, the code would compress the range of all other values
    holes = float(np.mean([s.holes[kind != "map"] for s in samples]))
    if code is not None:
        holes += float(np.mean([np.mean(s.pixels == code) for s in samples]))
    is_empty = all(s.levels[kind != "map"] < 2 for s in samples)
    return DepthEncoding(kind, side, margin, reason, holes, code, is_empty)
