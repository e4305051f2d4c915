"""Relation of depth to its picture, and other depth of little information."""

import logging

import cv2
import numpy as np
import pytest

from mutualformer_sod.data.audit.check import check_data
from mutualformer_sod.data.depth.encoding import DepthEncoding
from mutualformer_sod.data.depth.kind import DepthSample
from mutualformer_sod.data.depth.notes import (
    FEW_LEVELS,
    MOSTLY_HOLES,
    doubts_of,
    relation_notes,
)
from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.depth.structure import LEAST_RELATION, is_unrelated, relation
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.imaging.io import read_depth, read_rgb

HEIGHT, WIDTH = 150, 200
METRIC = DepthEncoding("metric", "black", 1.0, "made so")
RELATIVE = DepthEncoding("map", "white", 1.0, "made so")


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A textured room with boxes: colour (H, W, 3), depth (H, W) in millimetres."""
    rng = np.random.default_rng(seed)
    depth = np.tile(np.linspace(4000, 1500, HEIGHT)[:, None], (1, WIDTH))
    rgb = np.tile(rng.integers(60, 200, 3), (HEIGHT, WIDTH, 1)).astype(float)
    for _ in range(6):
        left, top = rng.integers(5, WIDTH - 60), rng.integers(5, HEIGHT - 60)
        box = np.s_[top : top + rng.integers(25, 50), left : left + rng.integers(25, 50)]
        depth[box] = depth[box].min() - rng.integers(100, 700)
        rgb[box] = rng.integers(0, 255, 3)
    rgb += rng.normal(0, 12, rgb.shape)
    depth += rng.normal(0, 4, depth.shape)
    return np.clip(rgb, 0, 255).astype(np.uint8), depth.astype(np.uint16)


def test_relation_of_own_depth_is_far_above_that_of_others():
    scenes = [scene(seed) for seed in range(8)]
    own = [relation(rgb, depth) for rgb, depth in scenes]
    others = [relation(rgb, scenes[i - 1][1]) for i, (rgb, _) in enumerate(scenes)]
    assert min(own) > 2 * LEAST_RELATION
    assert np.mean(np.array(others) < LEAST_RELATION) >= 0.75


def test_relation_does_not_depend_on_polarity_and_coding():
    rgb, depth = scene(0)
    assert relation(rgb, 8000 - depth) == pytest.approx(relation(rgb, depth), abs=0.2)
    assert relation(rgb, depth.astype(np.float32) / 1000) == pytest.approx(relation(rgb, depth))


def test_relation_of_noise_is_small():
    rng = np.random.default_rng(0)
    flagged = [
        is_unrelated(scene(s)[0], rng.integers(500, 4000, (HEIGHT, WIDTH)).astype(np.uint16))
        for s in range(8)
    ]
    assert np.mean(flagged) >= 0.75


def test_relation_of_depth_at_half_size_is_kept():
    rgb, depth = scene(0)
    assert relation(rgb, np.ascontiguousarray(depth[::2, ::2])) > LEAST_RELATION


@pytest.mark.parametrize(
    "depth", [np.full((HEIGHT, WIDTH), 7, np.uint8), np.zeros((40, 50), np.uint8)]
)
def test_relation_of_constant_or_tiny_maps_makes_no_statement(depth):
    assert relation(scene(0)[0], depth) is None
    assert not is_unrelated(scene(0)[0], depth)


@pytest.mark.parametrize(("levels", "want"), [(3, [FEW_LEVELS]), (15, [FEW_LEVELS]), (16, [])])
def test_doubts_of_map_counts_the_levels(levels, want):
    depth = (np.arange(HEIGHT * WIDTH) % levels * 10 + 500).reshape(HEIGHT, WIDTH)
    assert doubts_of(DepthSample.of(depth.astype(np.uint16)), METRIC) == want
    assert doubts_of(DepthSample.of(depth.astype(np.float32)), METRIC) == want


def test_doubts_of_map_of_a_rare_level_counts_it():
    depth = (np.arange(HEIGHT * WIDTH) % 15).reshape(HEIGHT, WIDTH).astype(np.uint8)
    depth[77, 133] = 200
    assert doubts_of(DepthSample.of(depth), RELATIVE) == []


@pytest.mark.parametrize(("share", "want"), [(0.4, []), (0.6, [MOSTLY_HOLES])])
def test_doubts_of_map_counts_the_holes_of_distances(share, want):
    _, depth = scene(1)
    depth[: round(share * HEIGHT)] = 0
    assert doubts_of(DepthSample.of(depth), METRIC) == want
    assert doubts_of(DepthSample.of(depth), RELATIVE) == []


@pytest.fixture
def exchanged(tmp_path):
    """A set of 8 scenes; the depth of 5 of them belongs to other scenes."""
    for role in ("RGB", "depth", "GT"):
        (tmp_path / "Mine" / role).mkdir(parents=True)
    for seed in range(8):
        rgb, depth = scene(seed)
        if seed >= 3:
            depth = scene(seed + 100)[1]
        gt = np.uint8(255) * (depth < 2000)
        for role, image in (("RGB", rgb), ("depth", depth), ("GT", gt)):
            cv2.imwrite(str(tmp_path / "Mine" / role / f"{seed}.png"), image)
    return tmp_path


def test_exchanged_depth_is_one_line_with_count_and_names(exchanged):
    (found,) = with_encodings(discover_sets([exchanged]))
    (line,) = relation_notes(found)
    assert "of 8 maps: edges without relation" in line
    assert line.count(".png") == 3
    assert line.endswith(", ...")
    assert "0.png" not in line


def test_check_data_notes_exchanged_depth_and_few_levels(exchanged):
    folder = exchanged / "Mine" / "depth"
    few = read_depth(folder / "0.png") // 500 * 500
    cv2.imwrite(str(folder / "0.png"), few)
    found = {f.kind: f for f in check_data([exchanged]).findings}
    assert {found["unrelated"].level, found["few levels"].level} == {"note"}
    assert len(found["unrelated"].files) >= 4
    assert found["few levels"].files == (str(folder / "0.png"),)


def test_few_levels_are_logged_by_every_reader_of_sets(exchanged, caplog):
    for path in (exchanged / "Mine" / "depth").iterdir():
        cv2.imwrite(str(path), read_depth(path) // 500 * 500)
    with caplog.at_level(logging.WARNING):
        with_encodings(discover_sets([exchanged]))
    assert f"depth: 8 of 8 maps: {FEW_LEVELS}" in caplog.text


def test_relation_of_real_depth_is_rarely_small_and_of_exchanged_depth_usually(shared_data):
    found = discover_sets([shared_data / "unlabelled_rgbd"], ["NLPR"])[0]
    pairs = [(read_rgb(s.rgb), read_depth(s.depth)) for s in found.samples[::14]]
    own = [is_unrelated(rgb, depth) for rgb, depth in pairs]
    other = [is_unrelated(rgb, pairs[i - 25][1]) for i, (rgb, _) in enumerate(pairs)]
    assert np.mean(own) <= 0.04
    assert np.mean(other) >= 0.8
