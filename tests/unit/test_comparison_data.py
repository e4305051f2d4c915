"""Comparison of fusions: training and test images."""

import shutil

import numpy as np
import pytest

from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.synthetic.scenes import write_samples
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments import data, plan
from mutualformer_sod.experiments.plan import Options
from mutualformer_sod.imaging.io import read_depth


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Twelve scenes of two frames, as a camera numbers them."""
    root = tmp_path_factory.mktemp("scenes")
    write_samples(root, 24, 5, size=(64, 80))
    for path in (root / "SAMPLES").rglob("scene_*.png"):
        number = int(path.stem.split("_")[1])
        path.rename(path.with_name(f"take{number // 2}_{number % 2}.png"))
    (root / "SAMPLES" / "samples.json").unlink()
    return root


def stems(sources, split):
    return {t.stem for item in data.find_sets(sources, split) for t in item.samples}


def test_prepare_data_splits_by_scene_without_overlap(tmp_path, scenes):
    found = data.prepare_data(tmp_path, Options(data=(str(scenes),), holdout=0.25))
    train, test = stems(found["train"], "train"), stems(found["test"], "test")
    assert len(train | test) == 24
    assert found["test"]["images"] == {"SAMPLES": 6}
    takes = [{stem.split("_")[0] for stem in part} for part in (train, test)]
    assert not takes[0] & takes[1]


def test_prepare_data_splits_equally_in_every_folder(tmp_path, scenes):
    options = Options(data=(str(scenes),))
    one, two = (data.prepare_data(tmp_path / name, options) for name in "ab")
    assert stems(one["test"], "test") == stems(two["test"], "test")
    assert one["fingerprint"] == two["fingerprint"]


def test_prepare_data_leaves_out_training_copies_of_test_images(tmp_path, scenes):
    options = Options(data=(str(scenes),))
    first = data.prepare_data(tmp_path / "a", options)
    twin = min(stems(first["test"], "test"))
    copy = tmp_path / "copy"
    for role in ("RGB", "depth", "GT"):
        (copy / "SAMPLES" / role).mkdir(parents=True)
        for path in (scenes / "SAMPLES" / role).iterdir():
            (copy / "SAMPLES" / role / path.name).symlink_to(path)
    left = min(stems(first["train"], "train"))
    for role in ("RGB", "depth", "GT"):
        path = copy / "SAMPLES" / role / f"{left}.png"
        path.unlink()
        path.write_bytes((scenes / "SAMPLES" / role / f"{twin}.png").read_bytes())
    second = data.prepare_data(tmp_path / "b", Options(data=(str(copy),)))
    assert left not in stems(second["train"], "train")
    assert stems(second["test"], "test") == stems(first["test"], "test")


def test_prepare_data_with_test_data_splits_nothing(tmp_path, scenes):
    write_samples(tmp_path / "other", 3, 6, size=(64, 80))
    options = Options(data=(str(scenes),), test_data=(str(tmp_path / "other"),))
    found = data.prepare_data(tmp_path / "out", options)
    assert (found["train"]["images"], found["test"]["images"]) == ({"SAMPLES": 24}, {"SAMPLES": 3})


def test_prepare_data_with_damaged_test_image_names_it(tmp_path, scenes):
    write_samples(tmp_path / "other", 3, 6, size=(64, 80))
    image = next((tmp_path / "other/SAMPLES/RGB").iterdir())
    image.write_bytes(image.read_bytes()[:-30])
    options = Options(data=(str(scenes),), test_data=(str(tmp_path / "other"),))
    with pytest.raises(InputError, match=f"{image.name}: the file is cut short"):
        data.prepare_data(tmp_path / "out", options)


def test_prepare_data_with_overlap_raises(tmp_path, scenes):
    root = str(scenes)
    with pytest.raises(InputError, match="24 of its images are training images"):
        data.prepare_data(tmp_path, Options(data=(root,), test_data=(root,)))


def thermal_sets(root, count=4):
    """Make a root with a set of thermal images, by name alone."""
    write_samples(root, count, 6, size=(64, 80))
    (root / "SAMPLES" / "depth").rename(root / "SAMPLES" / "T")
    (root / "SAMPLES").rename(root / "HEAT")
    return str(root)


@pytest.mark.parametrize("place", ["data", "test_data"])
def test_refuse_mixed_of_two_modalities_names_the_sets(tmp_path, scenes, place):
    thermal = thermal_sets(tmp_path / "t")
    own = {"data": (str(scenes), thermal)}
    if place == "test_data":
        own = {"data": (str(scenes),), "test_data": (thermal,)}
    message = r"\(depth maps: SAMPLES; thermal images: HEAT\).* Fix: pass `sets` and `test_data`"
    with pytest.raises(InputError, match=message):
        data.refuse_mixed(Options(**own))


def test_refuse_mixed_accepts_sets_of_one_modality(tmp_path, scenes):
    roots = (str(scenes), thermal_sets(tmp_path / "t"))
    for name in ("HEAT", "SAMPLES"):
        data.refuse_mixed(Options(data=roots, sets=(name,)))


def test_refuse_mixed_of_thermal_tests_of_networks_without_maps(tmp_path):
    write_samples(tmp_path / "rgb", 4, 3, size=(64, 80))
    shutil.rmtree(tmp_path / "rgb" / "SAMPLES" / "depth")
    options = {"data": (str(tmp_path / "rgb"),), "test_data": (thermal_sets(tmp_path / "t"),)}
    with pytest.raises(InputError, match=r"thermal images: HEAT; depth maps: expected"):
        data.refuse_mixed(Options(**options))


def test_misleading_maps_of_thermal_sets_are_thermal(tmp_path):
    roots = {"data": (thermal_sets(tmp_path / "t", 8),), "test_depth": ("noise", "exchanged")}
    found = data.prepare_data(tmp_path / "out", Options(**roots))
    for part in found["depths"].values():
        (item,) = data.find_sets(part, "test")
        assert item.modality.name == "thermal"


def test_prepare_data_with_changed_images_raises(tmp_path):
    options = Options(scenes=3, test_scenes=3)
    data.prepare_data(tmp_path, options)
    data.prepare_data(tmp_path, options)
    image = next((tmp_path / "scenes/test/SAMPLES/RGB").iterdir())
    image.write_bytes(image.read_bytes() + b"x")
    with pytest.raises(InputError, match="images have changed"):
        data.prepare_data(tmp_path, options)


@pytest.mark.parametrize("text", ['{"tr', "[]", '{"train": {}, "test": {}}'])
def test_prepare_data_with_damaged_record_raises_one_line(tmp_path, text):
    (tmp_path / plan.DATA_FILE).write_text(text)
    with pytest.raises(InputError, match=r"data\.json: damaged"):
        data.prepare_data(tmp_path, Options(scenes=3, test_scenes=3))


def test_prepare_data_generates_different_test_scenes(tmp_path):
    found = data.prepare_data(tmp_path, Options(scenes=3, test_scenes=3))
    train, test = (discover_sets(found[part]["data"])[0].samples[0] for part in ("train", "test"))
    assert train.stem == test.stem
    assert train.rgb.read_bytes() != test.rgb.read_bytes()


def test_groups_of_returns_set_and_kind():
    one, two = {"sets": ["SAMPLES"]}, {"sets": ["UW", "x/SAMPLES"]}
    assert data.groups_of("SAMPLES", "scene_00001_colour", one) == ["all", "needs colour"]
    assert data.groups_of("UW", "frame_depth", two) == ["all", "UW"]
    assert data.groups_of("x/SAMPLES", "scene_00000_depth", two) == [
        *("all", "x/SAMPLES", "needs depth")
    ]


def test_groups_of_several_test_folders_are_the_folders():
    sources = {"sets": ["DES", "SSD"], "folders": {"DES": "spot", "SSD": "spot"}}
    assert data.groups_of("SSD", "x", sources) == ["spot"]


def test_prepare_data_with_test_data_and_holdout_tests_on_both(tmp_path, scenes):
    write_samples(tmp_path / "other", 3, 6, size=(64, 80))
    (tmp_path / "other/SAMPLES").rename(tmp_path / "other/DES")
    options = Options(data=(str(scenes),), test_data=(str(tmp_path / "other"),), holdout=0.25)
    found = data.prepare_data(tmp_path / "out", options)
    assert found["train"]["images"] == {"SAMPLES": 18}
    assert found["test"]["images"] == {"DES": 3, "SAMPLES": 6}
    assert found["test"]["folders"] == {"DES": "other", "SAMPLES": "held-out"}


def test_prepare_data_splits_the_named_sets_only(tmp_path, scenes):
    write_samples(tmp_path / "more", 8, 7, size=(64, 80))
    (tmp_path / "more/SAMPLES").rename(tmp_path / "more/MORE")
    roots = (str(scenes), str(tmp_path / "more"))
    found = data.prepare_data(tmp_path / "out", Options(data=roots, holdout_sets=("MORE",)))
    assert found["train"]["images"]["SAMPLES"] == 24
    assert list(found["test"]["images"]) == ["MORE"]
    with pytest.raises(InputError, match="`holdout_sets` OTHER: names no set"):
        data.prepare_data(tmp_path / "b", Options(data=roots, holdout_sets=("OTHER",)))


def test_prepare_data_with_test_limit_keeps_the_first_images(tmp_path):
    found = data.prepare_data(tmp_path, Options(scenes=3, test_scenes=9, test_limit=4))
    assert found["test"]["images"] == {"SAMPLES": 4}
    assert len(stems(found["test"], "test")) == 4


@pytest.fixture(scope="module")
def misled(tmp_path_factory):
    """A comparison with misleading depth, and its samples by kind of depth."""
    kinds = ("hidden", "exchanged", "constant", "noise")
    options = Options(scenes=3, test_scenes=6, test_depth=kinds)
    found = data.prepare_data(tmp_path_factory.mktemp("misled"), options)
    sources = {"right": found["test"]} | found["depths"]
    return {kind: data.find_sets(part, "test")[0].samples for kind, part in sources.items()}


def test_misleading_depth_has_the_colours_and_masks_of_the_test_sets(misled):
    assert set(misled) == {"right", "exchanged", "constant", "noise"}
    for samples in misled.values():
        for sample, right in zip(samples, misled["right"], strict=True):
            assert sample.rgb.resolve() == right.rgb.resolve()
            assert sample.gt.resolve() == right.gt.resolve()


def test_exchanged_depth_is_each_map_once_and_never_the_own_one(misled):
    own, other = ([s.depth.read_bytes() for s in misled[kind]] for kind in ("right", "exchanged"))
    assert sorted(own) == sorted(other)
    assert all(a != b for a, b in zip(own, other, strict=True))


def test_constant_depth_is_not_taken_for_missing(misled):
    depth = read_depth(misled["constant"][0].depth)
    assert (depth.size - (depth == 128).sum(), depth.min(), depth.max()) == (2, 0, 255)


def test_noise_depth_has_no_structure(misled):
    depth = read_depth(misled["noise"][0].depth).astype(float)
    assert abs(np.corrcoef(depth[:, 1:].ravel(), depth[:, :-1].ravel())[0, 1]) < 0.05
    assert depth.std() > 60


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"holdout": 1.0}, "`holdout`"),
        ({"scenes": 1}, "`scenes`"),
        ({"test_limit": 0}, "`test_limit`"),
        ({"test_depth": ("blur",)}, "`test_depth`"),
        ({"limit": 3}, "`limit`"),
        ({"estimated_depth": "A"}, "`estimated_depth`"),
        ({"estimated_depth": "A", "data": ("d",)}, "`estimated_depth` has no effect: the recipe"),
        (
            {"data": ("d",), "test_data": ("t",), "holdout_sets": ("A",)},
            "`holdout_sets` has no effect with `test_data` alone",
        ),
        ({"sets": ("A",)}, "`sets`"),
        ({"test_data": ("A",)}, "`test_data`"),
        ({"init_weights": "/none"}, "`init_weights`"),
    ],
)
def test_options_with_illegal_value_name_the_argument(fields, argument):
    with pytest.raises(InputError, match=argument):
        Options(**fields)
