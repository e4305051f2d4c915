"""Pixels of a depth map that have no value: where they are, and what they are given."""

from __future__ import annotations

import cv2
import numpy as np

METRIC_INVALID = 65535
"""What some cameras store in 16 bits for "no measurement"."""

_LARGEST = 1e30  # beyond, differences of float32 overflow; no depth is stored so


def find_holes(raw: np.ndarray, metric: bool, code: int | None = None) -> np.ndarray:
    """Where a depth map as stored has no value; (H, W) bool.

    NaN, infinity and the like (1e30 and beyond); in metric depth also 0, what is negative, and
    65535 of 16 bits; and what equals ``code``. In maps of codes 0 is a value like any other.
    """
    missing = np.zeros(raw.shape, bool)
    if raw.dtype.kind == "f":
        missing = ~(np.abs(raw) < _LARGEST)  # in this form NaN is missing too
    if metric:
        missing |= raw <= 0
        if raw.dtype == np.uint16:
            missing |= raw == METRIC_INVALID
    if code is not None:
        missing |= raw == code
    return missing


def fill_holes(values: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Give each hole the value of the nearest pixel that is none; (H, W) float32 both ways."""
    if not holes.any() or holes.all():
        return values
    # Each pixel with a value gets a label of its own, which the holes around it share.
    _, labels = cv2.distanceTransformWithLabels(
        holes.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(labels.max() + 1, values.dtype)
    by_label[labels[~holes]] = values[~holes]
    return by_label[labels]
