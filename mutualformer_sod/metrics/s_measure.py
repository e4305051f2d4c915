"""Structure measure (Fan et al., Structure-measure, ICCV 2017), from the joint histogram."""

import numpy as np

from mutualformer_sod.metrics.pair import MapPair

EPS = float(np.spacing(1.0))
EMPTY_QUADRANT = "empty_quadrant"
CONSTANT_QUADRANT = "constant_quadrant"


def s_measure(pair: MapPair) -> float:
    """Return S = max(0, alpha So + (1 - alpha) Sr) in [0, 1] with alpha = 0.5.

    S is 1 - mean p for a ground truth without foreground, and mean p without background. The flags
    of the pair name two cases in which the reference returns no usable value:

    - ``empty_quadrant``: the centroid is on the last row or column, or the image is one pixel
      high or wide. The reference returns NaN; this function uses weight 0 for the empty quadrant.
    - ``constant_quadrant``: map and ground truth are both constant in a quadrant, and the map is
      neither 0 nor 1. The reference returns 1 or 0, depending on the rounding of the mean; this
      function uses the exact value 1.
    """
    histogram = pair.histogram
    background, foreground = histogram.by_class
    values, pixels, area = histogram.values, histogram.pixels, pair.gt.foreground
    if area in (0, pixels):
        mean = float(((background + foreground) * values).sum() / pixels)
        return mean if area else 1.0 - mean
    ratio = area / pixels
    on_object = ratio * _object_score(values, foreground)
    on_object += (1.0 - ratio) * _object_score(1.0 - values, background)
    return max(0.0, 0.5 * on_object + 0.5 * _region_score(pair))


def _object_score(values: np.ndarray, counts: np.ndarray) -> float:
    """Return O = 2 m / (m^2 + 1 + sigma + eps) for the sample mean m and deviation sigma."""
    number = int(counts.sum())
    mean = float((counts * values).sum() / number)
    sigma = 0.0
    if number > 1:
        sigma = float(np.sqrt((counts * (values - mean) ** 2).sum() / (number - 1)))
    return 2.0 * mean / (mean**2 + 1.0 + sigma + EPS)


def _region_score(pair: MapPair) -> float:
    """Return the mean similarity of the four quadrants, weighted by area, and flag the pair."""
    histogram, (row, column), (height, width) = pair.histogram, pair.gt.split, pair.gt.shape
    areas = row * column, row * (width - column), (height - row) * column
    weights = [area / histogram.pixels for area in areas]
    weights.append(1.0 - weights[0] - weights[1] - weights[2])
    total, flags = 0.0, []
    for counts, weight in zip(histogram.counts, weights, strict=True):
        if not counts.any():
            flags.append(EMPTY_QUADRANT)
            continue
        score, degenerate = _similarity(histogram.values, counts)
        total += weight * score
        if degenerate:
            flags.append(CONSTANT_QUADRANT)
    pair.flags += [flag for flag in dict.fromkeys(flags) if flag not in pair.flags]
    return total


def _similarity(values: np.ndarray, counts: np.ndarray) -> tuple[float, bool]:
    """Return 4 x y sxy / ((x^2 + y^2)(sx + sy)) of a quadrant, and whether a flag is needed."""
    both = counts.sum(axis=0)
    number, area = int(both.sum()), int(counts[1].sum())
    used = np.flatnonzero(both)
    if used.size == 1 and area in (0, number):
        return 1.0, number > 2 and 0.0 < values[used[0]] < 1.0
    x = float((both * values).sum() / number)
    y = area / number
    free = number - 1 + EPS
    sigma_x = float((both * (values - x) ** 2).sum()) / free
    sigma_y = (area * (1.0 - y) ** 2 + (number - area) * y**2) / free
    away = values - x
    sigma_xy = float(((counts[1] * (1.0 - y) - counts[0] * y) * away).sum()) / free
    numerator = 4.0 * x * y * sigma_xy
    denominator = (x**2 + y**2) * (sigma_x + sigma_y)
    if numerator == denominator == 0.0:
        return 1.0, False
    return numerator / (denominator + EPS), False
