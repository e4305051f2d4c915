"""Compute the boundary IoU and the mean boundary accuracy.

Boundary IoU: Cheng et al., CVPR 2021. Mean boundary accuracy: Cheng et al. (CascadePSP), CVPR 2020.
"""

import cv2
import numpy as np

from mutualformer_sod.metrics.confusion import iou
from mutualformer_sod.metrics.ground_truth import GroundTruth, once
from mutualformer_sod.metrics.joint_histogram import LEVELS
from mutualformer_sod.metrics.pair import Counts, MapPair
from mutualformer_sod.metrics.registry import hidden_metric

_WIDTH = 0.02  # width of the boundary as a ratio of the image's diagonal
_STEPS = 5  # number of radii of the mean boundary accuracy
_SIDES_PER_RADIUS = 300  # radii are at most (H + W) / _SIDES_PER_RADIUS pixels, but at least 1


def boundary(image: np.ndarray) -> np.ndarray:
    """Return an 8-bit image minus its erosion, (H, W) uint8.

    For a mask, the result is a boundary inside the mask, with a width of 2 % of the image diagonal
    but at least 1 pixel. The outside of the image counts as background.
    """
    radius = max(1, round(_WIDTH * float(np.hypot(*image.shape))))
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return image - cv2.erode(image, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)


@once
def _gt_boundary(gt: GroundTruth) -> np.ndarray:
    return boundary(gt.bytes).view(np.bool_)


def boundary_iou(pair: MapPair) -> float:
    """Return the IoU in [0, 1] of the boundaries of the map at p > 0.5 and the ground truth.

    The IoU is 0 if both boundaries are empty.
    """
    marked, truth = boundary(pair.half_map).view(np.bool_), _gt_boundary(pair.gt)
    either = int(np.count_nonzero(marked | truth))
    return int(np.count_nonzero(marked & truth)) / either if either else 0.0


def boundary_iou_curve(pair: MapPair) -> np.ndarray:
    """Return the IoU of the boundaries at the thresholds 255..0 as in BiRefNet, (256,) float64.

    The boundary is computed from the grey map, before the thresholds are applied.
    """
    grey = boundary(pair.quantised_map)
    truth = _gt_boundary(pair.gt)
    by_class = [np.bincount(grey[chosen], minlength=LEVELS) for chosen in (~truth, truth)]
    return iou(Counts.of_thresholds(np.stack(by_class)))


@once
def _bands(gt: GroundTruth) -> list[tuple[np.ndarray, int]]:
    """Return (flat indices, number of equal radii) of each band along the edge of the object."""
    height, width = gt.shape
    reach = (width + height) / _SIDES_PER_RADIUS - 1
    radii = [1 + int(reach / _STEPS * step) for step in range(_STEPS)]
    bands = []
    for radius in dict.fromkeys(radii):
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        band = np.flatnonzero(cv2.morphologyEx(gt.bytes, cv2.MORPH_GRADIENT, disc))
        bands.append((band, radii.count(radius)))
    return bands


def mean_boundary_accuracy(pair: MapPair) -> float:
    """Return the accuracy in [0, 1] of the map at p > 0.5 near the edge, averaged over five bands.

    The accuracy is 1 for a ground truth without an edge, where the original code divides by zero.
    """
    correct = pair.half_map.ravel() == pair.gt.bytes.ravel()
    total = 0.0
    for band, uses in _bands(pair.gt):  # sum() rounds differently in Python 3.12
        total += uses * (float(correct[band].mean()) if band.size else 1.0)
    return total / _STEPS


_BIOU = "BIoU", r"\mathrm{BIoU}"
METRICS = (
    hidden_metric("boundary_iou", *_BIOU, boundary_iou),
    hidden_metric("mba", "MBA", r"\mathrm{MBA}", mean_boundary_accuracy),
    hidden_metric(
        "boundary_iou_curve", *_BIOU, boundary_iou_curve, "map_curve", score="boundary_iou"
    ),
)
