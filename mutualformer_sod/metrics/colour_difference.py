"""CIEDE2000 colour difference of sRGB (Sharma et al., Color Research and Application, 2005)."""

import numpy as np

_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65, 2-degree standard observer
_CHROMA_25_7 = 25.0**7


def lab(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB, (N, 3) uint8, to CIE Lab, (N, 3) float64."""
    values = rgb / 255.0
    linear = np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    ratios = linear @ _TO_XYZ.T / _WHITE
    x, y, z = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16.0 / 116.0).T
    return np.stack((116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)), axis=1)


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the CIEDE2000 differences (N,), float64 and 0 or more, of two arrays of Lab (N, 3)."""
    (l1, a1, b1), (l2, a2, b2) = first.T, second.T
    mean_chroma_7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2.0) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(mean_chroma_7 / (mean_chroma_7 + _CHROMA_25_7))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.arctan2(b, a) % (2.0 * np.pi) for a, b in ((a1, b1), (a2, b2)))
    turn = h2 - h1
    around = np.where(turn > np.pi, -2.0 * np.pi, np.where(turn < -np.pi, 2.0 * np.pi, 0.0))
    colourless = c1 * c2 == 0
    turn = np.where(colourless, 0.0, turn + around)
    hue = h1 + h2
    far = np.abs(h1 - h2) > np.pi
    hue = hue + np.where(far & (hue < 2.0 * np.pi), 2.0 * np.pi, 0.0)
    hue = np.where(far & (h1 + h2 >= 2.0 * np.pi), hue - 2.0 * np.pi, hue) / 2.0
    hue = np.where(colourless, h1 + h2, hue)
    # Combine the differences of lightness, chroma and hue, each divided by its tolerance.
    chroma = (c1 + c2) / 2.0
    offset = ((l1 + l2) / 2.0 - 50.0) ** 2
    lightness_difference = (l2 - l1) / (1.0 + 0.015 * offset / np.sqrt(20.0 + offset))
    chroma_difference = (c2 - c1) / (1.0 + 0.045 * chroma)
    hue_weight = (
        1.0
        - 0.17 * np.cos(hue - np.radians(30.0))
        + 0.24 * np.cos(2.0 * hue)
        + 0.32 * np.cos(3.0 * hue + np.radians(6.0))
        - 0.20 * np.cos(4.0 * hue - np.radians(63.0))
    )
    hue_difference = 2.0 * np.sqrt(c1 * c2) * np.sin(turn / 2.0)
    hue_difference = hue_difference / (1.0 + 0.015 * chroma * hue_weight)
    angle = np.radians(30.0) * np.exp(-(((np.degrees(hue) - 275.0) / 25.0) ** 2))
    rotation = -np.sin(2.0 * angle) * 2.0 * np.sqrt(chroma**7 / (chroma**7 + _CHROMA_25_7))
    total = (
        lightness_difference**2
        + chroma_difference**2
        + hue_difference**2
        + rotation * chroma_difference * hue_difference
    )
    return np.sqrt(np.maximum(total, 0.0))
