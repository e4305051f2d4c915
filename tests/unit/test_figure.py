"""The grid of pictures."""

import numpy as np

from mutualformer_sod.gallery.figure import MARGIN, TITLE_HEIGHT, picture_grid


def test_pictures_of_every_kind_stand_in_their_cells():
    red = np.full((50, 100, 3), (255, 0, 0), np.uint8)
    half = np.full((50, 50), 0.5)
    mask = np.ones((50, 50), bool)
    grid = picture_grid([[red, half, mask], [red, None, mask]], ["a", "b", "c"], tile_height=50)
    assert grid.shape == (TITLE_HEIGHT + 2 * (50 + MARGIN), 100 + 50 + 50 + 4 * MARGIN, 3)
    top = TITLE_HEIGHT + 25
    assert grid[top, MARGIN + 50].tolist() == [255, 0, 0]
    assert grid[top, 2 * MARGIN + 125].tolist() == [128, 128, 128]
    assert grid[top, 3 * MARGIN + 175].tolist() == [255, 255, 255]
    assert grid[top + 50 + MARGIN, 2 * MARGIN + 125].tolist() == [255, 255, 255]  # left empty


def test_titles_are_drawn_above_their_columns():
    grid = picture_grid([[np.zeros((50, 100), bool)]], ["depth"])
    assert (grid[:TITLE_HEIGHT] < 128).any()
