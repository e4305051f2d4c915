"""The detector: budgets, gradients, sizes, configurations, and pretrained weights."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from mutualformer_sod import build_model, list_presets
from mutualformer_sod.configs.diffusion import Diffusion
from mutualformer_sod.configs.model import ModelConfig, make_config, option_owners
from mutualformer_sod.models import MutualFormerBlock
from mutualformer_sod.models.detector import SaliencyDetector
from mutualformer_sod.models.skeleton import timm_skeleton

BUDGET = 52.05e6  # the paper's Table 1


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def batch(size=(64, 64), images=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rgb = torch.rand(images, 3, *size, generator=generator)
    return rgb, torch.rand(images, 1, *size, generator=generator)


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return build_model("tiny-scratch").eval()


@pytest.mark.parametrize("preset", ["small", "resnet50"])
def test_preset_has_the_papers_number_of_parameters(preset):
    assert abs(count(build_model(preset)) - BUDGET) <= 0.01 * BUDGET


def register_network(width):
    def registered_twice(pretrained=False, **_):
        return torch.nn.Linear(width, 1)

    timm.models.register_model(registered_twice)


def test_timm_skeleton_of_a_name_registered_again_is_of_the_new_model():
    register_network(3)
    first = timm_skeleton("registered_twice")
    assert timm_skeleton("registered_twice") is first  # building it takes time
    with pytest.warns(UserWarning, match="registered_twice"):
        register_network(5)
    assert timm_skeleton("registered_twice").in_features == 5
    assert timm_skeleton("registered_twice").weight.is_meta


def test_tiny_scratch_has_at_most_8_million_parameters(tiny):
    assert count(tiny) <= 8e6


@pytest.mark.parametrize("preset", list_presets())
def test_preset_trains_every_parameter_on_a_mixed_batch(preset):
    torch.manual_seed(0)
    model = build_model(preset).train()
    output = model(*batch(), has_depth=torch.tensor([True, False]))
    outputs = [output.logits, *output.side_logits]
    sum(item.square().mean() for item in outputs).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("preset", ["tiny-scratch", "resnet50"])
@pytest.mark.parametrize("size", [(64, 64), (75, 98), (33, 130)])
def test_detector_with_any_input_size_gives_logits_of_that_size(preset, size):
    model = build_model(preset).eval()
    rgb, depth = batch(size, images=1)
    with torch.inference_mode():
        assert model(rgb, depth).shape == (1, 1, *size)


@pytest.mark.parametrize("preset", ["tiny-scratch", "resnet50"])
def test_detector_on_a_batch_equals_its_images_one_by_one(preset):
    model = build_model(preset).eval()
    rgb, depth = batch((64, 80))
    has_depth = torch.tensor([True, False])
    with torch.inference_mode():
        together = model(rgb, depth, has_depth)
        alone = [model(rgb[i : i + 1], depth[i : i + 1], has_depth[i : i + 1]) for i in (0, 1)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_detector_computes_the_same_in_training_and_eval_mode(tiny):
    rgb, depth = batch()
    with torch.no_grad():
        trained = build_model("tiny-scratch").train()
        trained.load_state_dict(tiny.state_dict())
        output = trained(rgb, depth)
        torch.testing.assert_close(output.logits, tiny(rgb, depth), rtol=1e-4, atol=1e-5)


def test_detector_in_training_mode_gives_side_logits_from_fine_to_coarse():
    output = build_model("tiny-scratch").train()(*batch())
    assert output.logits.shape == (2, 1, 64, 64)
    assert [tuple(side.shape) for side in output.side_logits] == [
        (2, 1, 16, 16),
        (2, 1, 8, 8),
        (2, 1, 4, 4),
    ]
    assert output.extra_losses == {}


def test_detector_normalises_its_input():
    model = build_model("tiny-scratch", backbone="deit_tiny_patch16_224").eval()
    rgb, _ = batch(images=1)
    seen = []
    model.encoder.rgb_stream.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.inference_mode():
        model(rgb)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    torch.testing.assert_close(seen[0], (rgb - mean) / std)
    assert not {"mean", "std"} & set(model.state_dict())  # constants are not weights


def test_shared_streams_differ_in_their_normalisation_layers_alone():
    model = build_model("tiny-scratch", share=True)
    rgb = dict(model.encoder.rgb_stream.named_parameters())
    depth = dict(model.encoder.depth_stream.named_parameters())
    own = {name for name in rgb if rgb[name] is not depth[name]}
    assert own
    assert all("norm" in name for name in own)
    assert all("norm" not in name for name in set(rgb) - own)


def test_unshared_streams_share_nothing_and_start_differently():
    model = build_model("tiny-scratch", share=False)
    rgb = dict(model.encoder.rgb_stream.named_parameters())
    depth = dict(model.encoder.depth_stream.named_parameters())
    assert all(rgb[name] is not depth[name] for name in rgb)
    name = "body.blocks.0.attn.qkv.weight"
    assert not torch.equal(rgb[name], depth[name])


@pytest.mark.parametrize(
    "overrides",
    [
        {"backbone": "vit_tiny_patch16_224", "feature_blocks": (2, 4), "dim": 64},
        {"backbone": "pvt_v2_b0", "dim": 64},
        {"backbone": "swin_tiny_patch4_window7_224", "dim": 64},
        {"backbone": "vit_small_patch16_dinov3", "dim": 64},  # rotary positions, 5 prefix tokens
        {"stem": "patch", "stage_convs": 1, "side_heads": 1},
        {"stem": "hybrid", "stem_width": 16, "stem_blocks": 2, "finest": 1},
        {"feature_blocks": (1, 2, 3, 4, 5)},  # more than the decoder has strides
        {"backbone": "vit_small_patch14_dinov2", "stem": "patch", "feature_blocks": (1, 2)},
        {"backbone": "densenet121"},  # knows no drop_path_rate
        {"blocks_per_level": 2, "form": "paper", "steps": 2, "initial": "affinity"},
    ],
    ids=lambda overrides: "-".join(map(str, overrides.values())),
)
def test_detector_with_other_options_trains_every_parameter(overrides):
    torch.manual_seed(0)
    model = build_model("tiny-scratch", **overrides).train()
    output = model(*batch((64, 96)), has_depth=torch.tensor([True, False]))
    assert output.logits.shape == (2, 1, 64, 96)
    sum(item.square().mean() for item in [output.logits, *output.side_logits]).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_overrides_reach_every_part_of_the_configuration():
    values = {"epsilon": 0.5, "share": False, "image_size": 96, "decoder_width": 32, "steps": 3}
    model = build_model("tiny-scratch", **values)
    config = model.config.to_dict()
    flat = {name: config[name] for name in ("image_size", "depth_rule", "mean", "std")}
    for part in ("encoder", "fusion", "decoder"):
        flat |= config[part]
    assert values.items() <= flat.items()
    assert set(flat) < set(option_owners())
    block = next(m for m in model.modules() if isinstance(m, MutualFormerBlock))
    assert block.diffusion == Diffusion(epsilon=0.5, steps=3)


def test_decoder_has_a_lateral_for_every_level():
    model = build_model("tiny-scratch", feature_blocks=(1, 2, 3, 4, 5), dim=32, stem="patch")
    assert len(model.decoder.laterals) == 5


def test_decoder_with_a_hybrid_stem_has_stages_at_its_strides():
    model = build_model("tiny-scratch", feature_blocks=(1, 2), stem_width=16)
    assert model.encoder.strides == [4, 8, 16, 16]
    assert model.encoder.channels == [16, 32, 192, 192]
    assert model.decoder.stage_strides == [16, 16, 8, 4, 2]
    assert len(model.decoder.laterals) == 4


def test_decoder_at_half_resolution_gives_logits_of_every_odd_size():
    model = build_model("tiny-scratch", feature_blocks=(1,), finest=2).eval()
    with torch.inference_mode():
        assert model(*batch((47, 61), images=1)).shape == (1, 1, 47, 61)


def test_decoder_without_side_heads_gives_no_side_logits():
    model = build_model("tiny-scratch", feature_blocks=(1,), side_heads=0).train()
    assert model(*batch()).side_logits == []


def test_configuration_of_an_older_release_builds_the_same_network():
    before = {
        "preset": "tiny",
        "image_size": 128,
        "depth_rule": "minmax",
        "encoder": {
            "backbone": "vit_tiny_patch16_224",
            "taps": [4, 8],
            "share": True,
            "stem": "hybrid",
            "stem_width": 48,
        },
        "fusion": {"dim": 128, "blocks_per_tap": 1, "attention_stride": 16, "fine_width": 32},
        "decoder": {"decoder_width": 64, "detail_width": 8, "finest": 2},
    }
    model = SaliencyDetector(ModelConfig.from_dict(before))
    assert count(model) == 5_354_752  # numbers in that release's file
    assert model.decoder.stage_strides == [16, 16, 8, 4, 2]


def test_configuration_is_the_same_after_a_round_trip():
    for preset in list_presets():
        config = make_config(preset)
        assert type(config).from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"preset": "huge"}, "tiny, tiny-scratch, small-dinov2, small, base, resnet50"),
        ({"epsilonn": 0.5}, "epsilon"),
        ({"dim": 100}, "num_heads"),
        ({"backbone": "vit_nano"}, "vit_nano"),
        ({"image_size": 8}, "image_size"),
        ({"feature_blocks": (3, 40)}, "12 blocks"),
        ({"feature_blocks": (6, 3)}, "increasing"),
        ({"fusion": "magic"}, "mutualformer"),
        ({"dim": "abc"}, "dim='abc'"),
        ({"num_heads": None}, "num_heads"),
        ({"feature_blocks": 3}, "list of whole numbers"),
        ({"feature_blocks": (1.5, 2)}, "list of whole numbers"),
        ({"feature_blocks": "abc"}, "list of whole numbers"),
        ({"share": "yes"}, "true or false"),
        ({"mlp_ratio": float("inf")}, "mlp_ratio"),
        ({"mlp_ratio": 0.001}, "mlp_ratio"),
        ({"encoder_drop_path": None}, "encoder_drop_path"),
        ({"blocks_per_level": 1.5}, "blocks_per_level"),
        ({"backbone": 5}, "backbone"),
        ({"backbone": "mixer_s16_224"}, "cannot be used here"),
        (
            {"backbone": "deit_tiny_distilled_patch16_224"},
            r"distillation tokens\. Fix: pass a plain",
        ),
        ({"decoder_width": 24}, "multiple of 16"),
        ({"mean": 0.5, "std": [0.2] * 3}, "mean.*three numbers"),
        ({"mean": ["a", 1, 2], "std": [0.2] * 3}, "mean.*three numbers"),
        ({"mean": [0.5] * 3, "std": [0.2, 0, 0.2]}, "std.*three numbers"),
        ({"fine_width": 20}, "multiple of 8"),
        ({"stem_width": 24}, "multiple of 16"),
        ({"stem_blocks": -1}, "stem_blocks"),
        ({"finest": 4}, "1 or 2"),
        ({"stage_convs": 0}, "stage_convs"),
        ({"side_heads": -1}, "side_heads"),
        ({"backbone": "vit_small_patch14_dinov2"}, "power of 2"),
    ],
)
def test_illegal_option_is_refused_with_the_choices(arguments, word):
    with pytest.raises(ValueError, match=word):
        build_model(**{"preset": "tiny-scratch", **arguments})


def test_detector_with_other_shapes_names_the_right_ones(tiny):
    rgb, depth = batch()
    for arguments in (
        (rgb[:, :1], depth),
        (rgb, depth[..., :-1]),
        (rgb, depth, torch.ones(3).bool()),
        (rgb, depth, torch.ones(2)),
        (rgb, None, torch.ones(2).bool()),
    ):
        with pytest.raises(ValueError, match="Fix: pass"):
            tiny(*arguments)


@pytest.fixture(scope="module")
def backbone_state():
    torch.manual_seed(1)
    return timm.create_model("vit_tiny_patch16_224").state_dict()


class TestPretrained:
    @pytest.mark.parametrize("kind", ["safetensors", "pth"])
    def test_local_file_fills_both_streams(self, tmp_path, backbone_state, kind):
        path = tmp_path / f"vit.{kind}"
        if kind == "pth":
            torch.save({"model": backbone_state}, path)
        else:
            save_file(backbone_state, path)
        model = build_model(
            "tiny-scratch", pretrained=path, share=False, stem="patch", image_size=224
        )
        for stream in (model.encoder.rgb_stream, model.encoder.depth_stream):
            loaded = stream.body.state_dict()
            assert len(loaded) > 100
            for name, tensor in loaded.items():
                torch.testing.assert_close(tensor, backbone_state[name])

    def test_file_of_another_backbone_is_refused_by_name(self, tmp_path, backbone_state):
        path = tmp_path / "vit_tiny.pth"
        torch.save(backbone_state, path)
        with pytest.raises(ValueError, match=r"vit_tiny\.pth.*deit_small"):
            build_model("small", pretrained=path)

    def test_file_of_which_nothing_is_taken_is_refused(self, tmp_path, tiny):
        torch.save(tiny.state_dict(), tmp_path / "whole.pth")
        with pytest.raises(ValueError, match=r"whole\.pth: not weights of vit_tiny"):
            build_model("tiny-scratch", pretrained=tmp_path / "whole.pth")

    @pytest.mark.parametrize("backbone", ["pvt_v2_b0", "resnet18"])
    def test_hierarchical_backbones_take_local_files(self, tmp_path, backbone):
        torch.save(timm.create_model(backbone).state_dict(), tmp_path / "b.pth")
        build_model("tiny-scratch", backbone=backbone, stem="patch", pretrained=tmp_path / "b.pth")

    def test_unreachable_hub_ends_in_one_line_with_both_ways_out(self, monkeypatch):
        real = timm.create_model

        def offline(name, pretrained=False, **kwargs):
            if pretrained:
                raise ConnectionError("no route\nto host")
            return real(name, **kwargs)

        monkeypatch.setattr(timm, "create_model", offline)
        with pytest.raises(ValueError, match=r"pretrained=FILE.*omit pretrained") as caught:
            build_model("tiny-scratch", pretrained=True)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("content", [b"", b"some text", b"PK\x03\x04broken"])
    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_other_files_are_refused_by_name(self, tmp_path, content, suffix):
        path = tmp_path / f"weights.{suffix}"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"weights\.{suffix}"):
            build_model("tiny-scratch", pretrained=path)

    def test_pickle_is_not_run(self, tmp_path):
        import pickle

        path = tmp_path / "evil.pth"
        path.write_bytes(pickle.dumps({"model": _Evil(tmp_path / "ran")}, protocol=2))
        with pytest.raises(ValueError, match=r"evil\.pth"):
            build_model("tiny-scratch", pretrained=path)
        assert not (tmp_path / "ran").exists()


class _Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import pathlib

        return pathlib.Path.touch, (self.path,)


def test_gradients_of_a_batch_with_absent_depth_repeat_bit_for_bit_with_two_threads():
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    model = build_model("tiny-scratch", image_size=64).train()
    rgb, depth = torch.rand(16, 3, 64, 64), torch.rand(16, 1, 64, 64)
    has_depth = torch.arange(16) % 2 == 0
    first = None
    try:
        torch.set_num_threads(2)
        for _ in range(4):
            model.zero_grad()
            model(rgb, depth, has_depth).logits.square().mean().backward()
            found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
            first = first or found
            assert all(map(torch.equal, first, found))
    finally:
        torch.set_num_threads(threads)
