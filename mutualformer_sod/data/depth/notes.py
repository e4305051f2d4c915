"""Find doubtful depth maps: constant, with few values, mostly 0 or holes, stretched, unrelated."""

from collections.abc import Sequence
from pathlib import Path

from mutualformer_sod.data.depth.kind import MOST_LEVELS, DepthSample
from mutualformer_sod.data.depth.structure import is_unrelated
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.modality import DEPTH, Encoding
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.imaging.io import image_size, read_depth, read_rgb
from mutualformer_sod.workers import in_threads

CONSTANT = "constant or empty, treated as missing: colour alone is used"
TWO_VALUES = "two values only: is it a mask?"
MOSTLY_ZERO = "0 in more than half of the pixels: 8-bit maps have no holes, so 0 is used as depth"
FEW_LEVELS = f"fewer than {MOST_LEVELS} grey levels: little information"
MOSTLY_HOLES = (
    "holes in more than half of the pixels, filled from the nearest value: little information"
)
UNRELATED = "edges without relation to those of the picture (another picture's depth, or noise?)"
STRETCHED = "other proportions than the picture: STRETCHED, check that both show the same view"

_MOSTLY = 0.5
_ASPECT_TOLERANCE = 0.02
_RELATED = 200  # maximum number of images of a set that are compared with their depth
_NAMED = 3  # maximum number of files that a line lists


def doubts_of(depth_sample: DepthSample, encoding: Encoding) -> list[str]:
    """Return the reasons to doubt a map by itself, from `CONSTANT` to `MOSTLY_HOLES`."""
    levels = depth_sample.levels[encoding.zero_is_hole]
    if levels <= 2:
        return [TWO_VALUES if levels == 2 else CONSTANT]
    is_8_bit = depth_sample.pixels.dtype == "uint8" and encoding.kind == "map"
    applies = {
        MOSTLY_ZERO: is_8_bit and depth_sample.zeros > _MOSTLY,
        FEW_LEVELS: levels < MOST_LEVELS,
        MOSTLY_HOLES: depth_sample.holes[encoding.zero_is_hole] > _MOSTLY,
    }
    return [doubt for doubt, is_true in applies.items() if is_true]


def same_proportions(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two sizes (H, W) have the same aspect ratio within 2 %."""
    ratio = one[0] * other[1] / (one[1] * other[0])
    return abs(ratio - 1) <= _ASPECT_TOLERANCE


def depth_notes(
    samples: Sequence[Sample], depth_samples: Sequence[DepthSample], encoding: Encoding
) -> list[str]:
    """Describe the doubtful maps of a set: one line per kind of doubt, with the first files.

    ``samples`` must not be empty. Unreadable colour images are ignored.
    """
    found: dict[str, list[str]] = {}
    for sample, depth_sample in zip(samples, depth_samples, strict=True):
        stretched = [STRETCHED] * (not _fits(sample.rgb, depth_sample.size))
        for doubt in doubts_of(depth_sample, encoding) + stretched:
            found.setdefault(doubt, []).append(str(sample.depth))
    count, noun = counted(len(samples), "map"), samples[0].modality.name
    return [note_line(doubt, paths, count, noun) for doubt, paths in found.items()]


def relation_notes(sod_set: SodSet) -> list[str]:
    """Return a list with one line about the maps unrelated to their images, or an empty list.

    At most `_RELATED` evenly spaced images are read. Unreadable files are ignored.
    """
    if not sod_set.has_rgb or sod_set.modality != DEPTH:
        return []
    step = -(-len(sod_set.samples) // _RELATED)
    pairs = sod_set.samples[::step]

    def check(sample: Sample) -> bool:
        try:
            return is_unrelated(read_rgb(sample.rgb), read_depth(sample.depth))
        except InputError:  # errors are reported when the files are used
            return False

    unrelated = in_threads(check, pairs, sod_set.name)
    paths = [str(s.depth) for s, bad in zip(pairs, unrelated, strict=True) if bad]
    count = counted(len(pairs), "map" if step == 1 else "examined map")
    return [note_line(UNRELATED, paths, count)] if paths else []


def note_line(doubt: str, names: Sequence[str], maps: str, noun: str = "depth") -> str:
    """Return one line with a doubt, the number of maps with this doubt, and the first names.

    ``maps`` is the number of all maps and the noun, such as "700 maps".
    """
    listed = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"{noun}: {len(names)} of {maps}: {doubt}: {listed}"


def _fits(rgb: Path | None, size: tuple[int, int]) -> bool:
    try:
        return rgb is None or same_proportions(image_size(rgb), size)
    except InputError:  # reported when the image is read
        return True
