"""One sample of a data set: its files, and reading them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.imaging.io import check_size, read_depth, read_gt, read_rgb


@dataclass(frozen=True)
class Sample:
    """The files of one image; None where the set has no folder of that kind.

    Attributes:
        stem: of the RGB file, or of the ground truth where there is no RGB.
        thermal: whether ``depth`` is a thermal image, which takes its place.
    """

    stem: str
    rgb: Path | None
    depth: Path | None
    gt: Path | None
    thermal: bool = False


def read_sample(
    sample: Sample,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Read the files of one image.

    Depth of another size than the colour image is resized to it by nearest neighbour: any
    interpolation would invent depths between an object and what lies behind it, and across holes.
    A ground truth of another size is refused, since scores would depend on how it is resized.

    Returns:
        rgb (H, W, 3) uint8, depth (H, W) as stored, gt (H, W) bool; None for what is not there.

    Raises:
        InputError: as the readers of the parts; ground truth and colour image differ in size.
    """
    rgb = read_rgb(sample.rgb) if sample.rgb is not None else None
    depth = read_depth(sample.depth, sample.thermal) if sample.depth is not None else None
    gt = read_gt(sample.gt) if sample.gt is not None else None
    size = next((part.shape[:2] for part in (rgb, gt) if part is not None), None)
    if rgb is not None and gt is not None:
        check_size(sample.gt, gt.shape, sample.rgb, rgb.shape[:2])
    if depth is not None and size is not None and depth.shape != size:
        depth = cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return rgb, depth, gt
