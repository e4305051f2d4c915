"""The files of one sample of a data set, and functions that read them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.data.modality import DEPTH, Modality
from mutualformer_sod.imaging.io import check_size, read_gt, read_rgb


@dataclass(frozen=True)
class Sample:
    """The files of one sample, each None if the set has no folder for such files."""

    stem: str  # stem of the RGB file, or of the ground truth if there is no RGB file
    rgb: Path | None
    depth: Path | None
    gt: Path | None
    modality: Modality = DEPTH  # modality of the file ``depth``


def read_sample(sample: Sample) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Read the files of one sample.

    A map is resized by the rule of its modality to the size of the colour image, or of the ground
    truth if there is no colour image. A ground truth that differs in size from the colour image is
    refused, because scores would depend on the method of resizing.

    Returns:
        rgb (H, W, 3) uint8, depth (H, W) as stored, and gt (H, W) bool. A missing part is None.

    Raises:
        InputError: an error of `imaging.io`, or ground truth and colour image differ in size.
    """
    rgb = read_rgb(sample.rgb) if sample.rgb is not None else None
    depth = sample.modality.read(sample.depth) if sample.depth is not None else None
    gt = read_gt(sample.gt) if sample.gt is not None else None
    if rgb is not None and gt is not None:
        check_size(sample.gt, gt.shape, sample.rgb, rgb.shape[:2])
    image = gt if rgb is None else rgb
    if depth is not None and image is not None and depth.shape != image.shape[:2]:
        height, width = image.shape[:2]
        depth = cv2.resize(depth, (width, height), interpolation=sample.modality.interpolation)
    return rgb, depth, gt


def shrink(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an image (H, W) or (H, W, 3) to the size (height, width) by area average."""
    if plane.shape[:2] == (height, width):
        return plane
    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
