"""Check files for damage, wrong sizes and degenerate masks, before training or prediction.

A damaged image that is not found here would end a run hours later, when its batch is loaded. Depth
maps are not checked here, because `depth.polarity.with_encodings` has decoded all maps.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from itertools import islice

import numpy as np

from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError, counted, first_of
from mutualformer_sod.imaging.io import check_size, image_size
from mutualformer_sod.imaging.masks import read_mask
from mutualformer_sod.workers import in_threads

_Mask = tuple[str, str]  # kind (black or white) and note of a mask; "" for a usual mask


def check_training_files(sets: Sequence[SodSet], *, show_bar: bool = True) -> list[str]:
    """Check that all images are complete and all masks are usable, before training begins.

    Colour images are checked by header, end and checksum, without decoding (TIFF is decoded).
    Masks are decoded by the rule of `imaging.masks`. All sets must have colour images.

    Returns:
        Lines on the masks of each set: the interpretation of unusual masks, and the number of
        masks that are all black or all white.

    Raises:
        InputError: an image or mask is damaged, a mask is ambiguous or differs in size from its
            image, or no mask of a set has both foreground and background. The message describes
            the first unusable file and lists other unusable images.
    """
    masks = iter(_check_all(sets, with_masks=True, show_bar=show_bar))
    lines = []
    for sod_set in sets:
        lines += _describe(sod_set, list(islice(masks, len(sod_set.samples))))
    return lines


def check_images(sets: Sequence[SodSet]) -> None:
    """Check that all images are complete and have the sizes of their ground truths.

    Damaged images and unequal sizes raise the same errors as in `check_training_files`. Masks are
    not decoded.
    """
    _check_all(sets, with_masks=False)


def _check_all(sets: Sequence[SodSet], *, with_masks: bool, show_bar: bool = True) -> list[_Mask]:
    """Return the masks of all images in order; raise one InputError for all errors."""
    work = [sample for sod_set in sets for sample in sod_set.samples]
    check = partial(_check, with_mask=with_masks)
    results = in_threads(check, work, "checking files", show_bar=show_bar)
    damaged = [(c, t) for c, t in zip(results, work, strict=True) if isinstance(c, str)]
    if damaged:
        others = [sample.rgb.name for _, sample in damaged[1:]]
        text = f" (and {counted(len(others), 'more image')}: {first_of(others)})"
        raise InputError(damaged[0][0] + (text if others else ""))
    return results


def _check(sample: Sample, with_mask: bool) -> _Mask | str:
    """Return kind and note of a mask (both empty if the mask is not decoded), or an error text."""
    try:
        size = image_size(sample.rgb)
        if sample.gt is None:
            return "", ""
        if not with_mask:
            check_size(sample.gt, image_size(sample.gt), sample.rgb, size)
            return "", ""
        mask, note = read_mask(sample.gt)
        check_size(sample.gt, mask.shape, sample.rgb, size)
    except InputError as error:
        return str(error)  # the exception would keep the mask in memory
    kinds = {0: "all black (no foreground)", mask.size: "all white (no background)"}
    return kinds.get(np.count_nonzero(mask), ""), note


def _describe(sod_set: SodSet, masks: Sequence[_Mask]) -> list[str]:
    by_kind: defaultdict[str, list[str]] = defaultdict(list)
    by_note: defaultdict[str, list[str]] = defaultdict(list)
    for sample, (kind, note) in zip(sod_set.samples, masks, strict=True):
        if kind:
            by_kind[kind].append(sample.gt.name)
        if note:
            by_note[note].append(sample.gt.name)
    found = [
        f"{len(names)} of {len(masks)} masks are {kind}: {first_of(names)}"
        for kind, names in sorted(by_kind.items())
    ]
    if found and sum(map(len, by_kind.values())) == len(masks):
        problem = f"{sod_set.root}: {', '.join(found)}; no mask shows an object"
        raise InputError(f"{problem}. Fix: restore the masks, or omit the set")
    lines = [f"WARNING: {sod_set.name}: {text}; inspect them" for text in found]
    lines += [
        f"{sod_set.name}: {counted(len(names), 'mask')}, e.g. {names[0]}: {note}"
        for note, names in by_note.items()
    ]
    return lines
