"""Check the types and the polarity of the depth maps of a set, and find doubtful maps."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mutualformer_sod.data.audit.findings import Finding, about
from mutualformer_sod.data.audit.inspection import Inspected
from mutualformer_sod.data.depth import notes
from mutualformer_sod.data.depth.disparity import disparity_question
from mutualformer_sod.data.depth.encoding import WEAK_MARGIN
from mutualformer_sod.data.depth.evidence import SetEvidence, weigh
from mutualformer_sod.data.depth.kind import decide_units
from mutualformer_sod.data.depth.polarity import encoding_of
from mutualformer_sod.data.modality import Encoding
from mutualformer_sod.errors import counted

_MANY_HOLES = 0.5  # ratio of holes above which a map is reported
_CONTRARY = 0.5  # evidence against the set's polarity above which a map is reported
_FEW = 0.1  # ratio of a set below which maps of the other polarity are ignored


@dataclass(frozen=True)
class DepthReport:
    """Results on the maps of one set."""

    encoding: Encoding
    evidence: SetEvidence | None  # in the order of ``images``; None for maps without polarity
    images: Sequence[Inspected]  # the images with a `DepthSample` that has a valid pixel
    types: dict[str, int]  # number of maps by data type
    range: tuple[float, float]  # least and largest value of the set, without holes


def check_depth(
    label: str, name: str, images: Sequence[Inspected], side: str, strict: bool
) -> tuple[DepthReport, list[Finding]]:
    """Decide the encoding of a set with at least one readable map, and report doubtful maps.

    Raises:
        InputError: the evidence is weak or contradicts the units, and ``strict`` is true.
    """
    read = [image for image in images if image.depth is not None]
    types = Counter(str(image.depth.pixels.dtype) for image in read)
    main = types.most_common(1)[0][0]
    own = [image for image in read if str(image.depth.pixels.dtype) == main]
    samples = [image.depth for image in own]
    modality = read[0].sample.modality
    encoding = encoding_of(samples, side, name, modality=modality, strict=strict, quiet=True)
    metric = encoding.zero_is_hole
    filled = [image for image in own if not encoding.find_holes(image.depth.pixels).all()]
    evidence = weigh(samples, metric, encoding.hole_code) if modality.has_polarity else None
    measured = [(s.least, s.largest) for s in samples if metric and s.largest > 0]
    lows, highs = zip(*(measured or [image.depth_range for image in own]), strict=True)
    report = DepthReport(encoding, evidence, filled, dict(types), (min(lows), max(highs)))
    odd = [image.sample.depth for image in read if str(image.depth.pixels.dtype) != main]
    kind, text = f"{modality.name} types", f"maps of several types, mostly {main}"
    findings = about("problem", kind, label, text, "convert them to one type", odd)
    findings += _doubtful(label, own, encoding, modality.name)
    if evidence is not None:
        units = decide_units(samples)
        question = disparity_question(samples, units, weigh(samples, units.metric))
        if question and side == "auto":
            own = shlex.quote(name)
            remedy = f"pass --near {own}=disparity, or {own}=black for millimetres"
            findings.append(Finding("problem", "disparity", label, question, remedy))
        else:
            findings += _polarity_findings(label, name, report, side, units.metric)
    return report, findings


def _doubtful(
    label: str, images: Sequence[Inspected], encoding: Encoding, noun: str
) -> list[Finding]:
    """Report the maps that are constant, have few values, or are unrelated to their image."""
    doubts: dict[str, list[Path]] = {}
    for image in images:
        unrelated = [notes.UNRELATED] * image.unrelated
        for doubt in notes.doubts_of(image.depth, encoding) + unrelated:
            doubts.setdefault(doubt, []).append(image.sample.depth)
    remedy = "they contain no information: replace them, or omit the images"
    kind, constant = f"constant {noun}", doubts.get(notes.CONSTANT, ())
    findings = about("problem", kind, label, f"{kind} maps", remedy, constant)
    for kind, doubt in (
        ("two values", notes.TWO_VALUES),
        ("zeros", notes.MOSTLY_ZERO),
        ("few levels", notes.FEW_LEVELS),
        ("unrelated", notes.UNRELATED),
    ):
        text, maps = f"{noun} maps: {doubt}", doubts.get(doubt, ())
        findings += about("note", kind, label, text, "inspect them", maps)
    holed = [i.sample.depth for i in images if i.depth.holes[encoding.zero_is_hole] > _MANY_HOLES]
    text = f"{noun} maps with more than {_MANY_HOLES:.0%} holes"
    return findings + about("note", "holes", label, text, "holes get the nearest value", holed)


def _polarity_findings(
    label: str, name: str, report: DepthReport, side: str, metric: bool
) -> list[Finding]:
    encoding, evidence = report.encoding, report.evidence
    seen = "white" if evidence.mean > 0 else "black"
    remedy = f"inspect some maps and pass --near {shlex.quote(name)}=white or =black"
    if side == "auto" and metric and encoding.kind == "map":
        return [Finding("problem", "polarity", label, encoding.describe(), remedy)]
    if encoding.is_weak:
        text = f"weak evidence of polarity: {encoding.describe()}"
        return [Finding("problem", "polarity", label, text, remedy), *_both_signs(label, report)]
    if evidence.margin >= WEAK_MARGIN and seen != encoding.near:
        why = "by --near" if side != "auto" else "by the type of the maps"
        text = f"{why}, {encoding.near} is near, but the maps look as if {seen} were near"
        return [Finding("problem", "polarity", label, f"{text} ({evidence.describe()})", remedy)]
    text = "maps that look inverted compared with the other maps of the set"
    contrary = _seen_as("black" if encoding.near == "white" else "white", report)
    return about("note", "polarity", label, text, "inspect them", contrary)


def _seen_as(near: str, report: DepthReport) -> list[Path]:
    """Return the maps with clear evidence for the polarity ``near``."""
    sign = 1 if near == "white" else -1
    scored = zip(report.images, report.evidence.scores, strict=True)
    return [image.sample.depth for image, score in scored if score * sign > _CONTRARY]


def _both_signs(label: str, report: DepthReport) -> list[Finding]:
    """Report a set whose maps have both polarities, so that no single polarity is right."""
    sides = [(near, _seen_as(near, report)) for near in ("white", "black")]
    (near, fewer), (other, more) = sorted(sides, key=lambda side: len(side[1]))
    if len(fewer) < _FEW * len(report.images):
        return []
    text = (
        f"maps in which {near} looks near, but {other} looks near in {counted(len(more), 'other')}:"
        " mixed polarity, or views without up and down"
    )
    remedy = "inspect them; invert those of the wrong polarity, or split the set by polarity"
    return about("problem", "polarity", label, text, remedy, fewer)
