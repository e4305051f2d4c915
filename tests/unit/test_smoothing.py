"""Maps smoothed over time: flicker, error, motion, cuts; docs/predict.md has the table.

SMOOTH_WEIGHTS=small-dinov2 SMOOTH_FRAMES=24 SMOOTH_SCENES=5 before pytest -s prints its figures.
"""

import os

import numpy as np
import pytest
from moving_scene import STEP, MovingScene

from mutualformer_sod import Predictor
from mutualformer_sod.inference.smoothing import Smoother

WEIGHTS = os.environ.get("SMOOTH_WEIGHTS", "tiny")
FRAMES = int(os.environ.get("SMOOTH_FRAMES", "8"))
SCENES = int(os.environ.get("SMOOTH_SCENES", "1"))


def smoothed(clip, maps, ratio):
    smoother = Smoother(ratio)
    return [smoother.step(rgb, one) for rgb, one in zip(clip.frames, maps, strict=True)]


@pytest.fixture(scope="module")
def clips():
    """Clips and the network's maps of their frames."""
    predictor = Predictor.from_weights(WEIGHTS, device="cpu")
    found = [MovingScene(seed, FRAMES) for seed in range(SCENES)]
    return [(clip, [predictor.predict(rgb) for rgb in clip.frames]) for clip in found]


def test_smoothing_reduces_flicker_without_more_error(clips):
    figures = {}
    for ratio in (0.0, 0.3, 0.5, 0.7, 0.9):
        runs = [(clip, smoothed(clip, maps, ratio)) for clip, maps in clips]
        figures[ratio] = [
            np.mean([measure(clip, maps) for clip, maps in runs])
            for measure in (MovingScene.flicker, MovingScene.error)
        ]
    for ratio, (flicker, error) in figures.items():
        print(f"ratio {ratio}: flicker {flicker:.4f}, MAE {error:.4f}")
    assert figures[0.5][0] < 0.8 * figures[0.0][0]
    assert figures[0.5][1] < figures[0.0][1] + 0.002


def test_smoothing_of_noisy_true_maps_reduces_noise_and_keeps_the_moving_edge():
    clip = MovingScene(3, 10, contrast=1.0)
    rng = np.random.default_rng(0)
    true = [0.2 + 0.6 * mask.astype(np.float32) for mask in clip.masks]
    maps = [one + rng.normal(0, 0.05, one.shape).astype(np.float32) for one in true]
    after = smoothed(clip, maps, 0.7)
    assert clip.flicker(after) < 0.5 * clip.flicker(maps)
    noise = [
        np.abs(np.subtract(*pair)).mean() for pair in ((maps[-1], true[-1]), (after[-1], true[-1]))
    ]
    assert noise[1] < 0.7 * noise[0]
    inside = [saliency[mask].mean() for saliency, mask in zip(after, clip.masks, strict=True)]
    assert min(inside) > 0.77


def test_smoothing_follows_the_motion_of_the_frames():
    rng = np.random.default_rng(0)
    wide = np.repeat(np.repeat(rng.integers(0, 255, (30, 60, 3), np.uint8), 8, 0), 8, 1)
    first, second = wide[:, 40:400], wide[:, 40 - STEP * 2 : 400 - STEP * 2]
    saliency = np.zeros(first.shape[:2], np.float32)
    saliency[80:160, 100:200] = 1
    smoother = Smoother(0.9)
    smoother.step(first, saliency)
    moved = smoother.step(second, np.zeros_like(saliency))
    assert moved[90:150, 100 + 3 * STEP : 200].mean() > 0.7
    columns = np.where(moved[120] > 0.45)[0]
    assert abs(columns.min() - (100 + 2 * STEP)) <= 2


def test_smoothing_forgets_the_past_at_a_cut():
    black = np.zeros((90, 120, 3), np.uint8)
    smoother = Smoother(0.95)
    smoother.step(black, np.ones((90, 120), np.float32))
    now = smoother.step(black + 200, np.zeros((90, 120), np.float32))
    assert now.max() < 1e-6


@pytest.mark.parametrize("size", [(1, 1), (5, 400), (31, 17)])
def test_smoothing_of_any_size_stays_in_range(size):
    rng = np.random.default_rng(0)
    smoother = Smoother(0.8)
    for _ in range(3):
        rgb = rng.integers(0, 255, (*size, 3), np.uint8)
        saliency = smoother.step(rgb, rng.random(size, np.float32))
    assert saliency.shape == size
    assert saliency.dtype == np.float32
    assert saliency.min() >= 0 and saliency.max() <= 1
