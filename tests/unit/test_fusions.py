"""Every fusion in the whole network: heads, mixed batches, configurations, weights files."""

import itertools
from pathlib import Path

import pytest
import torch
from fused_models import FUSIONS, IN_ENCODER, ON_FEATURES, SMALL

from mutualformer_sod import build_model
from mutualformer_sod.configs.fusion import fusion_methods
from mutualformer_sod.configs.model import make_config
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.errors import InputError
from mutualformer_sod.losses import detector_losses
from mutualformer_sod.models.starting import load_encoder, load_network
from mutualformer_sod.models.weights import load_weights, save_weights
from mutualformer_sod.training.optimiser import make_optimizer

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "weights" / "mutualformer_tiny.safetensors"
ENSEMBLES = [fusion for fusion in FUSIONS if fusion != "mutualformer"]
BY_DEFAULT = ("token_fusion", "gemini_fusion", "channel_exchange")  # decoded as an ensemble
# Exchange that does happen, as it would not at the threshold of scores and scales near 1/2 and 1.
EXCHANGING = {"token_fusion": {"theta": 0.5}, "channel_exchange": {"theta": 1.0}}


def make_model(fusion, seed=0, **options):
    torch.manual_seed(seed)
    settings = SMALL | EXCHANGING.get(fusion, {}) | {"share": True} | options
    model = build_model("tiny-scratch", fusion=fusion, **settings)
    with torch.no_grad():  # norms start alike in both streams, and alpha at its middle
        for name, parameter in model.named_parameters():
            if "norm" in name and parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
        if model.alpha is not None:
            model.alpha.copy_(torch.tensor([0.7, -0.4]))
    return model


def batch(size=(64, 64), images=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rgb = torch.rand(images, 3, *size, generator=generator)
    return rgb, torch.rand(images, 1, *size, generator=generator)


def masks(images=2, size=(64, 64)):
    gt = torch.zeros(images, 1, *size)
    gt[..., 10:40, 20:50] = 1
    return gt


def losses_of(output, gt, **options):
    streams = {name: (own.logits, own.side_logits) for name, own in output.streams.items()}
    arguments = output.logits, output.side_logits, output.extra_losses, gt
    return detector_losses(*arguments, streams=streams, **options)


def dead_parameters(model):
    """Parameters without a gradient; a bias of keys, which a softmax cancels, may have zeros."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not (parameter.grad.any() or name.endswith("key.bias"))
    ]


def losses_alone(logits, side_logits, gt):
    return detector_losses(logits, side_logits, {}, gt)


class TestHeads:
    @pytest.mark.parametrize("fusion", FUSIONS)
    def test_merge_head_gives_one_map_and_its_sides(self, fusion):
        output = make_model(fusion, head="merge")(*batch())
        assert output.logits.shape == (2, 1, 64, 64)
        assert [len(side) for side in output.side_logits] == [2, 2, 2]
        assert output.streams == {}

    @pytest.mark.parametrize("fusion", ENSEMBLES)
    def test_ensemble_head_weights_the_logits_of_both_streams(self, fusion):
        model = make_model(fusion, head="ensemble")
        images = batch()
        with torch.no_grad():
            output = model.train()(*images)
            evaluated = model.eval()(*images)
        rgb, depth = output.streams["rgb"].logits, output.streams["depth"].logits
        share = 1 / (1 + torch.exp(model.alpha[1] - model.alpha[0]))
        want = share * rgb + (1 - share) * depth
        assert not torch.allclose(rgb, depth)
        torch.testing.assert_close(output.logits, want)
        torch.testing.assert_close(evaluated, want, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(output.statistics["rgb_weight"], share)

    @pytest.mark.parametrize("fusion", FUSIONS)
    def test_auto_head_is_that_of_the_methods_paper(self, fusion):
        assert make_config("tiny-scratch", fusion=fusion).fusion.is_ensemble == (
            fusion in BY_DEFAULT
        )

    @pytest.mark.parametrize("fusion", ["sum", "token_fusion"])
    def test_ensemble_logits_train_alpha_alone(self, fusion):
        model = make_model(fusion, head="ensemble").train()
        losses_of(model(*batch()), masks())  # no error: every output has a loss
        output = model(*batch())
        output.logits.square().sum().backward()
        moved = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        assert moved == {"alpha"}

    @pytest.mark.parametrize("fusion", ["sum", "gemini_fusion"])
    def test_losses_of_the_streams_are_those_of_their_outputs(self, fusion):
        model, gt = make_model(fusion, head="ensemble").train(), masks()
        with torch.no_grad():
            output = model(*batch())
            got = losses_of(output, gt)
            total = losses_alone(output.logits, [], gt)["structure"]
            for name, own in output.streams.items():
                assert len(own.side_logits) == 3
                want = losses_alone(own.logits, own.side_logits, gt)
                total = total + want.pop("total")
                for term, value in want.items():
                    torch.testing.assert_close(got[f"{name}_{term}"], value)
            torch.testing.assert_close(got["total"], total + sum(output.extra_losses.values()))

    @pytest.mark.parametrize("fusion", ENSEMBLES)
    def test_ensemble_head_trains_every_parameter(self, fusion):
        model = make_model(fusion, head="ensemble").train()
        losses_of(model(*batch(), torch.tensor([True, False])), masks())["total"].backward()
        dead = dead_parameters(model)
        assert dead == []

    @pytest.mark.parametrize("fusion", FUSIONS)
    def test_merge_head_trains_every_parameter(self, fusion):
        # Under seed 0 TokenFusion may exchange all tokens of one modality, whose norms then idle.
        model = make_model(fusion, seed=1, head="merge").train()
        losses_of(model(*batch(), torch.tensor([True, False])), masks())["total"].backward()
        dead = dead_parameters(model)
        assert dead == []

    def test_alpha_is_optimised_without_decay(self):
        model = make_model("sum", head="ensemble")
        groups = make_optimizer(model, TrainConfig(weight_decay=0.1)).param_groups
        (group,) = [g for g in groups if any(p is model.alpha for p in g["params"])]
        assert group["weight_decay"] == 0
        assert group["peak_lr"] == TrainConfig().lr

    def test_alpha_moves_towards_the_better_stream(self):
        model = make_model("sum", head="ensemble").train()
        images = batch()
        with torch.no_grad():
            model.alpha.zero_()
            logits = model(*images).streams["rgb"].logits
        gt = (logits > logits.median()).float()  # the map of rgb
        optimizer = make_optimizer(model, TrainConfig(lr=0.01))
        for _ in range(3):
            optimizer.zero_grad()
            losses_of(model(*images), gt)["total"].backward()
            optimizer.step()
        assert model.alpha[0] > 0.01
        assert model.alpha[1] < -0.01

    def test_merge_head_has_no_alpha(self):
        assert "alpha" not in make_model("sum", head="merge").state_dict()


CASES = [("mutualformer", "merge")]
CASES += [(fusion, head) for fusion in ENSEMBLES for head in ("merge", "ensemble")]
NEARLY = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize(("fusion", "head"), CASES)
class TestMixedBatches:
    @pytest.fixture
    def model(self, fusion, head):
        return make_model(fusion, head=head).eval()

    @torch.inference_mode()
    def test_mixed_batch_equals_its_images_one_by_one(self, model):
        rgb, depth = batch(images=3)
        depth[1] = torch.nan  # ignored where depth is absent
        has_depth = torch.tensor([True, False, True])
        together = model(rgb, depth, has_depth)
        for row, real in enumerate(has_depth.tolist()):
            one = slice(row, row + 1)
            alone = model(rgb[one], depth[one] if real else None)
            torch.testing.assert_close(together[one], alone, **NEARLY)
        assert (together[0] - model(rgb[:1], 1 - depth[:1])).abs().max() > 1e-4

    @torch.inference_mode()
    def test_absent_depth_is_the_same_as_none_or_as_a_mask(self, model):
        rgb, depth = batch()
        without = model(rgb, None)
        poisoned = model(rgb, depth * torch.nan, torch.zeros(2, dtype=torch.bool))
        torch.testing.assert_close(poisoned, without, **NEARLY)

    @torch.inference_mode()
    def test_odd_sizes_give_logits_of_that_size(self, model):
        got = model(*batch((51, 70), images=1))
        assert got.shape == (1, 1, 51, 70)
        assert got.isfinite().all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_nan_in_absent_depth_reaches_no_gradient(fusion):
    model = make_model(fusion).train()
    rgb, depth = batch()
    depth[1] = torch.nan
    losses_of(model(rgb, depth, torch.tensor([True, False])), masks())["total"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def rows_of(document):
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| `--fusion` |")) + 2
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[first:]]
    return {name.strip("`"): rest for name, *rest in itertools.takewhile(lambda c: c[1:], cells)}


def test_documents_have_a_row_for_every_registered_method():
    readme, reference = rows_of("README.md"), rows_of("docs/fusion.md")
    assert set(rows_of("README.zh-CN.md")) == set(readme) == set(reference) == set(FUSIONS)
    for name, method in fusion_methods().items():
        where = (
            "in every block of the encoder" if method.in_encoder else "on the encoder's features"
        )
        assert readme[name][0] == method.description
        assert reference[name] == [where, "ensemble" if method.ensemble else "merge"]


class TestConfig:
    @pytest.mark.parametrize("fusion", IN_ENCODER)
    def test_method_inside_the_encoder_shares_it_by_default(self, fusion):
        assert not make_config("small").encoder.share
        assert make_config("small", fusion=fusion).encoder.share

    @pytest.mark.parametrize("fusion", ON_FEATURES)
    def test_method_at_the_taps_keeps_the_presets_sharing(self, fusion):
        assert not make_config("small", fusion=fusion).encoder.share

    @pytest.mark.parametrize("fusion", IN_ENCODER)
    def test_method_inside_the_encoder_refuses_separate_encoders(self, fusion):
        with pytest.raises(InputError, match=f"share=False.*{fusion}.*leave share out") as error:
            make_config("small", fusion=fusion, share=False)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ({"head": "ensemble"}, "merge: mutualformer has one fused stream"),
            ({"fusion": "token_fusion", "head": "both"}, "auto, merge, ensemble"),
            ({"fusion": "tokenfusion"}, "sum, token_fusion"),
            ({"fusion": ["concat"]}, "fusion=.*a string"),
            ({"cross": "cross"}, "diffusion, attention, none"),
            ({"fused_attention": 1}, "true or false"),
            ({"fusion": "token_fusion", "theta": -0.1}, "0 or more"),
            ({"fusion": "channel_exchange", "sparsity": -1.0}, "0 or more"),
            ({"fusion": "token_fusion", "exchange": "some"}, "scores, random, full"),
            ({"fusion": "token_fusion", "exchange_ratio": 1.5}, "0 to 1"),
            ({"fusion": "token_fusion", "score_on": "both"}, "output, input"),
        ],
        ids=str,
    )
    def test_illegal_option_is_named_with_its_remedy(self, options, word):
        with pytest.raises(InputError, match=word) as error:
            make_config("tiny-scratch", **options)
        assert "\n" not in str(error.value)


class TestWeights:
    @pytest.mark.parametrize(("fusion", "head"), CASES)
    def test_weights_after_saving_and_loading_give_the_same_maps(self, fusion, head, tmp_path):
        model = make_model(fusion, head=head).eval()
        save_weights(model, tmp_path / "weights.safetensors", {})
        loaded, _ = load_weights(tmp_path / "weights.safetensors")
        assert loaded.config == model.config
        rgb, depth = batch((64, 80))
        has_depth = torch.tensor([True, False])
        with torch.inference_mode():
            want, got = model(rgb, depth, has_depth), loaded(rgb, depth, has_depth)
        torch.testing.assert_close(got, want, rtol=0, atol=0)

    def test_configuration_from_before_the_fusions_is_the_default(self):
        values = make_config("tiny-scratch").to_dict()
        before = ("dim", "num_heads", "blocks_per_level", "mlp_ratio", "qkv_bias", "drop_path")
        before += ("form", "epsilon", "steps", "affinity", "initial", "attention")
        before += ("fine_width",)
        values["fusion"] = {name: values["fusion"][name] for name in before}
        assert type(make_config("tiny-scratch")).from_dict(values) == make_config("tiny-scratch")


def encoder_of(model):
    return {n: p for n, p in model.state_dict().items() if n.startswith("encoder.")}


class TestInitWeights:
    """load_encoder, which --init-weights calls."""

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "weights.safetensors"

    @pytest.mark.parametrize("fusion", FUSIONS)
    def test_load_encoder_takes_the_files_encoder_in_any_fusion(self, fusion, path):
        source = make_model("mutualformer")
        save_weights(source, path, {"modality": "both"})
        model = build_model("tiny-scratch", fusion=fusion, **SMALL)
        others = {n: p.clone() for n, p in model.state_dict().items() if "encoder." not in n}
        load_encoder(model, path)
        want = encoder_of(source)
        assert set(want) == set(encoder_of(model))
        for name, tensor in encoder_of(model).items():
            torch.testing.assert_close(tensor, want[name], rtol=0, atol=0)
        for name, tensor in others.items():
            torch.testing.assert_close(model.state_dict()[name], tensor, rtol=0, atol=0)

    def test_load_encoder_from_rgb_training_copies_the_norms_of_rgb_to_depth(self, path):
        source = make_model("mutualformer")
        save_weights(source, path, {"modality": "rgb"})
        model = build_model("tiny-scratch", fusion="token_fusion", **SMALL)
        load_encoder(model, path)
        streams = model.encoder.rgb_stream.state_dict(), model.encoder.depth_stream.state_dict()
        for name, tensor in source.encoder.rgb_stream.state_dict().items():
            torch.testing.assert_close(streams[0][name], tensor, rtol=0, atol=0)
            torch.testing.assert_close(streams[1][name], tensor, rtol=0, atol=0)

    def test_load_encoder_from_a_shared_encoder_fills_two(self, path):
        source = make_model("mutualformer")
        save_weights(source, path, {"modality": "both"})
        model = build_model("tiny-scratch", share=False, **SMALL)
        load_encoder(model, path)
        for name, tensor in encoder_of(source).items():
            torch.testing.assert_close(model.state_dict()[name], tensor, rtol=0, atol=0)

    @pytest.mark.parametrize(
        ("other", "fix"),
        [
            ({"backbone": "vit_small_patch16_224"}, "--set backbone=vit_tiny_patch16_224"),
            ({"feature_blocks": (1, 4)}, r"--set feature_blocks=\[1,3\]"),
            ({"image_size": 96}, "--size 64"),
        ],
    )
    def test_load_encoder_with_another_encoder_names_the_fitting_flags(self, path, other, fix):
        save_weights(make_model("sum"), path, {})
        model = build_model("tiny-scratch", **SMALL | other)
        with pytest.raises(InputError, match=rf"`init_weights` .*weights\.safetensors.*{fix}") as e:
            load_encoder(model, path)
        assert "\n" not in str(e.value)

    def test_weights_of_another_preset_suggest_that_preset(self):
        with pytest.raises(InputError, match="Fix: pass --preset tiny --size 192, as in the file"):
            load_encoder(build_model("small", image_size=64), SHIPPED)

    @pytest.mark.parametrize(
        ("options", "fix"),
        [
            ({"fusion": "sum", "image_size": 96}, "--fusion mutualformer, as in the file"),
            ({"decoder_width": 32, "image_size": 160}, "--set decoder_width=64, as in the file"),
            ({"preset": "tiny-scratch"}, "--preset tiny, as in the file"),
        ],
    )
    def test_load_network_of_other_parts_names_the_fitting_flags(self, options, fix):
        with pytest.raises(InputError, match=rf"`finetune` .*Fix: pass {fix}"):
            load_network(build_model(**{"preset": "tiny", **options}), SHIPPED)

    def test_load_encoder_reports_loaded_and_new_parts(self, path):
        save_weights(make_model("mutualformer"), path, {"modality": "rgb"})
        model = build_model("tiny-scratch", fusion="sum", **SMALL)
        told = load_encoder(model, path)
        encoder = sum(p.numel() for p in model.encoder.parameters()) / 1e6
        assert f"{path}: the encoder is loaded, {encoder:.2f} M parameters" in told
        assert "trained without depth" in told
        new = told.split("new, from random weights: ")[1]
        assert {part.split()[0] for part in new.split(", ")} == {"fusion", "decoder", "no_depth"}

    def test_weights_that_are_not_finite_are_refused(self, path):
        source = make_model("sum")
        with torch.no_grad():
            next(source.encoder.parameters()).fill_(torch.nan)
        save_weights(source, path, {})
        with pytest.raises(InputError, match="NaN"):
            load_encoder(build_model("tiny-scratch", **SMALL), path)
