"""The joint encoder: equal to the two-stream encoder without hooks, and each hook at its point."""

import copy
from types import SimpleNamespace

import pytest
import timm
import torch
from fused_models import IN_ENCODER, close, images, scrambled, small_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mutualformer_sod import build_model
from mutualformer_sod.configs.fusion import find_fusion
from mutualformer_sod.configs.model import EncoderConfig
from mutualformer_sod.models.device import optimise_for_cpu
from mutualformer_sod.models.encoder import TwoStreamEncoder, share_all_but_norms
from mutualformer_sod.models.joint_encoder import JointEncoder

POINTS = ("input", "norm", "heads", "projection", "mlp_norm")
BACKBONES = {
    "CLS token": ("test_vit", "patch", (32, 48)),
    "register, layer scale": ("test_vit2", "patch", (48, 32)),
    "RMS norms": ("test_vit4", "patch", (32, 48)),
    "CLS and 4 registers, patches of 14": ("vit_small_patch14_reg4_dinov2", "patch", (28, 42)),
    "rotary positions": ("eva02_tiny_patch14_224", "patch", (28, 42)),
    "hybrid stem": ("test_vit", "hybrid", (32, 48)),
    "timm's hybrid": ("vit_tiny_r_s16_p8_224", "patch", (32, 48)),
}


def make_encoder(backbone="test_vit", stem="patch"):
    torch.manual_seed(0)
    side = 56 if "patch14" in backbone else 64
    config = EncoderConfig(backbone=backbone, stem=stem, feature_blocks=(1, 3), share=True)
    return scrambled(TwoStreamEncoder(config, side)).double().eval()


def method(hooks=None):
    return SimpleNamespace(hooks=hooks or {}, joint_attention=False)


def encode(encoder, *images, hooks=None):
    """Features of both streams with hooks inside."""
    joint = copy.copy(encoder)
    joint.run_jointly("test")
    return joint(*images, method(hooks))[:2]


def nothing(call, rgb, depth):
    return rgb, depth


def pair(size=(32, 48)):
    return images(size=size, channels=(3, 3))


@pytest.fixture(scope="module")
def plain():
    return make_encoder()


@pytest.mark.parametrize("name", BACKBONES)
def test_hooks_that_do_nothing_leave_the_features_of_separate_encoders(name):
    backbone, stem, size = BACKBONES[name]
    encoder = make_encoder(backbone, stem)
    hooks = dict.fromkeys(POINTS, nothing)
    with torch.no_grad():
        joint = encode(encoder, *pair(size), hooks=hooks)
        for got, want in zip(joint, encoder(*pair(size))[:2], strict=True):
            assert len(got) == len(want) >= 2
            close(got, want)


def test_vit_without_prefix_tokens_keeps_all_of_its_tokens():
    torch.manual_seed(0)
    settings = {"img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
    bodies = [VisionTransformer(class_token=False, global_pool="avg", **settings) for _ in range(2)]
    share_all_but_norms(*bodies)
    bodies = scrambled(nn.ModuleList(bodies)).double().eval()
    rgb, depth = pair((32, 32))
    want = [
        body.norm(body.blocks(body._pos_embed(body.patch_embed(image))))
        for body, image in zip(bodies, (rgb, depth), strict=True)
    ]
    counts = []

    def count(call, rgb, depth):
        counts.append((rgb.shape[1], depth.shape[1]))
        return rgb, depth

    joint = JointEncoder(*bodies, "test")
    *features, _ = joint(rgb, depth, [1], method(dict.fromkeys(POINTS, count)))
    for (got,), tokens in zip(features, want, strict=True):
        close(got.flatten(2).transpose(1, 2), tokens)
    assert counts == [(4, 4)] * len(POINTS) * 2


def test_hook_of_a_vit_with_a_prefix_token_sees_the_patches_alone(plain):
    counts = set()

    def count(call, rgb, depth):
        counts.add((rgb.shape[1], depth.shape[1]))
        return rgb, depth

    encode(plain, *pair((32, 48)), hooks=dict.fromkeys(POINTS, count))
    assert counts == {(6, 6)}


@pytest.mark.parametrize("training", [False, True])
def test_batch_norms_see_their_own_modality_alone(training):
    encoder = make_encoder()
    streams = encoder.rgb_stream, encoder.depth_stream
    for stream in streams:
        stem = [nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 64, 4, 4)]
        stream.body.patch_embed.proj = nn.Sequential(*stem).double()
    share_all_but_norms(*streams)
    scrambled(encoder).train(training)
    joint = copy.deepcopy(encoder)
    for got, want in zip(encode(joint, *pair()), encoder(*pair())[:2], strict=True):
        close(got, want)
    for got, want in zip(joint.buffers(), encoder.buffers(), strict=True):
        close(got, want)  # running statistics, of rgb and of depth


@pytest.mark.parametrize("stream", ["rgb", "depth"])
@pytest.mark.parametrize("backbone", ["test_vit", "test_vit4"])  # LayerNorm, RMSNorm
def test_norm_acts_on_its_own_modality_alone(backbone, stream):
    encoder = make_encoder(backbone)
    before = dict(zip(("rgb", "depth"), encode(encoder, *pair()), strict=True))
    with torch.no_grad():
        getattr(encoder, f"{stream}_stream").body.blocks[0].norm2.weight += 0.5
    after = dict(zip(("rgb", "depth"), encode(encoder, *pair()), strict=True))
    other = {"rgb": "depth", "depth": "rgb"}[stream]
    assert all(map(torch.equal, before[other], after[other]))
    assert not any(map(torch.equal, before[stream], after[stream]))


def test_every_point_shows_the_values_of_its_name(plain):
    seen = {point: {} for point in POINTS}

    def note(point):
        def hook(call, rgb, depth):
            seen[point][call.layer] = rgb, depth
            return rgb, depth

        return hook

    encode(plain, *pair(), hooks={point: note(point) for point in POINTS})
    for index, image in enumerate(pair()):
        body = (plain.rgb_stream, plain.depth_stream)[index].body
        stream = body.norm_pre(body._pos_embed(body.patch_embed(image)))
        for layer, block in enumerate(body.blocks):
            want = {"input": stream, "norm": block.norm1(stream)}
            qkv = block.attn.qkv(want["norm"]).unflatten(2, (3, block.attn.num_heads, -1))
            query, key, value = qkv.permute(2, 0, 3, 1, 4)
            affinity = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
            want["heads"] = (affinity @ value).transpose(1, 2).flatten(2)
            want["projection"] = block.attn.proj(want["heads"])
            stream = stream + want["projection"]
            want["mlp_norm"] = block.norm2(stream)
            stream = stream + block.mlp(want["mlp_norm"])
            for point in POINTS:
                close(seen[point][layer][index], want[point][:, 1:])


@pytest.mark.parametrize("point", POINTS)
def test_joint_encoder_hook_output_replaces_the_patch_tokens(plain, point):
    layers = []

    def halve(call, rgb, depth):
        layers.append(call.layer)
        return rgb / 2, depth / 2

    changed = encode(plain, *pair(), hooks={point: halve})
    assert layers == [0, 1, 2]
    assert not torch.equal(changed[0][0], plain(*pair())[0][0])


@pytest.mark.parametrize("fusion", IN_ENCODER)
class TestEveryMethod:
    def test_copy_has_weights_of_its_own(self, fusion):
        model = small_model(fusion).eval()
        twin = copy.deepcopy(model)
        want = model(*images())
        close(twin(*images()), want)
        with torch.no_grad():
            for parameter in twin.encoder.depth_stream.parameters():
                parameter.mul_(1.5)
            for parameter in twin.fusion.parameters():
                parameter.mul_(1.5)
        assert torch.equal(model(*images()), want)
        changed = twin(*images())
        assert not torch.equal(changed, want)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert torch.equal(twin(*images()), changed)

    def test_pretrained_weights_of_a_vit_still_load(self, fusion, tmp_path):
        torch.manual_seed(1)
        weights = scrambled(timm.create_model("test_vit")).state_dict()
        torch.save(weights, tmp_path / "vit.pth")
        settings = {
            "backbone": "test_vit",
            "stem": "patch",
            "feature_blocks": (2, 6),
            "image_size": 160,
        }
        model = build_model(
            "tiny-scratch", fusion=fusion, pretrained=tmp_path / "vit.pth", **settings
        )
        for stream in (model.encoder.rgb_stream, model.encoder.depth_stream):
            for name, tensor in stream.body.state_dict().items():
                assert torch.equal(tensor, weights[name]), name

    def test_memory_layout_of_a_cpu_gives_the_same_maps(self, fusion):
        model = small_model(fusion, stem="hybrid").float().eval()
        rgb, depth = (image.float() for image in images())
        with torch.inference_mode():
            want = model(rgb, depth)
            got = optimise_for_cpu(model)(rgb, depth)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)

    def test_recomputed_activations_give_the_same_gradients(self, fusion):
        gradients = []
        exchange = {"theta": 0.5} if "theta" in find_fusion(fusion).switches else {}
        for recomputed in (False, True):
            model = small_model(fusion, encoder_drop_path=0.3, **exchange).train()
            if recomputed:
                model.encoder.set_grad_checkpointing()
            output = model(*images(), keys=torch.tensor([3, 4, 9]))
            loss = sum(logits.square().mean() for logits in _all_logits(output))
            (loss + sum(output.extra_losses.values())).backward()
            gradients.append({name: p.grad for name, p in model.named_parameters()})
        for name, want in gradients[0].items():
            assert want is not None, name
            close(gradients[1][name], want)

    def test_stochastic_depth_is_the_same_for_a_batch_and_its_parts(self, fusion):
        model = small_model(fusion, encoder_drop_path=0.3).train()
        rgb, depth = images(count=4)
        has_depth = torch.tensor([True, False, True, True])
        keys = torch.tensor([10, 11, 12, 13, 99])  # the last is the "no depth" map's
        together = _all_logits(model(rgb, depth, has_depth, keys))
        undropped = _all_logits(model.eval()(rgb, depth, has_depth))
        model.train()
        for i in range(4):
            own = slice(i, i + 1)
            alone = model(rgb[own], depth[own], has_depth[own], torch.cat((keys[own], keys[4:])))
            close(_all_logits(alone)[0], together[0][own])
        assert not torch.allclose(together[0], undropped[0])


def _all_logits(output):
    if isinstance(output, torch.Tensor):
        return [output]
    streams = [item for stream in output.streams.values() for item in _all_logits(stream)]
    return [output.logits, *output.side_logits, *streams]


@pytest.mark.parametrize("backbone", ["resnet50", "swin_tiny_patch4_window7_224"])
def test_backbone_without_plain_blocks_is_refused_in_one_line(backbone):
    with pytest.raises(ValueError, match=r"fusion=token_fusion .*pass a ViT") as error:
        build_model("resnet50", fusion="token_fusion", backbone=backbone, image_size=64)
    assert "\n" not in str(error.value)


def test_joint_attention_refuses_rotary_positions_in_one_line():
    with pytest.raises(
        ValueError, match=r"fusion=concat does not fit .* rotary .*pass a plain ViT"
    ) as error:
        small_model("concat", backbone="eva02_tiny_patch14_224", image_size=56)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["CLS token", "CLS and 4 registers, patches of 14"])
def test_position_embedding_is_that_of_the_grid_at_hand(name):
    backbone, stem, size = BACKBONES[name]
    encoder = make_encoder(backbone, stem)
    joint = encoder.run_jointly("test")
    body = encoder.rgb_stream.body
    grid = body.patch_embed.dynamic_feat_size(size)
    added = body._pos_embed(torch.zeros(1, *grid, joint.dim, dtype=torch.float64))
    close(joint.position(grid), added[:, body.num_prefix_tokens :])
    assert not joint.position(grid).requires_grad
