"""Names common to several entry points: default preset, folder of a network's maps."""

import pytest

from mutualformer_sod import build_model
from mutualformer_sod.cli import benchmark_data, train
from mutualformer_sod.configs.model import DEFAULT_PRESET, make_config
from mutualformer_sod.configs.recipes import make_train_config
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.experiments.plan import Options
from mutualformer_sod.inference.benchmark_maps import method_name


def preset_of_train():
    arguments = ["--data", "x", "--output", "y", "--train-sets", "z"]
    config, _, _ = train.read_options(vars(train.make_parser().parse_args(arguments)))
    return config.preset


def preset_of_benchmark_data(monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmark_data.py", "--data", "x"])
    return benchmark_data.parse_arguments().preset


def test_default_preset_is_the_same_for_every_entry_point(monkeypatch):
    presets = {
        "build_model": build_model().config.preset,
        "make_config": make_config().preset,
        "TrainConfig": TrainConfig().preset,
        "make_train_config": make_train_config().preset,
        "recipe of train_sod.sh": make_train_config("samples").preset,
        "tools/train.py": preset_of_train(),
        "tools/benchmark_data.py": preset_of_benchmark_data(monkeypatch),
        "tools/compare_fusions.py": Options().preset,
    }
    assert presets == dict.fromkeys(presets, DEFAULT_PRESET)


@pytest.mark.parametrize(
    ("preset", "fields", "modality", "want"),
    [
        ("tiny", {}, "both", "mutualformer_tiny"),
        ("tiny-scratch", {"fusion": "sum"}, "both", "sum_tiny-scratch"),
        ("small", {"fusion": "token_fusion"}, "both", "token_fusion_small"),
        ("tiny-scratch", {}, "rgb", "mutualformer_tiny-scratch_rgb"),
        ("resnet50", {"fusion": "sum"}, "depth", "sum_resnet50_depth"),
    ],
)
def test_method_name_has_fusion_preset_and_a_single_modality(preset, fields, modality, want):
    assert method_name(make_config(preset, **fields), modality) == want
