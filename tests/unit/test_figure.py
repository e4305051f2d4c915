"""Tests of the grid of pictures."""

import numpy as np

from mutualformer_sod.gallery.figure import MARGIN, TITLE_HEIGHT, picture_grid


def test_picture_grid_places_each_kind_of_picture():
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


def test_picture_grid_draws_titles():
    grid = picture_grid([[np.zeros((50, 100), bool)]], ["depth"])
    assert (grid[:TITLE_HEIGHT] < 128).any()
