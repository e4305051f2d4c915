"""Fingerprints of data, images that training and test sets share, and sets seen several times."""

import shutil
from collections import Counter

import cv2
import numpy as np
import pytest

from mutualformer_sod.configs.model import make_config
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.data.discovery.fingerprint import data_fingerprint, find_overlap
from mutualformer_sod.data.discovery.protocols import discover_benchmarks
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.synthetic.scenes import write_samples
from mutualformer_sod.errors import InputError
from mutualformer_sod.training.set_roles import parse_repeat
from mutualformer_sod.training.sets import gather_training_data


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_samples(root, 8, 1, size=(64, 88))
    return root


@pytest.fixture
def root(source, tmp_path):
    shutil.copytree(source, tmp_path / "data")
    return tmp_path / "data"


def fingerprint(root):
    return data_fingerprint(discover_sets([root]))


def test_copy_elsewhere_has_the_same_fingerprint(source, root):
    assert fingerprint(root) == fingerprint(source)


@pytest.mark.parametrize("role", ["rgb", "depth", "gt"])
def test_file_of_another_size_changes_the_fingerprint(source, root, role):
    with getattr(discover_sets([root])[0].samples[2], role).open("ab") as file:
        file.write(b"\0")
    assert fingerprint(root) != fingerprint(source)


def test_missing_image_or_another_name_changes_the_fingerprint(source, root):
    (root / "SAMPLES").rename(root / "OTHER")
    assert fingerprint(root) != fingerprint(source)
    sets = discover_sets([source])
    fewer = [type(sets[0])(sets[0].name, sets[0].root, sets[0].samples[1:])]
    assert data_fingerprint(fewer) != data_fingerprint(sets)


def test_order_of_the_sets_does_not_matter(root):
    shutil.copytree(root / "SAMPLES", root / "OTHER")
    sets = discover_sets([root])
    assert len(sets) == 2
    assert data_fingerprint(sets) == data_fingerprint(sets[::-1])


def make_test_set(root, name, stems):
    """A set that holds images of SAMPLES under other names, and one of its own."""
    folder = root / name / "RGB"
    folder.mkdir(parents=True)
    own = np.random.default_rng(0).integers(0, 255, (64, 88, 3), np.uint8)
    cv2.imwrite(str(folder / "own.png"), own)
    images = discover_sets([root], ["SAMPLES"])[0].samples
    for number in stems:
        shutil.copy(images[number].rgb, folder / f"copy_{number}{images[number].rgb.suffix}")
    return folder


def test_shared_images_are_found_under_any_name(root):
    folder = make_test_set(root, "ECSSD", [5, 2])
    train = discover_sets([root], ["SAMPLES"])
    shared = find_overlap(train, discover_benchmarks([root]))
    images = train[0].samples
    assert [pair[0] for pair in shared] == [images[2].rgb, images[5].rgb]
    assert [pair[1].stem for pair in shared] == ["copy_2", "copy_5"]
    assert shared[0][1].parent == folder


def test_files_of_equal_size_are_compared_by_content(tmp_path):
    for name, value in (("A", 1), ("ECSSD", 2)):
        (tmp_path / name / "RGB").mkdir(parents=True)
        image = np.full((8, 8, 3), value, np.uint8)
        cv2.imwrite(str(tmp_path / name / "RGB" / "a.bmp"), image)
    train = discover_sets([tmp_path], ["A"])
    assert find_overlap(train, discover_benchmarks([tmp_path])) == []


def gather(root, *names, **options):
    config = TrainConfig(
        data=(str(root),), train_sets=names or ("SAMPLES",), holdout=0.25, **options
    )
    return config, gather_training_data(config, make_config("tiny-scratch", image_size=32))


def test_training_on_test_images_is_refused(root):
    make_test_set(root, "ECSSD", [3])
    with pytest.raises(InputError, match=r"1 training image .*copy_3.*`allow_overlap`"):
        gather(root)


def test_allowed_overlap_is_recorded(root):
    make_test_set(root, "ECSSD", [3, 4])
    config, data = gather(root, allow_overlap=True)
    assert data.protocol(config)["test_images_trained_on"] == {"ECSSD": 2}
    assert "OVERLAP" in data.describe()


def test_hold_out_is_no_test_set(root):
    config, data = gather(root)
    assert len(data.val) == 2
    assert data.protocol(config)["test_images_trained_on"] == {}


def rename(root, name):
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    (root / "SAMPLES").rename(target)


def test_training_part_of_a_benchmark_is_no_test_set(root):
    rename(root, "train/NJU2K")
    gather(root, "NJU2K")


def test_folder_of_a_set_with_a_training_part_is_taken_for_that(root):
    rename(root, "NJU2K")
    gather(root, "NJU2K")


@pytest.mark.parametrize(("folder", "asked"), [("test/NJU2K", "test/NJU2K"), ("DES", "DES")])
def test_training_on_a_test_set_itself_is_refused(root, folder, asked):
    rename(root, folder)
    with pytest.raises(InputError, match="8 training images"):
        gather(root, asked)


def test_validation_sets_may_not_share_images_with_training_sets(root):
    make_test_set(root, "MINE", [1])
    shutil.copytree(root / "MINE" / "RGB", root / "MINE" / "GT")
    for path in (root / "MINE" / "GT").iterdir():
        mask = np.zeros((64, 88), np.uint8)
        mask[:20] = 255
        cv2.imwrite(str(path.with_suffix(".png")), mask)
        if path.suffix != ".png":
            path.unlink()
    with pytest.raises(InputError, match="copy_1"):
        gather(root, val_sets=("MINE",))


def test_repeated_set_is_seen_as_often_each_time_augmented_anew(root):
    config, data = gather(root, repeat=("SAMPLES=3",))
    assert len(data.train) == 18
    items = [data.train[index] for index in range(18)]
    assert set(Counter(item["name"] for item in items).values()) == {3}
    assert len({float(item["rgb"].sum()) for item in items}) == 18
    assert data.counts == {"SAMPLES": 6}
    assert data.protocol(config)["repeat"] == {"SAMPLES": 3}
    assert len(data.val) == 2


def test_sets_to_repeat_are_named_by_alias_or_last_part():
    assert parse_repeat(["NJUD=2", "HOTS=5"], ["NJU2K", "rgbd/HOTS", "X"]) == {
        "NJU2K": 2,
        "rgbd/HOTS": 5,
    }


@pytest.mark.parametrize("item", ["A", "A=0", "A=x", "=3", "B=2", "A=2.5"])
def test_wrong_repeat_is_named(item):
    with pytest.raises(InputError, match=rf"`repeat` {item}"):
        parse_repeat([item], ["A"])


def test_set_cannot_be_repeated_twice():
    with pytest.raises(InputError, match=r"A=3.* once per set"):
        parse_repeat(["A=2", "A=3"], ["A"])


@pytest.mark.parametrize("mode", ["ram", "disk"])
def test_run_with_a_cache_records_it(root, tmp_path, mode):
    output = tmp_path / "runs" / "first"
    config, data = gather(root, cache=mode, output=str(output), repeat=("SAMPLES=2",))
    assert data.protocol(config)["cache"] == f"{mode}, at most 40 pixels per side"
    assert data.train[0]["rgb"].shape == data.val[0]["rgb"].shape == (3, 32, 32)
    assert (tmp_path / "runs" / "cache").exists() == (mode == "disk")
    assert not output.exists()


def test_replay_set_is_drawn_from_in_part_and_recorded(root):
    shutil.copytree(root / "SAMPLES", root / "OLD")
    config, data = gather(root, replay_sets=("OLD",), replay=0.4)
    assert (data.pool, data.replayed, data.epoch_images) == (8, 4, 10)
    names = [data.train.names[index] for index in data.epoch_order(config.seed, 0)]
    assert Counter(name.partition("/")[0] for name in names) == {"SAMPLES": 6, "OLD": 4}
    assert not any(name.startswith("OLD") for name in data.val.names)
    assert data.protocol(config)["replay_sets"] == ("OLD",)
    assert "4 of 8 earlier images" in data.describe()


def test_replay_set_is_limited_as_the_training_sets(root):
    shutil.copytree(root / "SAMPLES", root / "OLD")
    _, data = gather(root, replay_sets=("OLD",), replay=0.5, limit=3)
    assert data.pool == 3


def test_replay_set_that_is_a_training_set_is_refused(root):
    with pytest.raises(InputError, match="`replay_sets` SAMPLES: also a training set"):
        gather(root, replay_sets=("SAMPLES",))


def test_folder_without_estimated_depth_for_any_set_is_refused(root, tmp_path):
    for path in (root / "SAMPLES" / "depth").iterdir():
        path.unlink()
    (root / "SAMPLES" / "depth").rmdir()
    with pytest.raises(InputError, match=r"`estimated_depth` .*has no folder named"):
        gather(root, invent_depth=0.5, estimated_depth=str(tmp_path))


def test_weights_are_stamped_with_names_of_files_not_with_paths(root):
    config, data = gather(root, finetune="/somewhere/on/a/machine/weights.safetensors")
    assert data.protocol(config)["finetune"] == "weights.safetensors"
