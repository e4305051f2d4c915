"""An option that has no effect beside the others is refused by name."""

import copy

import pytest
import torch
from fused_models import FUSIONS, images

from mutualformer_sod import build_model
from mutualformer_sod.benchmark.fusion_cost import layer_costs, network_overrides
from mutualformer_sod.configs.fusion import find_fusion, make_fusion_config
from mutualformer_sod.configs.model import PRESETS, ModelConfig, make_config
from mutualformer_sod.configs.recipes import RECIPES, make_train_config
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments.variants import check_variants, parse_variants
from mutualformer_sod.models.encoder import TwoStreamEncoder
from mutualformer_sod.models.fusion.streams import build_fusion

# Another value of every switch but "attention", which changes no result.
CHANGES = {
    "num_heads": 2,
    "blocks_per_level": 2,
    "qkv_bias": False,
    "mlp_ratio": 2.0,
    "drop_path": 0.9,
    "form": "paper",
    "epsilon": 0.3,
    "steps": 2,
    "affinity": "mean",
    "initial": "affinity",
    "cross": "none",
    "fused_attention": False,
    "theta": 1.5,
    "sparsity": 2.0,
    "score_on": "input",
    "per_block": True,
    "realign": True,
    "exchange": "full",
    "exchange_ratio": 0.9,
    "noise": False,
    "phi": False,
}
FOR_ALL = {"fusion", "head", "dim", "fine_width", "attention"}


@pytest.fixture(scope="module")
def encoder():
    config = make_config(
        "tiny-scratch", backbone="test_vit", stem="patch", feature_blocks=(2, 4)
    ).encoder
    return TwoStreamEncoder(config, 32)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_switch_of_a_method_changes_its_results(encoder, fusion):
    def outcome(**options):
        torch.manual_seed(0)
        own = copy.deepcopy(encoder)
        method = build_fusion(make_fusion_config(fusion, dim=16, **options), own).train()
        rgb_features, depth_features, notes = own(rgb, depth, method)
        maps = method(rgb_features, depth_features)
        return [*maps, *method.report(notes)[0].values()]

    rgb, depth = (image.float() for image in images(size=(32, 32), channels=(3, 3)))
    for name in set(find_fusion(fusion).switches) - FOR_ALL:
        fixed = {"exchange": "random"} if name == "exchange_ratio" else {}
        pairs = zip(outcome(**fixed), outcome(**fixed, **{name: CHANGES[name]}), strict=True)
        assert not all(torch.equal(before, after) for before, after in pairs), name


@pytest.mark.parametrize("fusion", FUSIONS)
def test_switch_of_another_method_is_refused_with_the_methods_that_have_it(fusion):
    for name in set(CHANGES) - set(find_fusion(fusion).switches):
        users = [other for other in FUSIONS if name in find_fusion(other).switches]
        with pytest.raises(InputError, match=f"^{name} has no effect: .*{', '.join(users)}"):
            make_fusion_config(fusion, **{name: CHANGES[name]})


@pytest.mark.parametrize(
    ("options", "name", "reason"),
    [
        (
            {"fusion": "sum", "theta": 0.1},
            "theta",
            "fusion=sum does not use it; it is used by channel_exchange, token_fusion",
        ),
        (
            {"fusion": "gemini_fusion", "epsilon": 0.5},
            "epsilon",
            "mutualformer, cross_attention_cda",
        ),
        ({"fusion": "sum", "theta": 0.02}, "theta", "fusion=sum"),  # the default, still no use
        ({"noise": False}, "noise", "fusion=mutualformer"),
        ({"cross": "none", "steps": 2}, "steps", "cross=diffusion"),
        ({"cross": "attention", "initial": "affinity"}, "initial", "cross=diffusion"),
        ({"fusion": "token_fusion", "exchange_ratio": 0.2}, "exchange_ratio", "exchange=random"),
        ({"fusion": "token_fusion", "exchange": "full", "theta": 0.1}, "theta", "exchange=scores"),
        ({"stem": "patch", "stem_width": 32}, "stem_width", "stem=hybrid"),
        ({"preset": "small", "stem_blocks": 2}, "stem_blocks", "stem=hybrid"),
        ({"backbone": "resnet18", "feature_blocks": (1, 2)}, "feature_blocks", "hierarchical"),
        ({"backbone": "resnet18", "stem": "hybrid"}, "stem", "stem of its own"),
        ({"stem": "patch", "fine_width": 32}, "fine_width", "no map is finer"),
    ],
    ids=str,
)
def test_model_option_without_effect_is_refused(options, name, reason):
    with pytest.raises(InputError, match=f"^{name} has no effect: .*{reason}.*leave {name} out"):
        build_model(**{"preset": "tiny-scratch", **options})


def test_width_of_a_method_without_heads_need_not_divide_by_them():
    assert make_config("tiny-scratch", fusion="sum", dim=20).fusion.dim == 20


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_preset_takes_every_fusion(preset, fusion):
    assert make_config(preset, fusion=fusion).fusion.fusion == fusion


def test_stored_configuration_with_switches_of_other_methods_is_read():
    config = make_config("tiny-scratch", fusion="sum")
    stored = config.to_dict()
    stored["fusion"] |= {"theta": 0.1, "epsilon": 0.6, "noise": True}
    assert ModelConfig.from_dict(stored) == config


def test_stored_configuration_with_an_unknown_switch_is_refused():
    stored = make_config("tiny-scratch").to_dict()
    stored["fusion"]["magic"] = 1
    with pytest.raises(InputError, match="magic"):
        ModelConfig.from_dict(stored)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"momentum": 0.5}, "momentum"),
        ({"schedule": "cosine", "poly_power": 0.5}, "poly_power"),
        ({"schedule": "constant", "min_lr_ratio": 0.1}, "min_lr_ratio"),
        ({"recipe": "f3net-2185", "warmup_epochs": 2.0}, "warmup_epochs"),
        ({"cache": "ram", "cache_dir": "x"}, "cache_dir"),
        ({"cache_side": 100}, "cache_side"),
        ({"choose_on_test_set": True}, "choose_on_test_set"),
        ({"val_sets": ("V",), "holdout": 0.2}, "holdout"),
        ({"holdout": 0.0, "holdout_by": "image"}, "holdout_by"),
        ({"modality": "rgb", "near": ["white"]}, "near"),
        ({"modality": "rgb", "near": "SAMPLES=black"}, "near"),
        ({"modality": "rgb", "depth_dropout": 0.1}, "depth_dropout"),
        ({"modality": "rgb", "invent_depth": 0.1}, "invent_depth"),
        ({"modality": "rgb", "wrong_depth": 0.1}, "wrong_depth"),
        ({"modality": "rgb", "poor_colour": 0.1}, "poor_colour"),
        ({"estimated_depth": "x"}, "estimated_depth"),
        ({"teacher_ratio": 0.5}, "teacher_ratio"),
        ({"replay": 0.5}, "replay"),
        ({"pretrained": "imagenet", "init_weights": "w"}, "pretrained"),
        ({"pretrained": "imagenet", "finetune": "w"}, "pretrained"),
        ({"init_weights": "w", "finetune": "w"}, "init_weights"),
    ],
    ids=str,
)
def test_training_option_without_effect_is_refused(fields, name):
    with pytest.raises(InputError, match=f"^`{name}` has no effect: .*leave `{name}` out"):
        make_train_config(**fields)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_whose_options_lose_their_effect_is_accepted(recipe):
    off = {"depth_dropout": 0.0, "near": ["auto"]}
    config = make_train_config(recipe, modality="rgb", **off, init_weights="w")
    assert config.pretrained is None  # the weights given stand for the recipe's


class TestSeveralNetworks:
    def test_option_for_all_reaches_those_that_use_it(self):
        sum_, mutualformer = parse_variants(["sum", "mutualformer"])
        assert "epsilon" not in sum_.overrides({"epsilon": 0.5})
        assert mutualformer.overrides({"epsilon": 0.5})["epsilon"] == 0.5
        assert "epsilon" not in network_overrides("sum", "tiny-scratch", {"epsilon": 0.5})

    def test_option_that_none_uses_is_refused(self):
        variants = parse_variants(["sum", "concat"])
        with pytest.raises(InputError, match="`fields` epsilon has no effect"):
            check_variants(variants, "tiny-scratch", {"epsilon": 0.5})
        with pytest.raises(InputError, match="`fields` phi has no effect"):
            layer_costs(["sum", "concat"], 64, 16, 0, {"phi": False})

    def test_option_that_one_of_them_does_not_use_is_refused(self):
        with pytest.raises(InputError, match=r"`fusions` sum:theta=0.1: theta has no effect"):
            check_variants(parse_variants(["sum:theta=0.1"]), "tiny-scratch", {})


def test_polarity_without_depth_is_refused(monkeypatch, capsys):
    arguments = ["predict.py", "--rgb", "x.png", "--output", "y", "--near", "white"]
    monkeypatch.setattr("sys.argv", arguments)
    from mutualformer_sod.cli.predict_options import parse_arguments

    with pytest.raises(SystemExit):
        parse_arguments("")
    assert "--near has no effect without depth" in capsys.readouterr().err
