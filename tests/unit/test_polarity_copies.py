"""Copies of a real set (inverted, 16 bits, float) give the same maps by the shipped weights."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer_sod.data.depth.encoding import depth_to_unit
from mutualformer_sod.data.depth.polarity import encoding_of, read_samples
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.imaging.io import read_depth, read_rgb

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "mutualformer_tiny.safetensors"
COPIES = {
    "inverted": (lambda d: 255 - d, ".png"),
    "x257": (lambda d: d.astype(np.uint16) * 257, ".png"),
    "float": (lambda d: d.astype(np.float32) / 255, ".npy"),
}


def decide_encoding(paths, near="auto", name="", strict=False):
    return encoding_of(read_samples(paths, name), near, name, strict=strict)


@pytest.fixture(scope="module")
def predictor():
    from mutualformer_sod import Predictor

    return Predictor.from_weights(WEIGHTS)


def write(path: Path, depth: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, depth)
    else:
        cv2.imwrite(str(path), depth)
    return path


@pytest.mark.parametrize("name", ["NJU2K", "DES", "SSD"])
def test_copies_of_a_set_give_the_same_maps(shared_data, predictor, tmp_path, name):
    (spot,) = discover_sets([shared_data / "spot"], [name])
    plain = decide_encoding([t.depth for t in spot.samples], name=name)
    rgbs = [read_rgb(t.rgb) for t in spot.samples]
    wanted = [
        predictor.predict(rgb, depth_to_unit(read_depth(t.depth), plain))
        for rgb, t in zip(rgbs, spot.samples, strict=True)
    ]
    for copy, (change, suffix) in COPIES.items():
        folder = tmp_path / copy
        folder.mkdir()
        paths = [
            write(folder / f"{t.stem}{suffix}", change(read_depth(t.depth))) for t in spot.samples
        ]
        encoding = decide_encoding(paths, name=name)
        assert (encoding.near == plain.near) == (copy != "inverted")
        assert encoding.margin == pytest.approx(plain.margin, abs=1e-9)
        for rgb, path, saliency in zip(rgbs, paths, wanted, strict=True):
            again = predictor.predict(rgb, depth_to_unit(read_depth(path), encoding))
            assert np.abs(again - saliency).max() <= 1 / 255, f"{copy}: {path.stem}"
