"""Doubtful depth maps: constant, of two values, mostly 0, or stretched."""

from collections.abc import Sequence
from pathlib import Path

from mutualformer_sod.data.depth.kind import DepthSample
from mutualformer_sod.data.modality import Encoding
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import image_size

CONSTANT = "constant or empty, used as missing: colour alone"
TWO_VALUES = "two values only: is it a mask?"
MOSTLY_ZERO = "0 in more than half of the pixels: 8-bit maps have no holes, 0 counts as a distance"
STRETCHED = "other proportions than the picture: STRETCHED, check that it shows the same view"

_MOSTLY = 0.5
_ASPECT_TOLERANCE = 0.02
_NAMED = 3  # files that a line lists before it gives their number only


def doubt_of(depth_sample: DepthSample, encoding: Encoding) -> str | None:
    """Return the doubt about one map: `CONSTANT`, `TWO_VALUES`, `MOSTLY_ZERO` or None."""
    levels = depth_sample.levels[encoding.kind == "metric"]
    if levels < 2:
        return CONSTANT
    if levels == 2:
        return TWO_VALUES
    is_8_bit = depth_sample.pixels.dtype == "uint8" and encoding.near != "none"
    return MOSTLY_ZERO if is_8_bit and depth_sample.zeros > _MOSTLY else None


def same_proportions(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes (H, W) have the same aspect ratio within 2 %."""
    ratio = one[0] * other[1] / (one[1] * other[0])
    return abs(ratio - 1) <= _ASPECT_TOLERANCE


def depth_notes(
    samples: Sequence[Sample],
    depth_samples: Sequence[DepthSample],
    encoding: Encoding,
    noun: str = "depth",
) -> list[str]:
    """Describe the doubtful maps of a set, one line for each kind with the first files.

    Unreadable colour images are ignored.
    """
    found: dict[str, list[str]] = {}
    for sample, depth_sample in zip(samples, depth_samples, strict=True):
        doubts = [doubt_of(depth_sample, encoding)]
        if not _fits(sample.rgb, depth_sample.size):
            doubts.append(STRETCHED)
        for doubt in filter(None, doubts):
            found.setdefault(doubt, []).append(str(sample.depth))
    return [
        f"{noun}: {len(paths)} of {len(depth_samples)} maps: {doubt}:"
        f" {', '.join(paths[:_NAMED])}{', ...' if len(paths) > _NAMED else ''}"
        for doubt, paths in found.items()
    ]


def _fits(rgb: Path | None, size: tuple[int, int]) -> bool:
    try:
        return rgb is None or same_proportions(image_size(rgb), size)
    except InputError:  # reported when it is read
        return True
