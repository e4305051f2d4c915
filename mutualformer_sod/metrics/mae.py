"""Mean absolute error (Perazzi et al., Saliency Filters, CVPR 2012)."""

from mutualformer_sod.metrics.pair import MapPair


def mae(pair: MapPair) -> float:
    """Return mean |p - g| over the pixels, in [0, 1]; smaller is better."""
    background, foreground = pair.histogram.by_class
    values = pair.histogram.values
    error = (background * values).sum() + (foreground * (1.0 - values)).sum()
    return float(error / pair.histogram.pixels)
