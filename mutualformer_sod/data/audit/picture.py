"""Draw the images, depth maps and evidence of a polarity decision."""

import cv2
import numpy as np

from mutualformer_sod.data.audit.check import CheckedSet
from mutualformer_sod.data.audit.inspection import Inspected
from mutualformer_sod.data.depth.encoding import WEAK_MARGIN, DepthEncoding
from mutualformer_sod.data.sample import shrink
from mutualformer_sod.errors import counted
from mutualformer_sod.imaging.io import read_rgb

_IMAGES = 6  # maximum number of images
_HEIGHT = 130  # height of a tile in pixels
_WIDEST = 240
_GAP = 4
_TEXT = 18  # height of a line of text in pixels
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _PALE, _GOOD, _BAD = (30, 30, 30), (205, 205, 205), (40, 140, 60), (200, 60, 40)


def polarity_picture(checked: CheckedSet) -> np.ndarray:
    """Draw the colour, the depth and the polarity evidence of some images of a set.

    The depth is drawn in the decided polarity, near = bright. The images cover the range of
    evidence, beginning with the strongest evidence against the decision. Below each image, a curve
    shows the mean nearness of the image rows (right = nearer), and a number shows the evidence. A
    histogram shows the evidence of all images. The result is (H, W, 3) uint8, RGB.
    """
    report = checked.depth
    sign = 1 if report.encoding.near == "white" else -1
    scores = sign * report.evidence.scores
    order = np.argsort(scores, kind="stable")
    picked = order[np.unique(np.linspace(0, len(order) - 1, _IMAGES).astype(int))]
    columns = [_column(report.images[k], scores[k], report.encoding) for k in picked]
    columns.append(_histogram(scores, columns[0].shape[0]))
    body = np.hstack(columns)
    lines = _wrapped(f"{checked.label}: {report.encoding.describe()}", body.shape[1])
    head = _blank(len(lines) * _TEXT + 6, body.shape[1])
    for number, line in enumerate(lines):
        _write(head, line, (4, (number + 1) * _TEXT - 4))
    return np.vstack([head, body])


def _column(image: Inspected, score: float, encoding: DepthEncoding) -> np.ndarray:
    modality = image.sample.modality
    near = modality.to_unit(modality.read(image.sample.depth), encoding, "percentile")
    width = min(_WIDEST, max(60, round(near.shape[1] * _HEIGHT / near.shape[0])))
    grey = shrink(np.rint(near * 255).astype(np.uint8), _HEIGHT, width)
    tile = np.repeat(grey[..., None], 3, axis=2)
    has_rgb = "rgb" in image.sizes
    rgb = shrink(read_rgb(image.sample.rgb), _HEIGHT, width) if has_rgb else _blank(_HEIGHT, width)
    label = _blank(_TEXT, width)
    name = image.sample.stem[: width // 13]
    _write(label, f"{name} {score:+.2f}", (2, _TEXT - 5), _GOOD if score > 0 else _BAD)
    column = np.vstack([rgb, _blank(_GAP, width), tile, _profile(near, width), label])
    return np.hstack([column, _blank(column.shape[0], _GAP)])


def _profile(near: np.ndarray, width: int) -> np.ndarray:
    """Draw the mean nearness of the rows as a curve, right = nearer."""
    panel = _blank(_HEIGHT, width)
    cv2.rectangle(panel, (0, 4), (width - 1, _HEIGHT - 1), _PALE, 1)
    rows = np.sort(near, axis=None).searchsorted(near.ravel()).reshape(near.shape) / near.size
    means = rows.mean(axis=1)
    x = np.clip(means * (width - 9) + 4, 0, width - 1)
    y = np.linspace(8, _HEIGHT - 5, len(means))
    points = np.stack([x, y], axis=1).round().astype(np.int32)
    cv2.polylines(panel, [points], False, _INK, 1, cv2.LINE_AA)
    return panel


def _histogram(scores: np.ndarray, height: int) -> np.ndarray:
    """Draw a histogram of all images' evidence for the decided polarity, with bins of 0.1."""
    width = 200
    panel = _blank(height, width)
    counts, _ = np.histogram(np.clip(scores, -1.49, 1.49), bins=30, range=(-1.5, 1.5))
    floor, top = height - 2 * _TEXT, 2 * _TEXT
    step = (width - 20) / 30
    for number in np.flatnonzero(counts):
        left = round(10 + number * step)
        right = round(10 + (number + 1) * step) - 1
        tall = round((floor - top) * counts[number] / counts.max())
        colour = _GOOD if number >= 15 else _BAD
        cv2.rectangle(panel, (left, floor - tall), (right, floor), colour, cv2.FILLED)
    cv2.line(panel, (10, floor), (width - 10, floor), _INK, 1)
    for value in (-WEAK_MARGIN, WEAK_MARGIN):
        x = round(10 + (value + 1.5) * 10 * step)
        cv2.line(panel, (x, top), (x, floor), _PALE, 1)
    for value in (-1, 0, 1):
        x = round(10 + (value + 1.5) * 10 * step)
        _write(panel, f"{value:+d}" if value else "0", (x - 8, floor + 15))
    _write(panel, f"evidence of {counted(len(scores), 'image')}", (8, _TEXT - 4))
    _write(panel, "against      for", (width // 2 - 62, height - 5))
    return panel


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def _write(
    panel: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int] = _INK
) -> None:
    text = text.encode("ascii", "replace").decode()  # the font has only ASCII characters
    cv2.putText(panel, text, at, _FONT, 0.4, colour, 1, cv2.LINE_AA)


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of at most ``width`` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if cv2.getTextSize(longer, _FONT, 0.4, 1)[0][0] > width - 8 and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
