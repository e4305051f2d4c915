"""Which end of the depth values is near: what the evidence must not depend on."""

import numpy as np
import pytest

from mutualformer_sod.data.depth.encoding import WEAK_MARGIN
from mutualformer_sod.data.depth.evidence import polarity, weigh
from mutualformer_sod.data.depth.kind import DepthSample
from mutualformer_sod.data.depth.polarity import encoding_of

HEIGHT, WIDTH = 60, 80


def table_from_above(seed: int, slope: float = 0.1) -> np.ndarray:
    """Distances, 1 to 254: a table hardly tilted, a few things on it; near is low."""
    rng = np.random.default_rng(seed)
    rows = np.linspace(1, -1, HEIGHT)[:, None]
    depth = 180 + 60 * slope * rows + rng.normal(0, 2, (HEIGHT, WIDTH))
    for _ in range(4):
        top, left = rng.integers(5, HEIGHT - 15), rng.integers(5, WIDTH - 15)
        depth[top : top + 10, left : left + 10] -= rng.uniform(30, 80)
    return np.clip(np.rint(depth), 1, 254).astype(np.uint8)


def with_unseen_border(depth: np.ndarray, value: int) -> np.ndarray:
    """A sensor that sees nothing along the bottom and the sides, as in a bin."""
    depth = depth.copy()
    depth[-15:] = value
    depth[:, :8] = depth[:, -8:] = value
    return depth


def coded(depth: np.ndarray, scale: float) -> np.ndarray:
    dtype = {1: np.uint8, 257: np.uint16}.get(scale, np.float32)
    return (depth.astype(float) * scale).astype(dtype)


def samples_of(maps) -> list[DepthSample]:
    return [DepthSample.of(depth) for depth in maps]


def test_two_copies_of_opposite_sign_are_decided_oppositely_with_one_margin():
    maps = [with_unseen_border(table_from_above(seed, 1.0), 0) for seed in range(6)]
    first = encoding_of(samples_of(maps))
    second = encoding_of(samples_of([255 - depth for depth in maps]))
    assert (first.near, second.near) == ("black", "white")
    assert first.margin == second.margin


@pytest.mark.parametrize("scale", [1, 257, 1 / 255])
def test_evidence_of_a_set_is_antisymmetric_image_by_image(scale):
    rng = np.random.default_rng(5)
    maps = [rng.integers(0, 256, (HEIGHT, WIDTH)) for _ in range(3)]
    maps += [with_unseen_border(table_from_above(seed), 255) for seed in range(3)]
    plain = weigh(samples_of([coded(d, scale) for d in maps]), metric=False)
    other = weigh(samples_of([coded(255 - d, scale) for d in maps]), metric=False)
    assert (plain.ground == -other.ground).all()
    assert (plain.centre == -other.centre).all()


@pytest.mark.parametrize("unseen", [0, 255])
def test_polarity_evidence_ignores_missing_depth(unseen):
    """At 0 the border would look nearer than all else, and every image would agree on it."""
    bare = weigh(samples_of(map(table_from_above, range(6))), metric=False)
    maps = [with_unseen_border(table_from_above(seed), unseen) for seed in range(6)]
    evidence = weigh(samples_of(maps), metric=False)
    assert np.sign(evidence.mean) == np.sign(bare.mean)
    assert evidence.mean == pytest.approx(bare.mean, abs=0.15)


def test_map_of_two_values_is_not_thrown_away():
    floor = np.repeat([[0], [1]], HEIGHT // 2, axis=0) * np.ones((1, WIDTH))
    assert polarity(floor)[0] == pytest.approx(0.75)


def test_polarity_evidence_ground_outweighs_the_centre():
    rows = np.linspace(-1, 1, HEIGHT)[:, None]
    middle = 0.4 * np.cos(np.linspace(-np.pi, np.pi, WIDTH))
    ground, centre = polarity(rows - middle)  # near white, yet a hollow in the middle
    assert ground > 0 > centre
    assert weigh(samples_of([rows - middle]), metric=False).mean > WEAK_MARGIN


def test_set_of_empty_maps_decides_nothing_clearly():
    encoding = encoding_of(samples_of([np.zeros((HEIGHT, WIDTH), np.uint8)] * 3))
    assert encoding.margin == 0
    assert encoding.is_weak
