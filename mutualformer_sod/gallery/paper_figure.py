"""A grid of pictures for a paper: vector text, pictures at the resolution of print, PDF and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing

PAGE_WIDTH = 7.16  # inches: both columns of an IEEE page
_DPI = 300
_GAP = 0.03  # inches between tiles
_FONT_SIZE, _TITLE_HEIGHT = 7, 0.16  # points, inches
_MOST_HEIGHT = 200.0  # inches that a PDF page may have


def save_paper_figure(
    paths: Sequence[Path],
    rows: Sequence[Sequence[np.ndarray | None]],
    titles: Sequence[str],
    width: float = PAGE_WIDTH,
) -> None:
    """Draw pictures in rows and columns, and write them to files.

    All tiles are equally wide; a row is as high as its first picture asks for, and the others are
    brought to that size.

    Args:
        paths: ends in ".pdf" or ".png", each gets the same figure.
        rows: of each row one picture a column: (H, W, 3) uint8 RGB, (H, W) uint8 grey, (H, W) bool,
            or (H, W) float in [0, 1]; None leaves the tile empty.
        titles: of the columns, drawn above the first row.
        width: of the figure in inches.

    Raises:
        InputError: matplotlib is not installed; the figure would be higher than a PDF page can be.
    """
    check_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    tile = (width - _GAP * (len(titles) - 1)) / len(titles)
    heights = [tile * _aspect(row) for row in rows]
    total = _TITLE_HEIGHT + sum(heights) + _GAP * (len(rows) - 1)
    if total > _MOST_HEIGHT:
        raise InputError(f"a figure of {len(rows)} rows is too high for a page: choose fewer")
    figure = Figure(figsize=(width, total))
    top = total - _TITLE_HEIGHT
    for column, title in enumerate(titles):
        middle = column * (tile + _GAP) + tile / 2
        text = title.replace("$", r"\$")
        place = (middle / width, (top + 0.04) / total)
        figure.text(*place, text, ha="center", va="bottom", fontsize=_fitting(title, tile))
    for row, height in zip(rows, heights, strict=True):
        top -= height
        for column, picture in enumerate(row):
            if picture is None:
                continue
            left = column * (tile + _GAP)
            axes = figure.add_axes((left / width, top / total, tile / width, height / total))
            axes.imshow(_pixels(picture, tile, height), aspect="auto", interpolation="none")
            axes.set(xticks=[], yticks=[])  # the frame stays: much of a ground truth is white
            for side in axes.spines.values():
                side.set(linewidth=0.3, color="0.5")
        top -= _GAP
    # Text stays text (and not outlines of Type 3, which publishers refuse); no date, so that the
    # same figure is the same file.
    with matplotlib.rc_context({"pdf.fonttype": 42, "pdf.compression": 9}):
        for path in paths:
            metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
            with replacing(path) as temporary:
                figure.savefig(temporary, dpi=_DPI, metadata=metadata)


def check_matplotlib() -> None:
    """Refuse a figure before any work is done where matplotlib is not installed.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError(
            "a figure needs matplotlib: pip install 'mutualformer_sod[plot]', or leave out "
            "--figure, --worst, --best and --disagreement"
        ) from None


def _aspect(row: Sequence[np.ndarray | None]) -> float:
    """Height by width of the row's first picture."""
    first = next((picture for picture in row if picture is not None), None)
    return 1.0 if first is None else first.shape[0] / first.shape[1]


def _fitting(title: str, tile: float) -> float:
    """Font size at which a title is no wider than its tile; a letter is about half as wide."""
    return min(_FONT_SIZE, tile * 72 / (0.55 * max(1, len(title))))


def _pixels(picture: np.ndarray, width: float, height: float) -> np.ndarray:
    """(H, W, 3) uint8, with no more pixels than print can show."""
    if picture.dtype != np.uint8:
        picture = np.rint(picture.astype(np.float64) * 255).astype(np.uint8)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    size = max(1, round(width * _DPI)), max(1, round(height * _DPI))
    if size[0] < picture.shape[1] and size[1] < picture.shape[0]:
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return picture
