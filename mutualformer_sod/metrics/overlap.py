"""Overlap of the map binarised at one half: IoU, Dice and balanced error rate."""

from __future__ import annotations


def overlap(
    true_positive: int, false_positive: int, area: int, pixels: int
) -> tuple[float, float, float]:
    """Return IoU, Dice and BER, each in [0, 1]; a ratio without a denominator counts as 0.

    BER = 1 - (TPR + TNR) / 2 (Hou et al., Distraction-aware shadow detection): smaller is better.

    Args:
        true_positive: foreground pixels with p > 0.5.
        false_positive: background pixels with p > 0.5.
        area: foreground pixels of the ground truth.
        pixels: pixels of the image.
    """
    union = area + false_positive
    background = pixels - area
    iou = true_positive / union if union else 0.0
    marked_and_area = true_positive + false_positive + area
    dice = 2.0 * true_positive / marked_and_area if marked_and_area else 0.0
    sensitivity = true_positive / area if area else 0.0
    specificity = (background - false_positive) / background if background else 0.0
    return iou, dice, 1.0 - 0.5 * (sensitivity + specificity)
