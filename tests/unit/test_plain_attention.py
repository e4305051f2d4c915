"""Attention by plain products where a CPU trains."""

import pytest
import torch
import torch.nn.functional as F

from mutualformer_sod.models.plain_attention import PlainAttention


def parts(queries=9, keys=9):
    torch.manual_seed(0)
    shapes = ((2, 3, queries, 8), (2, 3, keys, 8), (2, 3, keys, 8))
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("keys", [9, 5])
def test_plain_attention_equals_torchs(keys):
    given = parts(keys=keys)
    expected = F.scaled_dot_product_attention(*given)
    with PlainAttention():
        torch.testing.assert_close(F.scaled_dot_product_attention(*given), expected)


def test_plain_attention_has_the_gradients_of_torchs():
    given = parts()
    cotangent = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    expected = torch.autograd.grad(F.scaled_dot_product_attention(*given), given, cotangent)
    with PlainAttention():
        output = F.scaled_dot_product_attention(*given)
    for found, wanted in zip(torch.autograd.grad(output, given, cotangent), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_plain_attention_leaves_calls_with_a_mask_to_torch():
    given = parts()
    mask = torch.ones(9, 9, dtype=torch.bool).tril()
    expected = F.scaled_dot_product_attention(*given, attn_mask=mask)
    with PlainAttention():
        found = F.scaled_dot_product_attention(*given, attn_mask=mask)
    torch.testing.assert_close(found, expected)


def test_plain_attention_leaves_a_causal_call_to_torch():
    given = parts()
    expected = F.scaled_dot_product_attention(*given, is_causal=True)
    with PlainAttention():
        torch.testing.assert_close(F.scaled_dot_product_attention(*given, is_causal=True), expected)
