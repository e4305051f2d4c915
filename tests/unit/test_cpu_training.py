"""Attention and depthwise convolutions where a CPU trains."""

import pytest
import torch
import torch.nn.functional as F

from mutualformer_sod.models.cpu_training import CpuTraining


def parts(queries=9, keys=9):
    torch.manual_seed(0)
    shapes = ((2, 3, queries, 8), (2, 3, keys, 8), (2, 3, keys, 8))
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("keys", [9, 5])
def test_plain_attention_equals_torchs(keys):
    given = parts(keys=keys)
    expected = F.scaled_dot_product_attention(*given)
    with CpuTraining():
        torch.testing.assert_close(F.scaled_dot_product_attention(*given), expected)


def test_plain_attention_has_the_gradients_of_torchs():
    given = parts()
    cotangent = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    expected = torch.autograd.grad(F.scaled_dot_product_attention(*given), given, cotangent)
    with CpuTraining():
        output = F.scaled_dot_product_attention(*given)
    for found, wanted in zip(torch.autograd.grad(output, given, cotangent), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_plain_attention_leaves_calls_with_a_mask_to_torch():
    given = parts()
    mask = torch.ones(9, 9, dtype=torch.bool).tril()
    expected = F.scaled_dot_product_attention(*given, attn_mask=mask)
    with CpuTraining():
        found = F.scaled_dot_product_attention(*given, attn_mask=mask)
    torch.testing.assert_close(found, expected)


def test_plain_attention_leaves_a_causal_call_to_torch():
    given = parts()
    expected = F.scaled_dot_product_attention(*given, is_causal=True)
    with CpuTraining():
        torch.testing.assert_close(F.scaled_dot_product_attention(*given, is_causal=True), expected)


def convolution(channels=6, multiplier=1, kernel=3):
    torch.manual_seed(0)
    features = torch.randn(2, channels, 9, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(
        channels * multiplier, 1, kernel, kernel, dtype=torch.float64, requires_grad=True
    )
    bias = torch.randn(channels * multiplier, dtype=torch.float64, requires_grad=True)
    return features, weight, bias


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2}, {"stride": (2, 1), "padding": (1, 2)}, {"dilation": 2, "padding": "same"}],
)
def test_depthwise_convolution_equals_torchs_with_its_gradients(options, multiplier):
    given = convolution(multiplier=multiplier)
    expected = F.conv2d(*given, groups=6, **options)
    cotangent = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, given, cotangent)
    with CpuTraining():
        output = F.conv2d(*given, groups=6, **options)
    torch.testing.assert_close(output, expected)
    for found, gradient in zip(torch.autograd.grad(output, given, cotangent), wanted, strict=True):
        torch.testing.assert_close(found, gradient)


def test_depthwise_convolution_in_bf16_has_gradients_of_float32():
    features, weight, _ = (part.detach().float().requires_grad_() for part in convolution())
    features = features.bfloat16().detach().requires_grad_()
    with CpuTraining(), torch.autocast("cpu", torch.bfloat16):
        output = F.conv2d(features, weight, groups=6)
    assert output.dtype == torch.bfloat16
    cotangent = torch.randn_like(output)
    exact = F.conv2d(features.double(), weight.double(), groups=6)
    wanted = torch.autograd.grad(exact, weight, cotangent.double())[0]
    found = torch.autograd.grad(output, weight, cotangent)[0]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-5)


def test_depthwise_convolution_with_frozen_weights_has_the_gradient_of_the_features():
    features, weight, _ = convolution()
    wanted = torch.autograd.grad(F.conv2d(features, weight, groups=6).sum(), features)[0]
    with CpuTraining():
        output = F.conv2d(features, weight.detach(), groups=6)
    torch.testing.assert_close(torch.autograd.grad(output.sum(), features)[0], wanted)


def test_layers_after_a_depthwise_convolution_are_channels_last():
    features, weight, _ = convolution()
    pointwise = torch.randn(5, 6, 1, 1, dtype=torch.float64)
    with CpuTraining():
        output = F.conv2d(F.relu(F.conv2d(features, weight, groups=6)), pointwise)
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_other_convolutions_are_those_of_torch():
    features, _, bias = convolution()
    grouped = torch.randn(6, 3, 3, 3, dtype=torch.float64)
    with CpuTraining():
        output = F.conv2d(features, grouped, bias, padding=1, groups=2)
    assert torch.equal(output, F.conv2d(features, grouped, bias, padding=1, groups=2))
