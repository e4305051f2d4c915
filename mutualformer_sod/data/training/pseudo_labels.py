"""Make a training set from images without ground truth, with confident saliency maps as labels."""

import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing
from mutualformer_sod.imaging.io import image_size, read_saliency, write_map

_SUFFIXES = (".png", ".npy", ".tif", ".tiff")  # suffixes of maps; the first existing file is read
_CERTAINTY = 0.9  # minimum mean of |2 p - 1| over the pixels of a confident map
_FOREGROUND = 0.85  # minimum mean of p over the pixels with p >= 0.5
_AREA = (0.005, 0.6)  # minimum and maximum ratio of pixels with p >= 0.5


def is_confident(saliency: np.ndarray) -> bool:
    """Return whether a saliency map (H, W) float in [0, 1] is close to a mask with an object."""
    inside = saliency >= 0.5
    if not _AREA[0] <= inside.mean() <= _AREA[1]:
        return False
    certain = np.abs(2 * saliency - 1).mean() >= _CERTAINTY
    return bool(certain and saliency[inside].mean() >= _FOREGROUND)


def label_set(sod_set: SodSet, maps: Path, output: Path) -> int:
    """Write ``OUTPUT/{RGB,depth,GT}`` with the images whose saliency maps are confident.

    Maps of a second modality other than depth are copied to the folder of this modality, such as T
    for thermal images. A label is 1 where the saliency map is at least 0.5, else 0. Existing files
    are not written again, so that an interrupted run continues. ``maps`` is the folder of the
    saliency maps STEM.png, .npy, .tif or .tiff, each with the size of its image. The ground truth
    of the set is ignored.

    Returns:
        Number of images in the new set.

    Raises:
        InputError: a saliency map is missing or unreadable, or differs in size from its image.
    """
    taken = 0
    for sample in tqdm(sod_set.samples, sod_set.name, leave=False, disable=None):
        candidates = [maps / f"{sample.stem}{suffix}" for suffix in _SUFFIXES]
        source = next((path for path in candidates if path.is_file()), candidates[0])
        if not source.is_file():
            raise InputError(
                f"{source}: no such map. Fix: predict maps of all images of {sod_set.name} with "
                "tools/test.py, and pass the folder of these maps with --maps."
            )
        saliency = read_saliency(source)
        size = image_size(sample.rgb)
        if saliency.shape != size:
            raise InputError(
                f"{source}: {saliency.shape[1]} x {saliency.shape[0]} pixels, but {sample.rgb} "
                f"has {size[1]} x {size[0]}. Fix: write the maps at the size of the images."
            )
        if not is_confident(saliency / 255):
            continue
        taken += 1
        for role, file in (("RGB", sample.rgb), (sample.modality.folder, sample.depth)):
            if file is not None and not (target := output / role / file.name).exists():
                with replacing(target) as temporary:
                    shutil.copyfile(file, temporary)
        label = output / "GT" / f"{sample.stem}.png"
        if not label.exists():
            write_map(label, (saliency >= 128).astype(np.float32))
    return taken
