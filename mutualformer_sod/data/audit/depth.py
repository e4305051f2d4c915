"""Check the depth maps of a set: types, polarity with its evidence, doubtful maps."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mutualformer_sod.data.audit.findings import Finding, about
from mutualformer_sod.data.audit.inspection import Inspected
from mutualformer_sod.data.depth.evidence import SetEvidence, weigh
from mutualformer_sod.data.depth.kind import decide_units
from mutualformer_sod.data.depth.notes import CONSTANT, MOSTLY_ZERO, TWO_VALUES, doubt_of
from mutualformer_sod.data.depth.polarity import (
    WEAK_MARGIN,
    DepthEncoding,
    encoding_of,
    thermal_encoding,
)

_MANY_HOLES = 0.5  # ratio of holes above which a map is reported
_CONTRARY = 0.5  # evidence of a map against its set above which it is reported
_FEW = 0.1  # ratio of a set below which maps of the other polarity are ignored


@dataclass(frozen=True)
class DepthReport:
    """Results on the depth maps of one set.

    Attributes:
        encoding: see `depth.polarity.encoding_of`.
        evidence: of its maps, in the order of ``stems``.
        stems: of the maps that are not empty.
        types: number of maps by data type.
        range: least and largest value of the set, without holes.
    """

    encoding: DepthEncoding
    evidence: SetEvidence
    stems: tuple[str, ...]
    types: dict[str, int]
    range: tuple[float, float]


def check_depth(
    label: str, images: Sequence[Inspected], side: str, strict: bool = False
) -> tuple[DepthReport, list[Finding]]:
    """Decide the depth encoding of a set, and report doubtful maps.

    Args:
        label: of the set.
        images: of the set; at least one with a readable depth map.
        side: "auto", "white" or "black".
        strict: refuse a weak decision.

    Raises:
        InputError: evidence that is weak or contradicts the units, if ``strict``.
    """
    read = [image for image in images if image.depth is not None]
    types = Counter(str(image.depth.pixels.dtype) for image in read)
    main = types.most_common(1)[0][0]
    own = [image for image in read if str(image.depth.pixels.dtype) == main]
    samples = [image.depth for image in own]
    units = decide_units(samples)
    thermal = read[0].sample.thermal
    if thermal:
        encoding = thermal_encoding(samples)
    else:
        encoding = encoding_of(samples, side, label, strict=strict, quiet=True)
    metric, noun = encoding.kind == "metric", encoding.noun
    speaking = [i for i in own if (i.depth.holes_if_metric if metric else i.depth.holes) < 1]
    evidence = weigh([image.depth for image in speaking], metric, encoding.hole_code)
    measured = [(s.least, s.largest) for s in samples if s.largest > 0]
    ranges = np.array(measured if metric and measured else [image.depth_range for image in own])
    report = DepthReport(
        encoding,
        evidence,
        tuple(image.sample.stem for image in speaking),
        dict(types),
        (float(ranges[:, 0].min()), float(ranges[:, 1].max())),
    )
    findings = [
        *about(
            *("problem", f"{noun} types", label, f"maps of several types, most are {main}"),
            "convert them to one",
            [i.sample.depth for i in read if str(i.depth.pixels.dtype) != main],
        ),
        *about(
            *("problem", f"constant {noun}", label, f"{noun} maps of a single value"),
            "they contain no information: replace them, or omit the images",
            [i.sample.depth for i in own if doubt_of(i.depth, encoding) == CONSTANT],
        ),
        *(
            finding
            for kind, doubt in (("two values", TWO_VALUES), ("zeros", MOSTLY_ZERO))
            for finding in about(
                *("note", kind, label, f"{noun} maps: {doubt}", "inspect them"),
                [i.sample.depth for i in own if doubt_of(i.depth, encoding) == doubt],
            )
        ),
        *about(
            *("note", "holes", label, f"{noun} maps with more than {_MANY_HOLES:.0%} holes"),
            "filled from the nearest value",
            [i.sample.depth for i in own if _holes(i, metric) > _MANY_HOLES],
        ),
        *_polarity_findings(label, report, {i.sample.stem: i for i in own}, side, units.metric),
    ]
    return report, findings


def _holes(image: Inspected, metric: bool) -> float:
    return image.depth.holes_if_metric if metric else image.depth.holes


def _polarity_findings(
    label: str, report: DepthReport, by_stem: dict[str, Inspected], side: str, metric_type: bool
) -> list[Finding]:
    encoding, evidence = report.encoding, report.evidence
    if encoding.kind == "thermal":
        return []
    seen = "white" if evidence.mean > 0 else "black"
    remedy = f"inspect some maps and pass --near {label.split(' ')[0]}=white or =black"
    clear = evidence.margin >= WEAK_MARGIN
    if side == "auto" and metric_type and encoding.kind == "map":
        return [Finding("problem", "polarity", label, encoding.describe(), remedy)]
    if encoding.is_weak:
        text = f"weak evidence which end of depth is near: {encoding.describe()}"
        weak = Finding("problem", "polarity", label, text, remedy)
        return [weak, *_both_signs(label, report, by_stem)]
    if clear and seen != encoding.near:
        why = "--near says" if side != "auto" else "the type of the maps says"
        text = f"{why} {encoding.near} is near, but the maps look as if {seen} were"
        return [Finding("problem", "polarity", label, f"{text} ({evidence.describe()})", remedy)]
    sign = 1 if encoding.near == "white" else -1
    contrary = [
        by_stem[stem].sample.depth
        for stem, score in zip(report.stems, evidence.scores, strict=True)
        if score * sign < -_CONTRARY
    ]
    return about(
        *("note", "polarity", label, "maps that look inverted against the rest of their set"),
        *("inspect them", contrary),
    )


def _both_signs(label: str, report: DepthReport, by_stem: dict[str, Inspected]) -> list[Finding]:
    """Report a set with maps of both polarities, where no single polarity fits."""
    scored = list(zip(report.stems, report.evidence.scores, strict=True))
    white, black = (
        [by_stem[stem].sample.depth for stem, score in scored if score * sign > _CONTRARY]
        for sign in (1, -1)
    )
    fewer, more = sorted((white, black), key=len)
    if len(fewer) < _FEW * len(scored):
        return []
    sides = ("white", "black") if fewer is white else ("black", "white")
    text = (
        f"maps that look as if {sides[0]} were near, where {len(more)} others look as if "
        f"{sides[1]} were: of both signs, or views without up and down"
    )
    remedy = "inspect them; invert those of the wrong polarity, or split the set by polarity"
    return about("problem", "polarity", label, text, remedy, fewer)
