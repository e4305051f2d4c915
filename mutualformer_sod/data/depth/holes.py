"""Find and fill pixels without a value in depth maps, and sample maps."""

import cv2
import numpy as np

METRIC_INVALID = 65535  # some 16-bit cameras store this value for "no measurement"
_LARGEST = 1e30  # differences of larger float32 values may overflow; no real depth is this large


def find_holes(raw: np.ndarray, metric: bool, code: int | None = None) -> np.ndarray:
    """Return (H, W) bool, true where a raw depth map (H, W) has no value.

    NaN, infinity, absolute values of 1e30 or more, and ``code`` mean no value. In metric depth, 0,
    negative values and 65535 (16 bits) also mean no value. In relative depth 0 is valid.
    """
    missing = np.zeros(raw.shape, bool)
    if raw.dtype.kind == "f":
        missing = ~(np.abs(raw) < _LARGEST)  # true for NaN, too
    if metric:
        missing |= raw <= 0
        if raw.dtype == np.uint16:
            missing |= raw == METRIC_INVALID
    if code is not None:
        missing |= raw == code
    return missing


def sampled(depth: np.ndarray, side: int) -> np.ndarray:
    """Select evenly spaced rows and columns of a map (H, W), at most ``side`` of each.

    Pixels are never averaged, so that the sample of an inverted map is exactly the inverted sample.
    """
    scale = min(1.0, side / max(depth.shape))
    middles = []  # centres of equal parts of the rows, and of the columns
    for length in depth.shape:
        count = max(1, round(length * scale))
        middles.append((2 * np.arange(count) + 1) * length // (2 * count))
    return np.ascontiguousarray(depth[np.ix_(*middles)])


def fill_holes(values: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Fill each hole of ``values`` (H, W) float32 with the value of the nearest valid pixel."""
    if not holes.any() or holes.all():
        return values
    # Each valid pixel has its own label, which the holes nearest to it share.
    _, labels = cv2.distanceTransformWithLabels(
        holes.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(labels.max() + 1, values.dtype)
    by_label[labels[~holes]] = values[~holes]
    return by_label[labels]
