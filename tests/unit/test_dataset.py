"""The dataset's items: what they hold, and that nothing but seed, epoch and index decides it."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mutualformer_sod.data.depth.encoding import DepthEncoding, depth_to_unit
from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets
from mutualformer_sod.data.synthetic.scenes import make_scene, write_samples
from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.data.training.transforms import Augmentation
from mutualformer_sod.errors import InputError

NEAR_WHITE = DepthEncoding(kind="map", near="white", margin=1.0, reason="made so")
NEAR_BLACK = DepthEncoding(kind="map", near="black", margin=1.0, reason="made so")


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> SodSet:
    folder = tmp_path_factory.mktemp("data")
    write_samples(folder, 6, 1, size=(64, 88))
    return discover_sets([folder])[0]


@pytest.fixture
def rgb_only(tmp_path) -> SodSet:
    (tmp_path / "PLAIN" / "RGB").mkdir(parents=True)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "PLAIN" / "RGB" / f"{name}.png"), make_scene(0, 0, (64, 80)).rgb)
    return discover_sets([tmp_path])[0]


def dataset(samples: SodSet, **options) -> SodDataset:
    samples = dataclasses.replace(samples, encoding=options.pop("encoding", NEAR_WHITE))
    return SodDataset([samples], options.pop("size", 48), **options)


def equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key])
        if isinstance(first[key], torch.Tensor)
        else first[key] == second[key]
        for key in first
    )


def test_dataset_item_contains_the_sample(samples):
    item = dataset(samples, size=(64, 88))[4]
    scene = make_scene(1, 4, (64, 88))
    depth = scene.depth.astype(np.float32)
    depth = (depth - depth.min()) / (depth.max() - depth.min())
    torch.testing.assert_close(item["rgb"], torch.from_numpy(scene.rgb).permute(2, 0, 1) / 255)
    torch.testing.assert_close(item["depth"][0], torch.from_numpy(depth), rtol=0, atol=1e-6)
    assert torch.equal(item["gt"][0], torch.from_numpy(scene.gt).float())
    assert item["name"] == "SAMPLES/scene_00004_colour"
    assert item["native_size"] == (64, 88)
    assert item["has_depth"] is True


def test_one_number_means_a_square(samples):
    found = dataset(samples, size=48)
    assert found.size == (48, 48)
    assert found[0]["rgb"].shape == (3, 48, 48)


def test_encoding_of_the_set_is_applied(samples):
    white = dataset(samples)[0]["depth"]
    black = dataset(samples, encoding=NEAR_BLACK)[0]["depth"]
    torch.testing.assert_close(black, 1 - white, rtol=0, atol=1e-5)


def test_rule_that_brings_depth_to_its_range_is_applied(samples):
    item = dataset(samples, size=(64, 88), depth_rule="percentile")[4]
    unit = depth_to_unit(make_scene(1, 4, (64, 88)).depth, NEAR_WHITE, "percentile")
    torch.testing.assert_close(item["depth"][0], torch.from_numpy(unit), rtol=0, atol=1e-6)


def test_dataset_without_depth_gives_zeros_and_has_depth_false(rgb_only):
    item = SodDataset([rgb_only], 48)[1]
    assert item["has_depth"] is False
    assert item["depth"].shape == (1, 48, 48)
    assert not item["depth"].any()
    assert "gt" not in item


@pytest.mark.parametrize("value", [0, 90])
def test_depth_of_one_value_is_none(tmp_path, value):
    write_samples(tmp_path, 2, 1, size=(64, 88))
    flat = tmp_path / "SAMPLES" / "depth" / "scene_00001_colour.png"
    cv2.imwrite(str(flat), np.full((64, 88), value, np.uint8))
    options = {"encoding": NEAR_BLACK, "augment": Augmentation(paste=1.0)}
    for rule in ("minmax", "percentile"):
        items = dataset(discover_sets([tmp_path])[0], depth_rule=rule, **options)
        assert [item["has_depth"] for item in items] == [True, False]
        assert not items[1]["depth"].any()


def test_sets_with_and_without_depth_share_a_batch(samples, rgb_only):
    sets = [dataclasses.replace(samples, encoding=NEAR_WHITE), rgb_only]
    mixed = SodDataset(sets, 48, with_gt=False)
    batch = next(iter(DataLoader(mixed, batch_size=8)))
    assert batch["has_depth"].tolist() == [True] * 6 + [False] * 2
    assert batch["depth"].shape == (8, 1, 48, 48)


def test_set_with_depth_needs_its_encoding(samples):
    with pytest.raises(ValueError, match="SAMPLES"):
        SodDataset([samples], 48)


def test_set_of_ground_truths_alone_is_refused(tmp_path):
    (tmp_path / "ONLY" / "GT").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "ONLY" / "GT" / "a.png"), np.zeros((64, 64), np.uint8))
    with pytest.raises(InputError, match="colour images"):
        SodDataset(discover_sets([tmp_path]), 48)


def replace_gt(folder: Path, shape: tuple[int, int]) -> SodSet:
    root = write_samples(folder, 1, 1, size=(64, 88))
    gt = np.zeros(shape, np.uint8)
    gt[:20] = 255
    cv2.imwrite(str(root / "GT" / "scene_00000_depth.png"), gt)
    return discover_sets([folder])[0]


@pytest.mark.parametrize("with_gt", [True, False])
def test_ground_truth_of_another_size_is_refused_even_if_it_is_not_read(tmp_path, with_gt):
    found = dataset(replace_gt(tmp_path, (64, 80)), with_gt=with_gt)
    with pytest.raises(InputError, match=r"80 x 64.*88 x 64"):
        found[0]


def test_epochs_and_indices_get_augmentations_of_their_own(samples):
    training = dataset(samples, augment=Augmentation(), seed=3)
    first = training[0]
    training.set_epoch(1)
    assert not equal(training[0], first)
    training.set_epoch(0)
    assert equal(training[0], first)


def test_item_does_not_depend_on_those_loaded_before_it(samples):
    training = dataset(samples, augment=Augmentation(), seed=3)
    backwards = [training[index] for index in reversed(range(6))][::-1]
    assert all(equal(training[index], backwards[index]) for index in range(6))


def test_negative_indices_count_from_the_end(samples):
    training = dataset(samples, augment=Augmentation())
    assert equal(training[-1], training[5])


def test_plain_items_do_not_depend_on_seed_or_epoch(samples):
    first, second = dataset(samples, seed=0), dataset(samples, seed=9)
    second.set_epoch(4)
    assert equal(first[2] | {"key": 0}, second[2] | {"key": 0})


def test_keys_are_the_items_own(samples):
    keys = set()
    for seed in range(3):
        plain = dataset(samples, seed=seed)
        for epoch in range(3):
            plain.set_epoch(epoch)
            keys |= {plain[index]["key"] for index in range(6)}
    assert len(keys) == 3 * 3 * 6
    batch = next(iter(DataLoader(dataset(samples), batch_size=6)))
    assert batch["key"].dtype == torch.int64


def load(training: SodDataset, workers: int) -> list[dict]:
    training.set_epoch(2)
    return list(DataLoader(training, batch_size=4, num_workers=workers))


def test_number_of_workers_changes_nothing(samples):
    training = dataset(samples, augment=Augmentation(), seed=3, depth_dropout=0.5)
    alone, shared = load(training, 0), load(training, 2)
    for batch, other in zip(alone, shared, strict=True):
        assert batch["name"] == other["name"]
        for key in ("rgb", "depth", "gt", "has_depth", "key"):
            assert torch.equal(batch[key], other[key]), key


def test_workers_that_outlive_an_epoch_see_the_next(samples):
    training = dataset(samples, augment=Augmentation(), seed=3)
    loader = DataLoader(training, batch_size=6, num_workers=1, persistent_workers=True)
    first = next(iter(loader))["rgb"]
    training.set_epoch(1)
    second = next(iter(loader))["rgb"]
    assert torch.equal(second, torch.stack([training[index]["rgb"] for index in range(6)]))
    assert not torch.equal(first, second)


def test_depth_dropout_hides_its_share_of_the_depth_maps(samples):
    training = dataset(samples, depth_dropout=0.5)
    shown = []
    for epoch in range(20):
        training.set_epoch(epoch)
        items = [training[index] for index in range(6)]
        shown += [item["has_depth"] for item in items]
        assert all(bool(item["depth"].any()) == item["has_depth"] for item in items)
    assert 40 <= sum(shown) <= 80  # of 120


def test_depth_map_that_is_not_shown_is_not_read(tmp_path):
    root = write_samples(tmp_path, 1, 1, size=(64, 88))
    found = dataset(discover_sets([tmp_path])[0], depth_dropout=1.0)
    (root / "depth" / "scene_00000_depth.png").unlink()
    assert found[0]["has_depth"] is False


def test_automatic_polarity_is_right_on_samples(tmp_path):
    write_samples(tmp_path, 12, 5, size=(64, 88))
    assert with_encodings(discover_sets([tmp_path]))[0].encoding.near == "white"


class TestInventedDepth:
    def make(self, samples, share, with_depth):
        if not with_depth:
            without = tuple(dataclasses.replace(item, depth=None) for item in samples.samples)
            samples = dataclasses.replace(samples, samples=without)
        return dataset(samples, augment=Augmentation(invent_depth=share), seed=3)

    def test_images_without_depth_get_it_with_the_given_share(self, samples):
        items = self.make(samples, 0.5, with_depth=False)
        found = []
        for epoch in range(10):
            items.set_epoch(epoch)
            found += [items[index]["has_depth"] for index in range(6)]
        assert 18 <= sum(found) <= 42

    def test_real_depth_is_never_replaced(self, samples):
        without, wanted = (self.make(samples, share, with_depth=True)[0] for share in (0.0, 1.0))
        assert torch.equal(without["depth"], wanted["depth"])


class TestEstimatedDepth:
    """Estimated maps are the surroundings of the object in three of four invented maps."""

    def make(self, samples, folder):
        without = tuple(dataclasses.replace(item, depth=None) for item in samples.samples)
        samples = dataclasses.replace(samples, samples=without)
        plain = Augmentation(invent_depth=1.0, twin=0.0, depth_change=0.0, crop=0.0, flip=0.0)
        return dataset(samples, augment=plain, seed=3, estimated_depth=folder)

    def write(self, samples, folder, dtype):
        (folder / "SAMPLES").mkdir()
        ramp = np.tile(np.linspace(0, np.iinfo(dtype).max, 88).astype(dtype), (64, 1))
        for sample in samples.samples:
            cv2.imwrite(str(folder / "SAMPLES" / f"{sample.stem}.png"), ramp)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_three_of_four_maps_have_estimated_surroundings(self, samples, tmp_path, dtype):
        self.write(samples, tmp_path, dtype)
        items = self.make(samples, tmp_path)
        ramp = torch.linspace(0, 1, 48).expand(48, 48)
        found = 0
        for epoch in range(20):
            items.set_epoch(epoch)
            for item in items:
                around = torch.nn.functional.max_pool2d(item["gt"], 9, 1, 4)[0] == 0
                both = torch.stack([item["depth"][0][around], ramp[around]])
                found += torch.corrcoef(both)[0, 1] > 0.98
        assert 75 <= found <= 105  # of 120

    def test_without_a_file_the_map_is_invented(self, samples, tmp_path):
        item = self.make(samples, tmp_path)[0]
        assert item["has_depth"] and item["depth"].std() > 0
