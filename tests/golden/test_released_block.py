"""The block against the authors' released code: golden tensors, and its formula written plainly.

``released_block.npz`` holds one case, "a": weights, inputs, outputs and gradients of the authors'
block, 32 wide, 4 heads, two samples of 7 x 7 tokens. Two larger cases lie with the real data.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from mutualformer_sod.models import MutualFormerBlock, load_released_block
from mutualformer_sod.models.block import remap_released_names


def golden_case(path, case):
    with np.load(path) as archive:
        entries = {
            name[len(case) + 1 :]: torch.from_numpy(archive[name])
            for name in archive.files
            if name.startswith(f"{case}/")
        }
    weights = {k.removeprefix("weights/"): v for k, v in entries.items() if "weights/" in k}
    return entries, weights


GOLDEN = Path(__file__).with_name("released_block.npz")


def test_released_block_case_of_the_repository_equals_outputs_and_gradients():
    check_golden_case(GOLDEN, "a")


@pytest.mark.parametrize("case", ["b", "c"])
def test_released_block_larger_cases_equal_outputs_and_gradients(reference_block, case):
    check_golden_case(reference_block, case)


def test_released_block_case_of_the_repository_is_the_reference(reference_block):
    with np.load(reference_block) as reference, np.load(GOLDEN) as own:
        assert set(own.files) == {name for name in reference.files if name.startswith("a/")}
        for name in own.files:
            np.testing.assert_array_equal(own[name], reference[name])


def check_golden_case(path, case):
    entries, weights = golden_case(path, case)
    block = load_released_block(weights, num_heads=int(entries["meta"][4]))
    modality = entries["modality_tokens"].requires_grad_()
    fused = entries["fused_tokens"].requires_grad_()
    output = block(modality, fused)
    torch.testing.assert_close(output, entries["output"], rtol=0, atol=1e-5)
    # The golden gradients are those of the output weighted by an even ramp from -1 to 1.
    output.backward(torch.linspace(-1, 1, output.numel()).view_as(output))
    named = {
        "grad_modality_tokens": modality.grad,
        "grad_fused_tokens": fused.grad,
        "grad/attn.qkv_r.weight": block.rgb_qkv.weight.grad,
        "grad/attn.proj_d.weight": block.depth_aggregate.weight.grad,
    }
    for name, gradient in named.items():
        scale = entries[name].abs().max()
        assert (gradient - entries[name]).abs().max() <= 1e-4 * scale, name


def plain_block(weights, num_heads, modality, fused):
    """The released block, sample by sample and head by head, with explicit N x N x N products."""

    def linear(name, x):
        y = x @ weights[f"{name}.weight"].T
        return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y

    def norm(name, x):
        centred = x - x.mean(-1, keepdim=True)
        spread = centred.square().mean(-1, keepdim=True)
        scaled = centred / torch.sqrt(spread + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    outputs = []
    for x, f in zip(modality, fused, strict=True):
        dim = f.shape[-1]
        d = dim // num_heads
        x, g = norm("norm1", x), norm("norm1_rd", f)
        qkv_r, qkv_d = linear("attn.qkv_r", x[:, :dim]), linear("attn.qkv_d", x[:, dim:])
        qkv = linear("attn.qkv", g)
        o_r, o_d, o_rd, o_dr, own = ([] for _ in range(5))
        for head in range(num_heads):
            parts = []
            for source in (qkv_r, qkv_d, qkv):
                q, k, v = (source[:, i * dim + head * d :][:, :d] for i in range(3))
                parts.append((torch.softmax(q @ k.T / d**0.5, -1), v))
            (w_r, v_r), (w_d, v_d), (w, v) = parts
            a_rd = 0.6 * w_r.T @ torch.eye(len(x), dtype=x.dtype) @ w_d + 0.4 * (w_r + w_d)
            a_dr = 0.6 * w_d.T @ torch.eye(len(x), dtype=x.dtype) @ w_r + 0.4 * (w_d + w_r)
            for store, value in (
                (o_r, w_r @ v_r),
                (o_d, w_d @ v_d),
                (o_rd, a_rd @ v_d),
                (o_dr, a_dr @ v_r),
                (own, w @ v),
            ):
                store.append(value)
        o_r, o_d, o_rd, o_dr, own = (torch.cat(s, -1) for s in (o_r, o_d, o_rd, o_dr, own))
        p_r = linear("attn.proj_r", torch.cat((o_r, o_rd), -1))
        p_d = linear("attn.proj_d", torch.cat((o_d, o_dr), -1))
        p = linear("attn.proj_rd", torch.cat((p_r, p_d), -1))
        f = f + linear("attn.proj", own) + p
        hidden = linear("mlp.fc1", norm("norm2", f))
        outputs.append(f + linear("mlp.fc2", torch.nn.functional.gelu(hidden)))
    return torch.stack(outputs)


def random_released_weights(dim, hidden, bias=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"norm1": (2 * dim,), "norm1_rd": (dim,), "norm2": (dim,)}
    shapes |= {f"attn.qkv{m}": (3 * dim, dim) for m in ("_r", "_d", "")}
    shapes |= {f"attn.proj{m}": (dim, 2 * dim) for m in ("_r", "_d", "_rd")}
    shapes |= {"attn.proj": (dim, dim), "mlp.fc1": (hidden, dim), "mlp.fc2": (dim, hidden)}
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = torch.randn(*shape, generator=generator) * shape[-1] ** -0.5
        if bias or "qkv" not in name:
            weights[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    return weights


@pytest.mark.parametrize(
    ("dim", "heads", "tokens", "hidden", "bias"),
    [(24, 3, 17, 96, True), (40, 8, 30, 80, True), (16, 1, 5, 64, False)],
)
def test_other_sizes_equal_the_plain_formula(dim, heads, tokens, hidden, bias):
    weights = random_released_weights(dim, hidden, bias)
    block = load_released_block(weights, heads)
    modality, fused = torch.randn(2, tokens, 2 * dim), torch.randn(2, tokens, dim)
    double = {name: value.double() for name, value in weights.items()}
    want = plain_block(double, heads, modality.double(), fused.double())
    torch.testing.assert_close(block(modality, fused).double(), want, rtol=0, atol=1e-5)


def test_every_hidden_width_is_read_from_the_weights():
    # 49 * (h / 49) < h in floating point for some h.
    for hidden in range(1, 200):
        block = load_released_block(random_released_weights(49, hidden), 7)
        assert block.mlp.fc1.out_features == hidden


def test_released_weights_saved_from_data_parallel_load():
    weights = random_released_weights(24, 96)
    wrapped = load_released_block({f"module.{k}": v for k, v in weights.items()}, 3)
    plain = load_released_block(weights, 3).state_dict()
    assert all(torch.equal(wrapped.state_dict()[name], plain[name]) for name in plain)


def test_double_precision_weights_give_a_double_precision_block():
    weights = {k: v.double().numpy() for k, v in random_released_weights(24, 96, False).items()}
    block = load_released_block(weights, 2)
    modality, fused = torch.randn(2, 9, 48).double(), torch.randn(2, 9, 24).double()
    want = plain_block({k: torch.as_tensor(v) for k, v in weights.items()}, 2, modality, fused)
    torch.testing.assert_close(block(modality, fused), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("qkv_bias", "vectors"), [(False, 17), (True, 26)])
def test_parameter_count(qkv_bias, vectors):
    block = MutualFormerBlock(256, 8, qkv_bias=qkv_bias)
    assert sum(p.numel() for p in block.parameters()) == 24 * 256**2 + vectors * 256


def test_remapping_names_every_parameter_of_the_block_once():
    ours = set(MutualFormerBlock(16, 2).state_dict())
    assert set(remap_released_names(random_released_weights(16, 64))) == ours


def test_unknown_missing_and_misshapen_parameters_are_named():
    weights = random_released_weights(16, 64)
    with pytest.raises(ValueError, match=r"attn\.qkv_x\.weight"):
        load_released_block(weights | {"attn.qkv_x.weight": torch.zeros(1)}, 2)
    without = {k: v for k, v in weights.items() if k != "attn.proj_d.bias"}
    with pytest.raises(ValueError, match=r"depth_aggregate\.bias"):
        load_released_block(without, 2)
    with pytest.raises(ValueError, match="norm"):
        load_released_block(weights | {"norm2.weight": torch.zeros(3)}, 2)
    with pytest.raises(ValueError, match="num_heads=3"):
        load_released_block(weights, 3)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"dim": 0}, "dim=0"),
        ({"num_heads": 3}, "num_heads=3"),
        ({"mlp_ratio": 0}, "mlp_ratio=0"),
        ({"drop_path": 1.0}, "drop_path=1.0"),
        ({"attention": "other"}, "attention"),
        ({"cross": "other"}, "cross"),
    ],
)
def test_illegal_options_of_the_block_are_named(options, word):
    with pytest.raises(ValueError, match=word):
        MutualFormerBlock(**{"dim": 16, "num_heads": 4, **options})
