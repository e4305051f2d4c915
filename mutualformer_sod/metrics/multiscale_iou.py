"""Multi-scale IoU for fine structures (Ahmadzadeh et al., Multiscale IOU, ICIP 2021).

For each cell size 1, 2, 4, ..., 512, compute the ratio of the ground truth's edge cells that also
contain an edge of the map. The score is the area under the curve of the ratios.
"""

import cv2
import numpy as np

from mutualformer_sod.metrics.ground_truth import GroundTruth, once
from mutualformer_sod.metrics.joint_histogram import LEVELS
from mutualformer_sod.metrics.pair import MapPair
from mutualformer_sod.metrics.registry import hidden_metric

_SCALES = 10


def edges(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask at which a Sobel derivative is not 0, (H, W) bool.

    The mask is (H, W) uint8 of 0 and 1. The outside of the image counts as 0.
    """
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    in_rows = padded[:-2] + padded[2:] + 2 * padded[1:-1]
    in_columns = padded[:, :-2] + padded[:, 2:] + 2 * padded[:, 1:-1]
    return (in_rows[:, 2:] != in_rows[:, :-2]) | (in_columns[2:] != in_columns[:-2])


def _pyramid(edge: np.ndarray) -> list[np.ndarray]:
    """Return the edge cells of each size, bool, aligned at the bottom right of the image."""
    levels = [edge]
    for _ in range(_SCALES - 1):
        height, width = edge.shape
        if height % 2 or width % 2:
            edge = np.pad(edge, ((height % 2, 0), (width % 2, 0)))
        rows = edge[::2] | edge[1::2]
        edge = rows.view(np.uint16) != 0
        levels.append(edge)
    return levels


@once
def _gt_cells(gt: GroundTruth) -> tuple[list[np.ndarray], list[float]]:
    """Return the edge cells of each size as flat indices, and the denominators of the ratios."""
    cells = [np.flatnonzero(level) for level in _pyramid(edges(gt.bytes))]
    # The reference adds up in half precision: counts above 2048 are rounded, so that a score can
    # exceed 1 by 5e-4. From 65520 cells on, the denominator is infinite.
    with np.errstate(over="ignore"):
        return cells, [float(np.float16(c.size) + np.float16(1)) for c in cells]


def _area(marked: np.ndarray, gt: GroundTruth) -> float:
    """Return the multi-scale IoU, from 0 to 1 + 5e-4, of a binary map, (H, W) uint8 of 0 and 1."""
    cells, denominators = _gt_cells(gt)
    levels = _pyramid(edges(marked))
    ratios = [
        (np.count_nonzero(level.ravel()[cell]) + 1) / denominator
        for level, cell, denominator in zip(levels, cells, denominators, strict=True)
    ]
    return float((sum(ratios) - (ratios[0] + ratios[-1]) / 2) / (_SCALES - 1))


def multiscale_iou(pair: MapPair) -> float:
    """Return the multi-scale IoU, from 0 to 1 + 5e-4, of the map at p > 0.5."""
    return _area(pair.half_map, pair.gt)


def adaptive_multiscale_iou(pair: MapPair) -> float:
    """Return the multi-scale IoU, from 0 to 1 + 5e-4, of the map at the adaptive threshold."""
    return _area(pair.binary(pair.histogram.values >= pair.adaptive_threshold), pair.gt)


def multiscale_iou_curve(pair: MapPair) -> np.ndarray:
    """Return the multi-scale IoU at the thresholds 256..0, (257,) float64."""
    levels = pair.quantised_map
    present = np.bincount(levels.ravel(), minlength=LEVELS) > 0
    curve = [_area(np.zeros_like(levels), pair.gt)]
    for threshold in range(LEVELS - 1, -1, -1):
        if present[threshold]:  # otherwise the binary map does not change
            curve.append(_area((levels >= threshold).view(np.uint8), pair.gt))
        else:
            curve.append(curve[-1])
    curve[-1] = _area(np.ones_like(levels), pair.gt)
    return np.array(curve)


_TEXT = r"\mathrm{MSIoU}"
_CURVE = "msiou_curve", "MSIoU", _TEXT, multiscale_iou_curve, "map_curve"
METRICS = (
    hidden_metric("msiou", "MSIoU", _TEXT, multiscale_iou),
    hidden_metric(
        "adaptive_msiou", "adpMSIoU", _TEXT + r"^{\mathrm{adp}}", adaptive_multiscale_iou
    ),
)
CURVES = (hidden_metric(*_CURVE, score="msiou"),)
