"""Cached images: what is kept, that workers share it, and that no wrong file is believed."""

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mutualformer_sod.data.depth.encoding import DepthEncoding, depth_to_unit
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets
from mutualformer_sod.data.sample import read_sample
from mutualformer_sod.data.synthetic.scenes import write_samples
from mutualformer_sod.data.training import cache as cache_module
from mutualformer_sod.data.training.cache import CacheOptions, build_caches
from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.data.training.transforms import Augmentation
from mutualformer_sod.errors import InputError
from mutualformer_sod.workers import worker_context

NEAR_WHITE = DepthEncoding(kind="map", near="white", margin=1.0, reason="made so")
NEAR_BLACK = DepthEncoding(kind="map", near="black", margin=1.0, reason="made so")
NATIVE = (64, 88)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> SodSet:
    folder = tmp_path_factory.mktemp("data")
    write_samples(folder, 6, 1, size=NATIVE)
    return replace(discover_sets([folder])[0], encoding=NEAR_WHITE)


def build(sod_set: SodSet, side: int, folder=None):
    options = CacheOptions("ram" if folder is None else "disk", side, folder)
    return build_caches([sod_set], options)


def dataset(samples: SodSet, caches, **options) -> SodDataset:
    return SodDataset([samples], 48, caches=caches, **options)


def same_item(first: dict, second: dict) -> bool:
    return all(torch.equal(first[part], second[part]) for part in ("rgb", "depth", "gt"))


def test_small_images_are_kept_as_they_are(samples):
    cached = build(samples, 100)["SAMPLES"].read(samples.samples[3].stem)
    rgb, depth, gt = read_sample(samples.samples[3])
    assert np.array_equal(cached.rgb, rgb)
    assert np.array_equal(cached.gt, gt.astype(np.float32))
    assert np.abs(cached.depth - depth_to_unit(depth, NEAR_WHITE)).max() <= 0.5 / 65535 + 1e-7


def test_each_side_is_bounded_for_itself(samples):
    cached = build(samples, 70)["SAMPLES"].read(samples.samples[0].stem)
    assert cached.rgb.shape == (64, 70, 3)
    assert cached.depth.shape == cached.gt.shape == (64, 70)
    assert cached.native_size == NATIVE


def test_ground_truth_keeps_its_area_when_it_shrinks(samples):
    caches = build(samples, 24)
    for sample in samples.samples:
        kept = caches["SAMPLES"].read(sample.stem).gt
        assert kept.mean() == pytest.approx(read_sample(sample)[2].mean(), abs=2e-3)
        assert ((kept > 0) & (kept < 1)).any()


def test_polarity_is_dealt_with_before_depth_is_kept(samples):
    stem = samples.samples[0].stem
    white = build(samples, 40)["SAMPLES"].read(stem).depth
    black = build(replace(samples, encoding=NEAR_BLACK), 40)["SAMPLES"].read(stem).depth
    assert np.abs(black - (1 - white)).max() < 1e-4


def test_item_from_an_unshrunk_cache_is_that_from_the_files(samples):
    options = {"augment": Augmentation(depth_change=0), "seed": 3, "depth_dropout": 0.3}
    plain, cached = (dataset(samples, caches, **options) for caches in (None, build(samples, 100)))
    for first, second in zip(plain, cached, strict=True):
        assert first["name"] == second["name"]
        assert first["has_depth"] == second["has_depth"]
        assert first["native_size"] == second["native_size"]
        assert first["key"] == second["key"]
        for part in ("rgb", "depth", "gt"):
            torch.testing.assert_close(first[part], second[part], rtol=0, atol=1e-4)


def test_shrunk_cache_gives_nearly_the_same_items(samples):
    plain, cached = (dataset(samples, caches) for caches in (None, build(samples, 60)))
    for first, second in zip(plain, cached, strict=True):
        for part in ("rgb", "depth", "gt"):
            assert (first[part] - second[part]).abs().mean() < 0.03


@pytest.mark.parametrize("context", [worker_context(), "spawn"], ids=["worker_context", "spawn"])
@pytest.mark.parametrize("mode", ["ram", "disk"])
def test_workers_read_the_same_as_the_main_process(samples, tmp_path, mode, context):
    caches = build(samples, 60, tmp_path if mode == "disk" else None)
    training = dataset(samples, caches, augment=Augmentation(), seed=1)
    alone = [training[index] for index in range(6)]
    loader = DataLoader(training, batch_size=6, num_workers=1, multiprocessing_context=context)
    batch = next(iter(loader))
    for part in ("rgb", "depth", "gt", "key"):
        assert torch.equal(batch[part], torch.stack([torch.as_tensor(i[part]) for i in alone]))
    assert same_item(training[2], alone[2])  # the tensor may have moved


def test_cache_file_pickled_contains_no_images(samples, tmp_path):
    cache = build(samples, 60, tmp_path)["SAMPLES"]
    cache.read(samples.samples[0].stem)
    assert len(pickle.dumps(cache)) < cache.index["bytes"] / 4


def test_cached_images_cannot_be_written(samples):
    cached = build(samples, 100)["SAMPLES"].read(samples.samples[0].stem)
    with pytest.raises(ValueError, match="read-only"):
        cached.rgb[0] = 0


def files(folder):
    return sorted(folder.iterdir())


def rebuilt(samples, folder, monkeypatch, **options) -> bool:
    """Whether the images are decoded again."""
    read = []

    def read_and_note(sample):
        read.append(sample)
        return read_sample(sample)

    monkeypatch.setattr(cache_module, "read_sample", read_and_note)
    build(samples, options.pop("side", 40), folder, **options)
    return bool(read)


def test_cache_file_is_used_again(samples, tmp_path, monkeypatch):
    first = build(samples, 40, tmp_path)["SAMPLES"]
    assert len(files(tmp_path)) == 1
    assert not rebuilt(samples, tmp_path, monkeypatch)
    second = build(samples, 40, tmp_path)["SAMPLES"]
    for sample in samples.samples:
        assert np.array_equal(first.read(sample.stem).rgb, second.read(sample.stem).rgb)


@pytest.mark.parametrize("damage", ["cut", "head", "index", "images", "empty"])
def test_damaged_cache_file_is_made_anew(samples, tmp_path, monkeypatch, damage):
    build(samples, 40, tmp_path)
    path = files(tmp_path)[0]
    data = bytearray(path.read_bytes())
    if damage in ("cut", "empty"):
        del data[-100 if damage == "cut" else 0 :]
    else:
        data[{"head": 3, "index": 60, "images": -200}[damage]] ^= 1
    path.write_bytes(data)
    assert rebuilt(samples, tmp_path, monkeypatch)


def test_other_options_get_a_file_of_their_own(samples, tmp_path, monkeypatch):
    build(samples, 40, tmp_path)
    assert rebuilt(samples, tmp_path, monkeypatch, side=41)
    assert rebuilt(replace(samples, encoding=NEAR_BLACK), tmp_path, monkeypatch)
    assert len(files(tmp_path)) == 3


def test_changed_image_makes_the_cache_stale(tmp_path, monkeypatch):
    write_samples(tmp_path / "data", 2, 1, size=NATIVE)
    samples = replace(discover_sets([tmp_path / "data"])[0], encoding=NEAR_WHITE)
    build(samples, 40, tmp_path / "cache")
    path = samples.samples[0].gt
    cv2.imwrite(str(path), 255 - cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    assert rebuilt(samples, tmp_path / "cache", monkeypatch)


def test_unreadable_image_leaves_no_file_behind(tmp_path):
    write_samples(tmp_path / "data", 3, 1, size=NATIVE)
    samples = replace(discover_sets([tmp_path / "data"])[0], encoding=NEAR_WHITE)
    samples.samples[1].depth.write_bytes(b"nothing")
    with pytest.raises(InputError, match=samples.samples[1].depth.name):
        build(samples, 40, tmp_path / "cache")
    assert not files(tmp_path / "cache")


@pytest.mark.parametrize("mode", ["ram", "disk"])
def test_too_little_room_is_an_error_that_names_the_flag(samples, tmp_path, monkeypatch, mode):
    monkeypatch.setattr(cache_module, "free_memory", lambda: 1000)
    monkeypatch.setattr(
        cache_module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})
    )
    with pytest.raises(InputError, match="--cache-side"):
        build(samples, 40, tmp_path if mode == "disk" else None)


def test_sets_without_a_cache_are_read_from_their_files(samples):
    cached = dataset(samples, {})
    assert same_item(cached[1], dataset(samples, None)[1])
