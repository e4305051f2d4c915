"""Optimisers, learning-rate schedules, the frozen encoder."""

import itertools

import pytest
import torch
from torch import nn

from mutualformer_sod import build_model
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.errors import InputError
from mutualformer_sod.training.optimiser import (
    encoder_layers,
    freeze_encoder,
    make_optimizer,
    schedule,
    set_learning_rate,
)


def small_model():
    return build_model("tiny-scratch", feature_blocks=(1, 3), dim=32, image_size=32, stem="hybrid")


@pytest.fixture(scope="module")
def model():
    return small_model()


def rates(model, config):
    """Peak rate of every parameter, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: group["peak_lr"]
        for group in make_optimizer(model, config).param_groups
        for parameter in group["params"]
    }


class TestGroups:
    def test_layer_decay_slows_a_vit_down_layer_by_layer(self, model):
        config = TrainConfig(lr=1.0, encoder_lr_scale=0.5, layer_decay=0.8)
        got = rates(model, config)
        assert set(got) == {name for name, _ in model.named_parameters()}
        body = "encoder.rgb_stream.body."
        for name, layers_above in {
            f"{body}pos_embed": 4,
            f"{body}cls_token": 4,
            f"{body}patch_embed.proj.entry.conv.weight": 4,
            f"{body}blocks.0.attn.qkv.weight": 3,
            "encoder.depth_stream.body.blocks.0.norm1.weight": 3,
            f"{body}blocks.1.mlp.fc1.bias": 2,
            f"{body}blocks.2.mlp.fc2.weight": 1,
            f"{body}norm.weight": 1,
            "encoder.depth_stream.body.norm.bias": 1,
        }.items():
            assert got[name] == pytest.approx(0.5 * 0.8**layers_above), name
        others = [rate for name, rate in got.items() if not name.startswith("encoder.")]
        assert set(others) == {1.0}

    @pytest.mark.parametrize(
        ("backbone", "stem", "first", "last"),
        [
            ("resnet18", "conv1.weight", "layer1.0.conv1.weight", "layer4.1.conv2.weight"),
            (
                "pvt_v2_b0",
                "patch_embed.proj.weight",
                "stages_0.blocks.0.norm1.weight",
                "stages_3.norm.weight",
            ),
            (
                "mobilenetv3_small_050",
                "conv_stem.weight",
                "blocks.0.0.conv_dw.weight",
                "blocks.5.0.conv.weight",
            ),
        ],
    )
    def test_hierarchical_encoders_slow_down_by_stage(self, backbone, stem, first, last):
        model = build_model("resnet50", backbone=backbone, dim=32, image_size=64)
        layers, count = encoder_layers(model)
        prefix = "encoder.depth_stream.body."
        assert layers[prefix + stem] == 0
        assert layers[prefix + first] == 1
        assert layers[prefix + last] == count - 1 >= 4
        assert {name for name, _ in model.named_parameters() if name.startswith("encoder.")} <= set(
            layers
        )

    @pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
    @pytest.mark.parametrize("layer_decay", [None, 0.8])
    def test_order_of_groups_and_parameters_is_the_models_alone(
        self, model, optimizer, layer_decay
    ):
        config = TrainConfig(optimizer=optimizer, layer_decay=layer_decay)

        def order(model):
            names = {id(parameter): name for name, parameter in model.named_parameters()}
            groups = make_optimizer(model, config).param_groups
            return [[names[id(parameter)] for parameter in group["params"]] for group in groups]

        first, again = order(model), order(small_model())
        assert first == again
        position = {name: k for k, (name, _) in enumerate(model.named_parameters())}
        for group in first:
            assert group == sorted(group, key=position.get)
        flat = list(itertools.chain(*first))
        assert sorted(flat) == sorted(position)

    def test_vector_outside_the_encoder_is_not_decayed(self, model):
        model = small_model()
        model.alpha = nn.Parameter(torch.zeros(5))
        for group in make_optimizer(model, TrainConfig()).param_groups:
            if any(parameter is model.alpha for parameter in group["params"]):
                assert group["weight_decay"] == 0
                break
        else:
            pytest.fail("alpha is in no group")


def take_step(parameters, optimizer, gradients):
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    optimizer.step()


class TestSgd:
    def test_it_is_nesterovs_momentum_with_decay(self):
        model = nn.Linear(2, 1)
        config = TrainConfig(optimizer="sgd", lr=0.05, weight_decay=5e-4, momentum=0.9)
        optimizer = make_optimizer(model, config)
        set_learning_rate(optimizer, 1.0)
        weight = model.weight.detach().double().clone()
        velocity = torch.zeros_like(weight)
        for gradient in torch.randn(4, 1, 2):
            take_step([model.weight], optimizer, [gradient])
            slope = gradient.double() + 5e-4 * weight
            velocity = 0.9 * velocity + slope
            weight = weight - 0.05 * (slope + 0.9 * velocity)
        torch.testing.assert_close(model.weight.detach().double(), weight, atol=1e-6, rtol=0)

    def test_it_runs_without_momentum(self):
        optimizer = make_optimizer(nn.Linear(2, 1), TrainConfig(optimizer="sgd", momentum=0.0))
        assert not any(group["nesterov"] for group in optimizer.param_groups)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_fused_step_is_torchs_plain_one(optimizer):
    torch.manual_seed(0)
    ours = nn.Conv2d(3, 4, 3)
    plain = nn.Conv2d(3, 4, 3)
    plain.load_state_dict(ours.state_dict())
    first = make_optimizer(ours, TrainConfig(optimizer=optimizer, lr=0.01, weight_decay=0.1))
    groups = [
        {"params": [plain.bias], "weight_decay": 0.0},
        {"params": [plain.weight], "weight_decay": 0.1},
    ]
    if optimizer == "adamw":
        second = torch.optim.AdamW(groups, lr=0.01, foreach=False, fused=False)
    else:
        second = torch.optim.SGD(
            groups, lr=0.01, momentum=0.9, nesterov=True, foreach=False, fused=False
        )
    for _ in range(5):
        gradients = [torch.randn_like(ours.weight), torch.randn_like(ours.bias)]
        take_step([ours.weight, ours.bias], first, gradients)
        take_step([plain.weight, plain.bias], second, gradients)
    torch.testing.assert_close(ours.weight, plain.weight)
    torch.testing.assert_close(ours.bias, plain.bias)


def test_fused_step_is_the_plain_one_on_channels_last_weights():
    # The fused kernel walks memory: it is right only where a gradient lies as its parameter does.
    torch.manual_seed(0)
    model = build_model("resnet50", backbone="resnet18", dim=32, image_size=32).train()
    model.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, TrainConfig(lr=0.01))
    model(torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)).logits.mean().backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer.step()
    fused = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(before)
    plain = make_optimizer(model, TrainConfig(lr=0.01))
    for group in plain.param_groups:
        group["fused"] = False
    plain.step()
    torch.testing.assert_close(dict(model.state_dict()), fused, atol=1e-5, rtol=1e-4)


class TestSchedule:
    TOTAL, WARMUP = 200, 20

    def share(self, step, total=TOTAL, warmup=WARMUP, kind="cosine", **options):
        config = TrainConfig(epochs=total, warmup_epochs=warmup, schedule=kind, **options)
        return schedule(config, step, 1)

    def shares(self, kind, **options):
        return [self.share(step, kind=kind, **options) for step in range(self.TOTAL + 1)]

    @pytest.mark.parametrize("kind", ["cosine", "poly", "constant"])
    @pytest.mark.parametrize("min_ratio", [0.0, 0.1])
    def test_it_warms_up_to_one_and_ends_at_the_least_share(self, kind, min_ratio):
        shares = self.shares(kind, min_lr_ratio=min_ratio)
        assert shares[0] == 1 / self.WARMUP
        assert shares[self.WARMUP - 1] == shares[self.WARMUP] == 1.0
        want = 1.0 if kind == "constant" else min_ratio
        assert shares[-1] == pytest.approx(want, abs=1e-12)
        assert self.share(self.TOTAL + 5, kind=kind, min_lr_ratio=min_ratio) == shares[-1]

    @pytest.mark.parametrize("kind", ["cosine", "poly", "constant", "triangular"])
    def test_it_is_continuous(self, kind):
        steps = itertools.pairwise(self.shares(kind))
        # The steepest is the warm-up; a power below 1 ends steeply.
        assert max(abs(b - a) for a, b in steps) <= 1 / self.WARMUP + 1e-12

    def test_poly_is_a_power_of_the_remaining_ratio(self):
        half = (self.TOTAL + self.WARMUP) // 2
        for power in (2.0, 0.9):
            got = self.share(half, kind="poly", poly_power=power)
            assert got == pytest.approx(0.5**power)

    def test_triangular_rises_to_the_middle_and_falls_without_a_warm_up(self):
        shares = [self.share(step, 9, 3, "triangular") for step in range(9)]
        assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.8, 0.6, 0.4, 0.2])
        assert self.share(9, 9, 0, "triangular", min_lr_ratio=0.3) == pytest.approx(0.3)

    def test_no_warm_up_starts_at_one(self):
        assert self.share(0, 10, 0) == 1.0

    def test_warm_up_counts_epochs(self):
        config = TrainConfig(epochs=10, warmup_epochs=0.5)
        assert [schedule(config, step, 8) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


class TestFrozenEncoder:
    @pytest.fixture
    def resnet(self):
        return build_model("resnet50", backbone="resnet18", dim=32, image_size=64)

    def test_step_changes_all_but_the_encoder(self, resnet):
        before = {name: tensor.clone() for name, tensor in resnet.state_dict().items()}
        optimizer = make_optimizer(resnet, TrainConfig(lr=0.01))
        resnet.train()
        freeze_encoder(resnet, True)
        resnet(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64)).logits.mean().backward()
        optimizer.step()
        for name, tensor in resnet.state_dict().items():
            if name.startswith("encoder."):
                assert torch.equal(tensor, before[name]), name
        changed = [n for n, t in resnet.state_dict().items() if not torch.equal(t, before[n])]
        assert any(name.startswith("decoder.") for name in changed)
        assert any(name.startswith("fusion.") for name in changed)

    def test_thawing_brings_every_parameter_and_batchnorm_back(self, resnet):
        freeze_encoder(resnet.train(), True)
        assert not any(p.requires_grad for p in resnet.encoder.parameters())
        freeze_encoder(resnet.train(), False)
        assert all(parameter.requires_grad for parameter in resnet.parameters())
        assert all(module.training for module in resnet.modules())

    def test_thawing_leaves_evaluation_mode_alone(self, resnet):
        freeze_encoder(resnet.eval(), False)
        assert not any(module.training for module in resnet.modules())


class TestFrozenLayers:
    def test_first_layers_do_not_train_and_the_others_do(self):
        model = small_model()
        freeze_encoder(model.train(), False, layers=2)
        body = "encoder.rgb_stream.body."
        trains = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        for name, expected in {
            f"{body}pos_embed": False,
            f"{body}patch_embed.proj.entry.conv.weight": False,
            f"{body}blocks.0.attn.qkv.weight": False,
            "encoder.depth_stream.body.blocks.0.norm1.weight": False,
            f"{body}blocks.1.attn.qkv.weight": True,
            f"{body}norm.weight": True,
            "no_depth": True,
        }.items():
            assert trains[name] is expected, name

    def test_more_layers_than_the_encoder_has_are_refused(self):
        with pytest.raises(InputError, match="`freeze_layers` 9: the encoder has 4 layers"):
            freeze_encoder(small_model(), False, layers=9)
