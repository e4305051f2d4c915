"""The readers and the polarity decision on the real sets of the project's data folder."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer_sod.data.depth.encoding import WEAK_MARGIN, depth_to_unit
from mutualformer_sod.data.depth.evidence import polarity
from mutualformer_sod.data.depth.holes import fill_holes, find_holes
from mutualformer_sod.data.depth.polarity import (
    encoding_of,
    encodings_by_name,
    read_samples,
    with_encodings,
)
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.sample import read_sample
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_depth, read_gt

DATA = Path(
    os.environ.get("MUTUALFORMER_SOD_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")
)
pytestmark = pytest.mark.skipif(
    not (DATA / "spot").is_dir(), reason="real data not found; set MUTUALFORMER_SOD_DATA"
)

NEAR = {  # of the data folder's README
    "spot/NJU2K": "white",
    "spot/DES": "black",
    "spot/SSD": "black",
    "train_rgbd/HOTS": "black",
    "train_rgbd/UW": "black",
    "train_rgbd/gqcnn": "black",
    "train_rgbd/tracebot": "black",
}
METRIC = [name for name in NEAR if name.startswith("train_rgbd")]
SPOT = [name for name in NEAR if name.startswith("spot")]


def decide_encoding(paths, near="auto", name="", strict=False):
    return encoding_of(read_samples(paths, name), near, name, strict=strict)


def depth_paths(name):
    return sorted((DATA / name / "depth").iterdir())


def test_every_set_is_found_under_its_path():
    counts = {s.name: len(s.samples) for s in discover_sets([DATA])}
    assert counts.pop("eval/SOD60") == 60
    assert counts == {
        "formats/HOTS": 1,
        "formats/PhoXi": 1,
        "formats/UW": 1,
        "formats/pipe": 3,
        "spot/DES": 5,
        "spot/NJU2K": 9,
        "spot/SSD": 3,
        "test_rgb/ECSSD": 1000,
        "train_rgb/DUTS_TR": 10534,
        "train_rgbd/HOTS": 86,
        "train_rgbd/UW": 11,
        "train_rgbd/gqcnn": 25,
        "train_rgbd/pipe": 71,
        "train_rgbd/pothole": 67,
        "train_rgbd/tracebot": 39,
        "unlabelled_rgbd/NLPR": 700,
    }


# Polarity


def test_polarity_on_sets_with_documented_sign_is_right_and_clear():
    encodings = encodings_by_name(with_encodings(discover_sets([DATA], list(NEAR))))
    assert {name: encoding.near for name, encoding in encodings.items()} == NEAR
    assert all(encoding.margin > 3 * WEAK_MARGIN for encoding in encodings.values())


@pytest.mark.parametrize("name", SPOT)
def test_polarity_is_right_from_each_single_image(name):
    assert {decide_encoding([path]).near for path in depth_paths(name)} == {NEAR[name]}


@pytest.mark.parametrize("name", METRIC)
def test_evidence_would_be_right_on_metric_sets_too(name):
    """Their sign is known from their unit, so they are an independent check of the evidence."""
    scores = []
    for path in depth_paths(name):
        raw = cv2.resize(read_depth(path), None, fx=0.3, fy=0.3, interpolation=cv2.INTER_NEAREST)
        filled = fill_holes(raw.astype(np.float32), find_holes(raw, metric=True))
        scores.append(sum(polarity(filled)))
    assert np.mean(scores) < -2 * WEAK_MARGIN
    assert np.mean(np.array(scores) < 0) > 0.8


@pytest.mark.parametrize("name", ["train_rgbd/pothole", "train_rgbd/pipe"])
def test_close_ups_from_above_are_called_weak(name):
    encoding = decide_encoding(depth_paths(name))
    assert (encoding.kind, encoding.is_weak) == ("map", True)


COPIES = {
    "inverted": (lambda d: 255 - d, ".png"),
    "x257": (lambda d: d.astype(np.uint16) * 257, ".png"),
    "float": (lambda d: d.astype(np.float32) / 255, ".npy"),
}


@pytest.mark.parametrize("name", SPOT)
@pytest.mark.parametrize("copy", COPIES)
def test_copies_of_a_set_give_the_same_depth(tmp_path, name, copy):
    change, suffix = COPIES[copy]
    copied = []
    for path in depth_paths(name):
        copied.append(tmp_path / f"{path.stem}{suffix}")
        values = change(read_depth(path))
        np.save(copied[-1], values) if suffix == ".npy" else cv2.imwrite(
            str(copied[-1]), values, [cv2.IMWRITE_PNG_COMPRESSION, 1]
        )
    first, second = decide_encoding(depth_paths(name)), decide_encoding(copied)
    assert (second.near == first.near) == (copy != "inverted")
    for one, other in zip(depth_paths(name), copied, strict=True):
        a = depth_to_unit(read_depth(one), first)
        b = depth_to_unit(read_depth(other), second)
        assert np.abs(np.rint(a * 255) - np.rint(b * 255)).max() <= 1


# Formats: what is read, what is refused, and why


def read_only_sample(name):
    (found,) = discover_sets([DATA], [name])
    return read_sample(found.samples[0]), found


def test_16_bit_millimetres_with_a_1_bit_mask_are_read():
    (rgb, depth, gt), found = read_only_sample("formats/UW")
    assert (rgb.shape, depth.shape, gt.shape) == ((480, 640, 3), (480, 640), (480, 640))
    assert (depth.dtype, depth.max()) == (np.uint16, 9870)
    assert np.array_equal(gt, cv2.imread(str(found.samples[0].gt), cv2.IMREAD_UNCHANGED) == 255)
    encoding = with_encodings([found])[0].encoding
    assert (encoding.kind, encoding.near) == ("metric", "black")


def test_masks_of_0_1_and_0_2_and_an_empty_one_are_read():
    (found,) = discover_sets([DATA], ["formats/pipe"])
    shares = {t.stem: read_sample(t)[2].mean() for t in found.samples}
    for sample in found.samples:
        stored = cv2.imread(str(sample.gt), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(read_gt(sample.gt), stored > 0)
    assert shares["51"] == 0
    assert shares["0"] > 0
    assert shares["1"] > 0


def test_indexed_mask_of_many_labels_is_refused():
    """Eleven objects have a label each: a mask does not say which of them are salient."""
    (found,) = discover_sets([DATA], ["formats/HOTS"])
    with pytest.raises(InputError, match=r"HOTS/GT/mix_1_top_raw_0\.png: a mask of 12 colours"):
        read_sample(found.samples[0])


def test_float_metres_are_read():
    (path,) = depth_paths("formats/HOTS")
    depth = read_depth(path)
    assert (depth.shape, depth.dtype) == ((480, 640), np.float32)
    encoding = decide_encoding([path])
    assert (encoding.kind, encoding.near) == ("metric", "black")
    assert encoding.holes == pytest.approx((depth == 0).mean())


def test_mask_of_half_the_size_is_refused():
    """Scores would depend on how it is brought to the colour image's size, where maps are made."""
    with pytest.raises(InputError, match=r"PhoXi/GT/.*: 516 x 386 pixels, but .* has 1032 x 772"):
        read_only_sample("formats/PhoXi")


def test_depth_of_half_the_size_and_one_channel_is_read():
    (found,) = discover_sets([DATA], ["formats/PhoXi"])
    sample = found.samples[0]
    stored = read_depth(sample.depth)
    assert (stored.shape, stored.dtype) == ((386, 516), np.float32)
    rgb, depth, _ = read_sample(type(sample)(sample.stem, sample.rgb, sample.depth, None))
    assert depth.shape == rgb.shape[:2] == (772, 1032)
    assert np.array_equal(depth[::2, ::2], stored)


@pytest.mark.parametrize("name", SPOT)
def test_benchmark_masks_are_read_as_the_reference_code_does(name):
    for path in sorted((DATA / name / "GT").iterdir()):
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(read_gt(path), grey > 128)
