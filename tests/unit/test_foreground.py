"""Colours of an object at the soft border of its cut-out."""

import cv2
import numpy as np
import pytest

from mutualformer_sod.imaging import foreground
from mutualformer_sod.imaging.foreground import estimate_foreground


def composed(height=240, width=320, softness=9, seed=0):
    """A picture with a known object: (picture, opacity, colours of the object)."""
    rng = np.random.default_rng(seed)
    texture = [cv2.resize(rng.normal(0, 12, (12, 16, 3)), (width, height)) for _ in range(2)]
    inner = (np.array([200, 60, 40]) + texture[0]).clip(0, 255)
    outer = (np.array([40, 120, 220]) + texture[1]).clip(0, 255)
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 4, height // 3), 20, 0, 360, 1.0, -1)
    alpha = np.rint(255 * cv2.GaussianBlur(mask, (0, 0), softness)).astype(np.uint8)
    weight = alpha[..., None] / 255
    picture = np.rint(weight * inner + (1 - weight) * outer).astype(np.uint8)
    return picture, alpha, inner


@pytest.mark.parametrize("seed", range(3))
def test_estimate_foreground_of_a_composed_picture_halves_the_error(seed):
    picture, alpha, inner = composed(seed=seed)
    soft = (alpha > 12) & (alpha < 243)
    weight = (alpha / 255)[..., None]

    def error(colours):
        return np.abs(weight * (colours.astype(float) - inner))[soft].mean()

    assert error(estimate_foreground(picture, alpha)) < 0.5 * error(picture)


def test_estimate_foreground_keeps_colours_where_alpha_is_not_soft():
    picture, alpha, _ = composed()
    alpha = np.where(alpha < 128, 0, 255).astype(np.uint8)
    assert np.array_equal(estimate_foreground(picture, alpha), picture)


def test_estimate_foreground_does_not_depend_on_the_bands(monkeypatch):
    picture, alpha, _ = composed()
    whole = estimate_foreground(picture, alpha)
    monkeypatch.setattr(foreground, "BAND_PIXELS", 5000)
    banded = estimate_foreground(picture, alpha)
    assert np.abs(whole.astype(int) - banded).max() <= 1  # sums of a box filter round differently


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 3)])
def test_estimate_foreground_of_a_small_picture_has_its_shape(shape):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    alpha = rng.integers(0, 256, shape, dtype=np.uint8)
    assert estimate_foreground(picture, alpha).shape == picture.shape
