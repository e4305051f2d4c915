"""Training sets made from a network's confident maps."""

import cv2
import numpy as np
import pytest

from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.training.pseudo_labels import is_confident, label_set
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_gt, write_map


def saliency(inside=1.0, outside=0.0, side=8):
    plane = np.full((24, 32), outside, np.float32)
    plane[4 : 4 + side, 4 : 4 + side] = inside
    return plane


@pytest.fixture
def sod_set(tmp_path):
    for name in ("sure", "unsure"):
        for folder in ("RGB", "depth"):
            path = tmp_path / "data" / "Set" / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            shape = (24, 32, 3) if folder == "RGB" else (24, 32)
            cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, shape, np.uint8))
    write_map(tmp_path / "maps" / "sure.png", saliency())
    write_map(tmp_path / "maps" / "unsure.png", saliency(0.6, 0.4))
    (found,) = discover_sets([tmp_path / "data"], ["Set"], need_rgb=True)
    return found


@pytest.mark.parametrize(
    ("plane", "accepted"),
    [
        (saliency(), True),
        (saliency(0.6), False),
        (saliency(1.0, 0.3), False),
        (saliency(side=1), False),
        (np.zeros((24, 32), np.float32), False),
        (np.ones((24, 32), np.float32), False),
    ],
    ids=("sure", "faint object", "unsure ground", "speck", "empty", "full"),
)
def test_is_confident_maps_that_are_certain_are_accepted(plane, accepted):
    assert is_confident(plane) is accepted


def test_labelled_set_contains_the_confident_images_with_their_depth(sod_set, tmp_path):
    assert label_set(sod_set, tmp_path / "maps", tmp_path / "out" / "Set") == 1
    (made,) = discover_sets([tmp_path / "out"], need_rgb=True, need_gt=True)
    assert [sample.stem for sample in made.samples] == ["sure"]
    assert made.has_depth
    assert np.array_equal(read_gt(made.samples[0].gt), saliency() > 0.5)


def test_labelled_set_copies_images_byte_for_byte(sod_set, tmp_path):
    label_set(sod_set, tmp_path / "maps", tmp_path / "out")
    for sample in sod_set.samples[:1]:
        for role, file in (("RGB", sample.rgb), ("depth", sample.depth)):
            assert (tmp_path / "out" / role / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_label_set_of_float_maps_equals_that_of_png_maps(sod_set, tmp_path, suffix):
    label_set(sod_set, tmp_path / "maps", tmp_path / "out")
    for name, unit in (("sure", saliency()), ("unsure", saliency(0.6, 0.4))):
        (tmp_path / "maps" / f"{name}.png").unlink()
        path = tmp_path / "maps" / f"{name}{suffix}"
        np.save(path, unit) if suffix == ".npy" else cv2.imwrite(str(path), unit)
    label_set(sod_set, tmp_path / "maps", tmp_path / "again")
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / folder / "GT").iterdir()}
        for folder in ("out", "again")
    )
    assert first == second and list(first) == ["sure.png"]


def test_missing_map_is_named(sod_set, tmp_path):
    (tmp_path / "maps" / "unsure.png").unlink()
    with pytest.raises(InputError, match=r"unsure\.png: no such map"):
        label_set(sod_set, tmp_path / "maps", tmp_path / "out")


def test_map_of_another_size_is_named(sod_set, tmp_path):
    write_map(tmp_path / "maps" / "sure.png", np.zeros((5, 5), np.float32))
    with pytest.raises(InputError, match=r"sure\.png: 5 x 5 pixels"):
        label_set(sod_set, tmp_path / "maps", tmp_path / "out")
