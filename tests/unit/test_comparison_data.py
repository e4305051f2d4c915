"""Comparison of fusions: training and test images."""

import pytest

from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.synthetic.scenes import write_samples
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments import data, plan
from mutualformer_sod.experiments.plan import Options


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


def test_prepare_data_with_changed_images_raises(tmp_path):
    options = Options(scenes=3, test_scenes=3)
    data.prepare_data(tmp_path, options)
    data.prepare_data(tmp_path, options)
    image = next((tmp_path / "scenes/test/SAMPLES/RGB").iterdir())
    image.write_bytes(image.read_bytes() + b"x")
    with pytest.raises(InputError, match="images changed"):
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
    assert data.groups_of("SAMPLES", "scene_00001_colour", 1) == ["all", "needs colour"]
    assert data.groups_of("UW", "frame_depth", 2) == ["all", "UW"]
    assert data.groups_of("x/SAMPLES", "scene_00000_depth", 2) == [
        *("all", "x/SAMPLES", "needs depth")
    ]


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"holdout": 1.0}, "`holdout`"),
        ({"scenes": 1}, "`scenes`"),
        ({"sets": ("A",)}, "`sets`"),
        ({"test_data": ("A",)}, "`test_data`"),
        ({"init_weights": "/none"}, "`init_weights`"),
    ],
)
def test_options_with_illegal_value_name_the_argument(fields, argument):
    with pytest.raises(InputError, match=argument):
        Options(**fields)
