"""Arrange pictures in a grid under column titles, as an array, or as PDF and PNG for a paper."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.files import replacing
from mutualformer_sod.gallery.pictures import to_rgb
from mutualformer_sod.report.curves import check_matplotlib, without_mathematics

MARGIN = 4  # pixels between tiles
TITLE_HEIGHT = 24
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# The figure of a paper.
_WIDTH = 7.16  # inches; both columns of an IEEE page
_DPI = 300
_GAP = 0.03  # inches between tiles
_FONT_SIZE, _TITLE_HEIGHT = 7, 0.16  # points, inches
_MOST_HEIGHT = 200.0  # inches; the limit of a PDF page


def picture_grid(
    rows: Sequence[Sequence[np.ndarray | None]], titles: Sequence[str], tile_height: int = 160
) -> np.ndarray:
    """Arrange pictures in rows and columns on a white image, (H, W, 3) uint8, RGB.

    A picture is (H, W, 3) uint8 RGB, (H, W) uint8 or bool, or (H, W) float in [0, 1]; None leaves
    the tile empty. Tiles are ``tile_height`` pixels high; a column is as wide as its widest tile.
    """
    tiles = [[_tile(picture, tile_height) for picture in row] for row in rows]
    widths = [max(row[column].shape[1] for row in tiles) for column in range(len(titles))]
    lefts = np.cumsum([MARGIN, *(width + MARGIN for width in widths)])
    height = TITLE_HEIGHT + len(tiles) * (tile_height + MARGIN)
    grid = np.full((height, int(lefts[-1]), 3), 255, np.uint8)
    for left, width, title in zip(lefts, widths, titles, strict=False):
        text_width = cv2.getTextSize(title, _FONT, 0.5, 1)[0][0]
        origin = (int(left) + max(0, (width - text_width) // 2), TITLE_HEIGHT - 8)
        cv2.putText(grid, title, origin, _FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    for number, row in enumerate(tiles):
        top = TITLE_HEIGHT + number * (tile_height + MARGIN)
        for left, width, tile in zip(lefts, widths, row, strict=False):
            start = int(left) + (width - tile.shape[1]) // 2
            grid[top : top + tile_height, start : start + tile.shape[1]] = tile
    return grid


def _tile(picture: np.ndarray | None, height: int) -> np.ndarray:
    if picture is None:
        return np.full((height, 1, 3), 255, np.uint8)
    picture = to_rgb(picture)
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def save_paper_figure(
    paths: Sequence[Path], rows: Sequence[Sequence[np.ndarray | None]], titles: Sequence[str]
) -> None:
    """Draw pictures with vector text and print resolution, and write the figure to each path.

    All tiles have the same width. The first picture of a row determines the height of the row. The
    other pictures of the row are stretched to fill their tiles.

    Args:
        paths: files that end in ".pdf" or ".png".
        rows: one picture for each column, as in `picture_grid`.

    Raises:
        InputError: matplotlib is not installed, or the figure exceeds the page height of PDF.
    """
    check_matplotlib("a figure")
    import matplotlib
    from matplotlib.figure import Figure

    tile = (_WIDTH - _GAP * (len(titles) - 1)) / len(titles)
    heights = [tile * _aspect(row) for row in rows]
    total = _TITLE_HEIGHT + sum(heights) + _GAP * (len(rows) - 1)
    if total > _MOST_HEIGHT:
        raise InputError(
            f"the figure has {counted(len(rows), 'row')} and is too high for a page. "
            "Fix: choose fewer images."
        )
    figure = Figure(figsize=(_WIDTH, total))
    top = total - _TITLE_HEIGHT
    for column, title in enumerate(titles):
        x = (column * (tile + _GAP) + tile / 2) / _WIDTH
        style = {"ha": "center", "va": "bottom", "fontsize": _fitting(title, tile)}
        figure.text(x, (top + 0.04) / total, without_mathematics(title), **style)
    for row, height in zip(rows, heights, strict=True):
        top -= height
        for column, picture in enumerate(row):
            if picture is None:
                continue
            left = column * (tile + _GAP)
            axes = figure.add_axes((left / _WIDTH, top / total, tile / _WIDTH, height / total))
            axes.imshow(_pixels(picture, tile, height), aspect="auto", interpolation="none")
            axes.set(xticks=[], yticks=[])
            # The frame is needed, because a ground truth may be white at the border.
            for side in axes.spines.values():
                side.set(linewidth=0.3, color="0.5")
        top -= _GAP
    # Font type 42 embeds text as text; publishers refuse Type 3 outlines. Without a date,
    # equal figures have equal files.
    with matplotlib.rc_context({"pdf.fonttype": 42, "pdf.compression": 9}):
        for path in paths:
            metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
            with replacing(path) as temporary:
                figure.savefig(temporary, dpi=_DPI, metadata=metadata)


def _aspect(row: Sequence[np.ndarray | None]) -> float:
    """Return height / width of the first picture of a row, or 1 for an empty row."""
    first = next((picture for picture in row if picture is not None), None)
    return 1.0 if first is None else first.shape[0] / first.shape[1]


def _fitting(title: str, tile: float) -> float:
    """Return the font size in points for a title over a tile of the width ``tile`` in inches."""
    # The mean width of a letter is about 0.55 of the font size.
    return min(_FONT_SIZE, tile * 72 / (0.55 * max(1, len(title))))


def _pixels(picture: np.ndarray, width: float, height: float) -> np.ndarray:
    """Return a picture as (H, W, 3) uint8, with no more pixels than print can show."""
    picture = to_rgb(picture)
    size = max(1, round(width * _DPI)), max(1, round(height * _DPI))
    if size[0] < picture.shape[1] and size[1] < picture.shape[0]:
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return picture
