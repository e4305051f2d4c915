"""The released weights equal their model cards, and depth does not mislead them."""

import re
from collections import deque

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tool_runs import ROOT

from mutualformer_sod import Predictor
from mutualformer_sod.data.depth.encoding import depth_to_unit
from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.sample import read_sample
from mutualformer_sod.files import file_sha256
from mutualformer_sod.imaging.io import read_gt
from mutualformer_sod.metrics import Evaluator

MOST_BYTES = {"small_dinov2": 70 * 10**6, "tiny": 16 * 2**20}
NAMES = tuple(MOST_BYTES)
FILES = {name: ROOT / "weights" / f"mutualformer_{name}.safetensors" for name in NAMES}
PAGE = (ROOT / "weights/README.md").read_text()
CARDS = dict(zip(NAMES, PAGE.split("\n# `tiny`"), strict=True))
KINDS = ("right", "none", "another image's", "constant", "random")


class Remembering:
    """A stream of the encoder that computes the features of its latest images once.

    The kinds of depth share the colours; no depth and constant depth share the map of absent depth.
    """

    def __init__(self, stream):
        self.run, self.known = stream.forward, deque(maxlen=5)

    def __call__(self, image, keys=None):
        for known, features in self.known:
            if torch.equal(image, known):
                return features
        self.known.append((image, self.run(image, keys)))
        return self.known[-1][1]


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def scores(shared_data, name):
    """S-measure of the 17 images of the spot check, in their order, by kind of depth."""
    sets = with_encodings(discover_sets([shared_data / "spot"]), quiet=True)
    images = []
    for sod_set in sets:
        for sample in sod_set.samples:
            rgb, depth, _ = read_sample(sample)
            images.append((rgb, depth_to_unit(depth, sod_set.encoding), read_gt(sample.gt)))
    predictor = Predictor.from_weights(FILES[name], device="cpu")
    for stream in (predictor.model.encoder.rgb_stream, predictor.model.encoder.depth_stream):
        stream.forward = Remembering(stream)
    found = {kind: [] for kind in KINDS}
    for number, (rgb, depth, gt) in enumerate(images):
        for kind in KINDS:
            given = wrong_depth(kind, number, images, depth)
            saliency = np.rint(predictor.predict(rgb, given) * 255).astype(np.uint8)
            evaluator = Evaluator()
            evaluator.step(saliency, gt)
            found[kind].append(evaluator.results()["s_measure"])
    return {kind: np.array(values) for kind, values in found.items()}


def wrong_depth(kind, number, images, depth):
    if kind == "another image's":
        other = images[(number + 1) % len(images)][1]
        return cv2.resize(other, depth.shape[::-1])
    rng = np.random.default_rng(number)
    return {
        "right": depth,
        "none": None,
        "constant": np.full_like(depth, 0.5),
        "random": rng.random(depth.shape, dtype=np.float32),
    }[kind]


def test_file_is_the_one_the_card_describes(name):
    row = re.search(rf"`{FILES[name].name}`.*", PAGE)
    assert f"`{file_sha256(FILES[name])}`" in row[0]
    assert FILES[name].stat().st_size <= MOST_BYTES[name]
    dtypes = {str(t.dtype) for t in load_file(FILES[name]).values() if t.is_floating_point()}
    assert dtypes == {"torch.float16"}


def test_spot_check_scores_equal_the_card(scores, name):
    row = re.search(r"\| spot check, all[^|]*\| 17 \| (\.\d+) \| \.\d+ \| (\.\d+) \|", CARDS[name])
    assert scores["right"].mean() == pytest.approx(float(row[1]), abs=0.003)
    assert scores["none"].mean() == pytest.approx(float(row[2]), abs=0.003)


@pytest.mark.parametrize("kind", ["right", *KINDS[2:]])
def test_no_depth_costs_more_than_two_hundredths_of_s(scores, kind):
    assert scores[kind].mean() >= scores["none"].mean() - 0.02
