"""Human correction effort (Qin et al., Highly Accurate Dichotomous Image Segmentation, ECCV 2022).

The effort is the number of points that a person sets to correct a mask. Errors at most 5 pixels
thick along the edge of the object are tolerated; lost parts of the skeleton are not tolerated.
"""

import cv2
import numpy as np

from mutualformer_sod.metrics.ground_truth import GroundTruth, bounding_window, once
from mutualformer_sod.metrics.pair import MapPair
from mutualformer_sod.metrics.registry import hidden_metric
from mutualformer_sod.metrics.skeleton import skeleton

_RELAX = 5  # pixels of tolerance
_EPSILON = 2.0  # largest distance in pixels between a boundary and its polygon
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
_BIREFNET_LEVEL = 128  # maps are binarised above this level, without stretching


def correction_effort(pair: MapPair) -> float:
    """Return the effort in points, 0 or more, of the map at p > 0.5; smaller is better."""
    return _effort(pair.half_map, pair.gt)


def correction_effort_birefnet(pair: MapPair) -> float:
    """Return the effort of the map at an 8-bit level > 128, as in BiRefNet's evaluation.

    BiRefNet does not stretch maps to their own minimum and maximum.
    """
    return _effort((pair.levels > _BIREFNET_LEVEL).view(np.uint8), pair.gt)


@once
def _skeleton(gt: GroundTruth) -> np.ndarray:
    return skeleton(gt.mask)


def _effort(marked: np.ndarray, truth: GroundTruth) -> float:
    """Return the effort in points of a binary map, (H, W) uint8 of 0 and 1."""
    union = marked | truth.bytes
    if not union.any():
        return 0.0
    window = bounding_window(union, (_RELAX + 2, _RELAX + 2))
    gt = np.ascontiguousarray(truth.bytes[window])
    pred = np.ascontiguousarray(marked[window])
    hit = gt & pred
    core = cv2.erode(gt | pred, _CROSS, iterations=_RELAX)
    extra = _relaxed(pred ^ hit, core, 1 - gt)
    lost = _relaxed(gt ^ hit, core, 1 - pred)
    lost |= _skeleton(truth).view(np.uint8)[window] & (1 - hit)
    return float(_points(extra, hit | lost) + _points(lost, 1 - (hit | extra | lost)))


def _relaxed(error: np.ndarray, core: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return the error pixels that ``core`` errors reach in `_RELAX` steps over ``free`` pixels."""
    grown = error & core
    for _ in range(_RELAX):
        grown = cv2.dilate(grown, _CROSS) & free
    return grown & error


def _points(region: np.ndarray, beside: np.ndarray) -> int:
    """Count corners of a region's edge next to ``beside``, and parts without such an edge."""
    contours, _ = cv2.findContours(region, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return 0
    near = cv2.dilate(beside, _CROSS)
    points = np.concatenate(contours).reshape(-1, 2)
    columns, rows = points.T
    candidates = np.flatnonzero(near[rows, columns])
    # A pixel that occurs several times in the contours is drawn once, at its first occurrence.
    _, first = np.unique((rows * region.shape[1] + columns)[candidates], return_index=True)
    drawn = np.zeros(len(points), np.bool_)
    drawn[candidates[first]] = True
    parts, labels = cv2.connectedComponents(region, connectivity=8)
    touched = np.unique(labels[rows[drawn], columns[drawn]])
    separate = parts - 1 - np.count_nonzero(touched)
    ends = np.cumsum([len(contour) for contour in contours])
    corners = sum(
        len(cv2.approxPolyDP(run[:, None], _EPSILON, False))
        for start, end in zip((0, *ends), ends, strict=False)
        for run in _runs(points[start:end], drawn[start:end])
    )
    return corners + separate


def _runs(points: np.ndarray, drawn: np.ndarray) -> list[np.ndarray]:
    """Cut a closed contour into its runs of drawn points, each (M, 2)."""
    steps = np.diff(drawn.astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    runs = [points[start:stop] for start, stop in zip(starts, stops, strict=True)]
    if len(runs) > 1 and np.abs(runs[0][0] - runs[-1][-1]).max() == 1:
        # The reference appends the first run backwards.
        runs[-1] = np.concatenate((runs[-1], runs[0][::-1]))
        del runs[0]
    return runs


_BIREFNET = "hce_birefnet", "HCE(128)", r"\mathrm{HCE}_{128}", correction_effort_birefnet
METRICS = (
    hidden_metric("hce", "HCE", r"\mathrm{HCE}", correction_effort, larger_is_better=False),
    hidden_metric(*_BIREFNET, larger_is_better=False),
)
