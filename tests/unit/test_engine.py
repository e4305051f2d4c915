"""Optimiser groups, schedule, hold-out, checkpoints."""

import itertools
import shutil

import pytest
import torch

from mutualformer_sod import build_model
from mutualformer_sod.configs.model import make_config
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.data.discovery.split import hold_out
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.data.synthetic.scenes import write_samples
from mutualformer_sod.training.checkpoints import (
    drop_old_checkpoints,
    find_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from mutualformer_sod.training.optimiser import make_optimizer, schedule, set_learning_rate
from mutualformer_sod.training.sets import gather_training_data


def samples(*stems):
    return [Sample(stem, None, None, None) for stem in stems]


class TestOptimizer:
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls):
        return build_model("tiny-scratch", feature_blocks=(1, 2), dim=32, image_size=64)

    def test_every_parameter_is_in_one_group(self, model):
        groups = make_optimizer(model, TrainConfig()).param_groups
        ids = [id(p) for group in groups for p in group["params"]]
        assert len(ids) == len(set(ids))
        assert set(ids) == {id(p) for p in model.parameters()}

    def test_norms_biases_and_learned_inputs_are_not_decayed(self, model):
        groups = make_optimizer(model, TrainConfig(weight_decay=0.3)).param_groups
        decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
        assert {group["weight_decay"] for group in groups} == {0.0, 0.3}
        for name, parameter in model.named_parameters():
            plain = parameter.ndim <= 1 or "pos_embed" in name or name == "no_depth"
            plain = plain or "cls_token" in name
            assert (id(parameter) in decayed) is not plain, name

    @pytest.mark.parametrize(
        ("pretrained", "scale", "want"), [(None, None, 1.0), ("f", None, 0.1), ("f", 0.5, 0.5)]
    )
    def test_pretrained_encoder_learns_more_slowly(self, model, pretrained, scale, want):
        config = TrainConfig(lr=2e-4, pretrained=pretrained, encoder_lr_scale=scale)
        optimizer = make_optimizer(model, config)
        set_learning_rate(optimizer, 0.5)
        encoder = {id(p) for p in model.encoder.parameters()}
        for group in optimizer.param_groups:
            share = want if id(group["params"][0]) in encoder else 1.0
            assert group["lr"] == pytest.approx(1e-4 * share)


def test_schedule_warms_up_and_ends_near_zero():
    config = TrainConfig(epochs=10, warmup_epochs=1)
    shares = [schedule(config, step, 10) for step in range(100)]
    assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(shares) == shares[9] == 1.0
    assert all(later <= earlier for earlier, later in itertools.pairwise(shares[9:]))
    assert 0 < shares[-1] < 0.001


class TestHoldOut:
    def test_frames_of_a_scene_stay_together(self):
        images = samples(*(f"s{scene}_{frame:04d}" for scene in range(10) for frame in range(5)))
        train, held = hold_out(images, 0.2, seed=3)
        assert len(held) == 10
        scenes = [{item.stem[:2] for item in part} for part in (train, held)]
        assert not scenes[0] & scenes[1]

    def test_set_of_one_scene_is_split_by_image(self):
        train, held = hold_out(samples(*(f"{k:06d}" for k in range(50))), 0.1, seed=0)
        assert (len(train), len(held)) == (45, 5)

    def test_few_large_scenes_lose_one_of_them(self):
        images = samples(*(f"{scene}_{k}" for scene in "abc" for k in range(13)))
        train, held = hold_out(images, 0.1, seed=0)
        assert (len(train), len(held)) == (26, 13)

    def test_large_scenes_are_not_validation_where_small_ones_suffice(self):
        stems = [f"big_{k}" for k in range(80)] + [f"n{k}_1" for k in range(20)]
        for seed in range(5):
            _, held = hold_out(samples(*stems), 0.1, seed=seed)
            assert len(held) == 10
            assert not any(item.stem.startswith("big") for item in held)

    def test_seed_decides(self):
        images = samples(*(f"{k}_left" for k in range(100)))
        assert hold_out(images, 0.1, 1) == hold_out(images, 0.1, 1)
        assert hold_out(images, 0.1, 1) != hold_out(images, 0.1, 2)

    @pytest.mark.parametrize("count", [2, 3, 5])
    def test_something_is_left_to_train_on(self, count):
        train, held = hold_out(samples(*(f"{k}_left" for k in range(count))), 0.9, seed=0)
        assert len(train) == 1
        assert len(held) == count - 1

    def test_nothing_is_lost(self):
        images = samples(*(f"{k}_left" for k in range(37)))
        train, held = hold_out(images, 0.25, 1, by="image")
        assert sorted(item.stem for item in train + held) == sorted(i.stem for i in images)
        assert hold_out(images, 0.0, 1) == (images, [])


class TestCheckpoint:
    def test_checkpoint_saved_and_loaded_is_equal(self, tmp_path):
        state = {"epoch": 3, "best": None, "model": {"w": torch.arange(3.0)}, "t": (1, "a")}
        path = save_checkpoint(tmp_path, "last", 7, state)
        found = load_checkpoint(path)
        assert found["model"].pop("w").tolist() == [0, 1, 2]
        assert found == state | {"model": {}}
        assert [item.name for item in tmp_path.iterdir()] == [path.name]

    def test_newest_two_of_each_kind_stay(self, tmp_path):
        for number in range(1, 5):
            save_checkpoint(tmp_path, "last", number, {"n": number})
            save_checkpoint(tmp_path, "best", number, {"n": number})
        (tmp_path / ".last.77.tmp").write_text("half")
        (tmp_path / "mine.pt").write_text("of a user")
        drop_old_checkpoints(tmp_path)
        for kind in ("last", "best"):
            found = [load_checkpoint(path)["n"] for path in find_checkpoints(tmp_path, kind)]
            assert found == [4, 3]
        assert len(list(tmp_path.iterdir())) == 5
        assert (tmp_path / "mine.pt").exists()

    @pytest.mark.parametrize("damage", ["truncate", "flip a bit", "text", "rename", "missing"])
    def test_damage_is_named(self, tmp_path, damage):
        path = save_checkpoint(tmp_path, "last", 1, {"model": {"w": torch.zeros(1000)}})
        content = bytearray(path.read_bytes())
        if damage == "truncate":
            path.write_bytes(content[:500])
        elif damage == "flip a bit":
            content[2000] ^= 1
            path.write_bytes(content)
        elif damage == "text":
            path.write_text("hello")
        elif damage == "rename":
            path = path.rename(tmp_path / f"last-000001-{'0' * 32}.pt")
        else:
            path.unlink()
        with pytest.raises(ValueError, match="last-000001"):
            load_checkpoint(path)


class TestHoldOutByAuto:
    def test_photographs_are_split_by_image_and_frames_by_scene(self, tmp_path):
        for name in ("PHOTOS", "FRAMES"):
            write_samples(tmp_path, 1, seed=1, size=(64, 80))
            (tmp_path / "SAMPLES").rename(tmp_path / f"{name}0")
            for part in ("RGB", "GT", "depth"):
                (source,) = (tmp_path / f"{name}0" / part).iterdir()
                (tmp_path / name / part).mkdir(parents=True)
                for scene in "abcd":
                    for frame in range(5):
                        target = tmp_path / name / part / f"{scene}_{frame}{source.suffix}"
                        target.write_bytes(source.read_bytes())
        shutil.rmtree(tmp_path / "PHOTOS" / "depth")
        config = TrainConfig(
            data=(tmp_path,), train_sets=("PHOTOS", "FRAMES"), holdout=0.25, holdout_by="auto"
        )
        held = gather_training_data(config, make_config("tiny-scratch")).val.names
        scenes = {
            name: {stem[0] for n, stem in (text.split("/") for text in held) if n == name}
            for name in ("PHOTOS", "FRAMES")
        }
        assert len(scenes["FRAMES"]) == 1
        assert len(scenes["PHOTOS"]) > 1
