"""Check files before the first epoch or the first map: damage, sizes, degenerate masks.

Otherwise a damaged image would end a run hours later, when its batch is loaded. Depth maps are not
checked here, because `depth.polarity.with_encodings` has decoded all of them.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError, counted, first_of
from mutualformer_sod.imaging.io import check_size, image_size
from mutualformer_sod.imaging.masks import read_mask
from mutualformer_sod.workers import in_threads


class _Checked(NamedTuple):
    """Result for one sample: an error; or the kind (black or white) and the note of its mask."""

    error: str = ""
    kind: str = ""
    note: str = ""


def check_training_files(sets: Sequence[SodSet], *, show_bar: bool = True) -> list[str]:
    """Check that all images are complete and all masks are usable, before training begins.

    Colour images are checked from their headers, ends and checksums without decoding (TIFF is
    decoded); masks are decoded by the rule of `imaging.masks`.

    Args:
        sets: training and validation sets, with colour images.
        show_bar: show a progress bar if the output is a terminal.

    Returns:
        Lines on the masks of each set: the interpretation of unusual masks, and the number of
        masks that are all black or all white.

    Raises:
        InputError: files are damaged, ambiguous or of two sizes, with a description of the first
            file and the names of the other images; or no mask of a set has both foreground and
            background.
    """
    results = iter(_check_all(_check_training, sets, show_bar))
    lines = []
    for sod_set in sets:
        lines += _describe(sod_set, list(islice(results, len(sod_set.samples))))
    return lines


def check_images(sets: Sequence[SodSet]) -> None:
    """Check that all images are complete and have the sizes of their ground truths.

    The errors are those of `check_training_files`. Masks are not decoded.
    """
    _check_all(_check_image, sets)


def _check_all(
    check: Callable[[Sample], _Checked], sets: Sequence[SodSet], show_bar: bool = True
) -> list[_Checked]:
    """Return the results of all images in order; raise one InputError for all errors."""
    work = [sample for sod_set in sets for sample in sod_set.samples]

    def checked(sample: Sample) -> _Checked:
        try:
            return check(sample)
        except InputError as error:
            return _Checked(str(error))

    results = in_threads(checked, work, "checking files", show_bar=show_bar)
    damaged = [(c.error, t) for c, t in zip(results, work, strict=True) if c.error]
    if damaged:
        others = [sample.rgb.name for _, sample in damaged[1:]]
        text = f" (and {counted(len(others), 'more image')}: {first_of(others)})"
        raise InputError(damaged[0][0] + (text if others else ""))
    return results


def _check_image(sample: Sample) -> _Checked:
    size = image_size(sample.rgb)
    if sample.gt is not None:
        check_size(sample.gt, image_size(sample.gt), sample.rgb, size)
    return _Checked()


def _check_training(sample: Sample) -> _Checked:
    size = image_size(sample.rgb)
    if sample.gt is None:
        return _Checked()
    mask, note = read_mask(sample.gt)
    check_size(sample.gt, mask.shape, sample.rgb, size)
    kinds = {0: "all black (no foreground)", mask.size: "all white (no background)"}
    return _Checked("", kinds.get(np.count_nonzero(mask), ""), note)


def _describe(sod_set: SodSet, results: Sequence[_Checked]) -> list[str]:
    by_kind: dict[str, list[str]] = {}
    by_note: dict[str, list[str]] = {}
    for sample, result in zip(sod_set.samples, results, strict=True):
        if result.kind:
            by_kind.setdefault(result.kind, []).append(sample.gt.name)
        if result.note:
            by_note.setdefault(result.note, []).append(sample.gt.name)
    count = len(results)
    found = [
        f"{len(names)} of {count} masks are {kind}: {first_of(names)}"
        for kind, names in sorted(by_kind.items())
    ]
    if sod_set.has_gt and count and sum(map(len, by_kind.values())) == count:
        raise InputError(
            f"{sod_set.root}: {', '.join(found)}; no mask shows an object. Fix:"
            " restore the masks, or omit the set"
        )
    lines = [f"WARNING: {sod_set.name}: {text}; inspect them" for text in found]
    lines += [
        f"{sod_set.name}: {counted(len(names), 'mask')}, e.g. {names[0]}: {note}"
        for note, names in by_note.items()
    ]
    return lines
