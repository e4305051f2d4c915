"""The predictor: raw depth, wrong arguments, maps in strips."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mutualformer_sod import Predictor
from mutualformer_sod.data.depth.encoding import DepthEncoding
from mutualformer_sod.errors import InputError
from mutualformer_sod.inference.predictor import native_saliency, saliency_strips

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "weights" / "mutualformer_tiny.safetensors"
MAP = DepthEncoding("map", "white", 1.0, "")


@pytest.mark.parametrize("size", [(37, 53), (400, 3), (5, 7), (1, 90)])
def test_saliency_strips_equal_the_whole_map_up_to_rounding(size):
    logits = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 5
    strips = list(saliency_strips(logits, size, whole_pixels=0))
    assert len(strips) == size[0]
    np.testing.assert_allclose(np.vstack(strips), native_saliency(logits, size), atol=2e-6)


@pytest.fixture(scope="module")
def predictor():
    return Predictor.from_weights(WEIGHTS, device="cpu")


@pytest.fixture(scope="module")
def scene():
    rgb = np.full((60, 80, 3), 90, np.uint8)
    rgb[20:45, 25:55] = (200, 60, 40)
    depth = np.tile(np.linspace(20, 120, 60)[:, None], (1, 80)).astype(np.uint8)
    depth[20:45, 25:55] = 230
    return rgb, depth


@pytest.mark.parametrize("copy", ["inverted", "x257", "0 to 1", "0 to 255", "inverted x257"])
def test_predictor_with_copies_of_a_depth_map_gives_one_map(predictor, scene, copy):
    rgb, depth = scene
    other, near = depth, "white"
    if "inverted" in copy:
        other, near = 255 - depth, "black"
    if "x257" in copy:
        other = other.astype(np.uint16) * 257
    if "0 to" in copy:
        other = other / (255 if copy == "0 to 1" else 1)  # float64
    want = predictor.predict(rgb, depth, near="white")
    assert np.abs(predictor.predict(rgb, other, near=near) - want).max() <= 1 / 255
    assert np.abs(predictor.predict(rgb, None) - want).max() > 1 / 255


def test_predictor_with_metres_or_millimetres_gives_one_map(predictor, scene):
    rgb, depth = scene
    millimetres = (3000 - 10 * depth.astype(np.uint16)).astype(np.uint16)
    metres = millimetres / 1000
    millimetres[5:9, 5:9], metres[5:9, 5:9] = 0, np.nan
    first, second = (predictor.predict(rgb, d, near="auto") for d in (millimetres, metres))
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.parametrize("depth", [np.zeros, np.ones, lambda size: np.full(size, np.nan)])
def test_predictor_with_constant_raw_depth_ignores_it(predictor, scene, depth):
    got = predictor.predict(scene[0], depth(scene[1].shape), near="auto")
    assert np.array_equal(got, predictor.predict(scene[0]))


@pytest.mark.parametrize("axis", [0, 2])
def test_predictor_accepts_depth_of_one_channel(predictor, scene, axis):
    rgb, depth = scene
    got = predictor.predict(rgb, np.expand_dims(depth, axis), near="white")
    assert np.array_equal(got, predictor.predict(rgb, depth, near="white"))


def test_predictor_accepts_array_views(predictor, scene):
    rgb, depth = scene
    got = predictor.predict(rgb[:, ::-1], depth[:, ::-1], near="white")
    want = predictor.predict(rgb[:, ::-1].copy(), depth[:, ::-1].copy(), near="white")
    assert np.array_equal(got, want)


def test_predictor_with_empty_batch_returns_empty_logits(predictor):
    logits = predictor.logits(torch.zeros(0, 3, 32, 32), torch.zeros(0, 1, 32, 32), None)
    assert logits.shape == (0, 1, 32, 32)


@pytest.mark.parametrize(
    ("rgb", "depth", "options", "words"),
    [
        (np.zeros((4, 5), np.uint8), None, {}, "grey image as numpy.dstack"),
        (np.zeros((4, 5, 4), np.uint8), None, {}, r"pass \(H, W, 3\)"),
        (np.zeros((4, 5, 3)), None, {}, "float64"),
        (np.zeros((0, 5, 3), np.uint8), None, {}, "pass"),
        ([[1, 2]], None, {}, "list"),
        (None, np.zeros((5, 4)), {}, r"pass \(4, 5\), the size of rgb"),
        (None, np.full((4, 5), 7, np.uint8), {}, "near="),
        (None, np.full((4, 5), np.nan), {}, "near="),
        (None, np.full((4, 5), "x"), {}, "numeric"),
        (None, np.full((4, 5), 70000), {"near": "black"}, "16 bits"),
        (None, np.linspace(1, 9, 20).reshape(4, 5), {"near": "auto"}, 'near="black" if'),
        (None, np.zeros((4, 5)), {"near": "up"}, "unknown"),
        (None, np.zeros((4, 5)), {"near": "white", "encoding": MAP}, "one of them"),
        (None, None, {"near": "white"}, "no effect without depth"),
    ],
)
def test_predictor_with_wrong_argument_raises_one_line(predictor, rgb, depth, options, words):
    rgb = np.zeros((4, 5, 3), np.uint8) if rgb is None else rgb
    with pytest.raises(InputError, match=words) as caught:
        predictor.predict(rgb, depth, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("modality", "with_depth", "words"),
    [
        ("rgb", True, "depth has no effect"),
        ("depth", False, "no depth: the network uses only depth"),
    ],
)
def test_predictor_input_that_the_network_cannot_see_is_refused(
    predictor, scene, modality, with_depth, words
):
    rgb, depth = scene
    alone = Predictor(predictor.model, device="cpu", modality=modality)
    with pytest.raises(InputError, match=words):
        alone.predict(rgb, depth / 255 if with_depth else None)
    alone.predict(rgb, None if with_depth else depth / 255)


def test_predictor_that_uses_only_depth_refuses_a_constant_map(predictor, scene):
    alone = Predictor(predictor.model, device="cpu", modality="depth")
    with pytest.raises(InputError, match="no depth: the network uses only depth"):
        alone.predict(scene[0], np.full(scene[1].shape, 7, np.uint16), near="black")
