"""Make a training set from images without ground truth and confident maps of a network."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing
from mutualformer_sod.imaging.io import image_size
from mutualformer_sod.imaging.saliency import read_saliency, write_map


@dataclass(frozen=True)
class Confidence:
    """Criteria of confident maps.

    Attributes:
        certainty: least mean of |2 p - 1| over the pixels.
        foreground: least mean of p over the pixels with p >= 0.5.
        area: least and largest ratio of pixels with p >= 0.5.
    """

    certainty: float = 0.9
    foreground: float = 0.85
    area: tuple[float, float] = (0.005, 0.6)

    def accepts(self, saliency: np.ndarray) -> bool:
        """Whether a map (H, W) float in [0, 1] is confident."""
        inside = saliency >= 0.5
        if not self.area[0] <= inside.mean() <= self.area[1]:
            return False
        certain = np.abs(2 * saliency - 1).mean() >= self.certainty
        return bool(certain and saliency[inside].mean() >= self.foreground)


def label_set(
    sod_set: SodSet, maps: Path, output: Path, confidence: Confidence | None = None
) -> int:
    """Write ``OUTPUT/{RGB,depth,GT}`` with the images whose maps are confident.

    A label is 1 where the map is 0.5 or more, else 0. Existing files are kept, so that an
    interrupted run continues.

    Args:
        sod_set: images with or without depth; ground truth is ignored.
        maps: folder of the maps of the set, STEM.png, at the size of the images.
        output: folder of the new set.
        confidence: criteria of the maps.

    Returns:
        Number of images in the new set.

    Raises:
        InputError: a map is missing, unreadable or of another size.
    """
    confidence = confidence or Confidence()
    taken = 0
    for sample in tqdm(sod_set.samples, sod_set.name, leave=False, disable=None):
        source = maps / f"{sample.stem}.png"
        if not source.is_file():
            raise InputError(
                f"{source}: no such map. Fix: make maps of all images of {sod_set.name} with "
                "tools/test.py, and pass their folder with --maps."
            )
        saliency = read_saliency(source)
        size = image_size(sample.rgb)
        if saliency.shape != size:
            raise InputError(
                f"{source}: {saliency.shape[1]} x {saliency.shape[0]} pixels, but {sample.rgb} "
                f"has {size[1]} x {size[0]}. Fix: make the maps at the size of the images."
            )
        if not confidence.accepts(saliency / 255):
            continue
        taken += 1
        for role, file in (("RGB", sample.rgb), ("depth", sample.depth)):
            if file is not None:
                _copy(file, output / role / file.name)
        label = output / "GT" / f"{sample.stem}.png"
        if not label.exists():
            write_map(label, (saliency >= 128).astype(np.float32))
    return taken


def _copy(source: Path, target: Path) -> None:
    if target.exists():
        return
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
