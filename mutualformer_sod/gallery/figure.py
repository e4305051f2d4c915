"""Arrange pictures in a grid under column titles, as one array."""

from collections.abc import Sequence

import cv2
import numpy as np

from mutualformer_sod.gallery.pictures import to_rgb

MARGIN = 4  # pixels between tiles
TITLE_HEIGHT = 24
_FONT = cv2.FONT_HERSHEY_SIMPLEX


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
