"""Attention in row tiles: the dense form's results and gradients, and its memory."""

import itertools

import pytest
import torch

from mutualformer_sod.configs.diffusion import Diffusion
from mutualformer_sod.errors import InputError
from mutualformer_sod.models import MutualFormerBlock
from mutualformer_sod.models import affinity as affinity_module
from mutualformer_sod.models.affinity import (
    cross_diffusion,
    cross_diffusion_attention,
    self_affinity,
)
from mutualformer_sod.models.tiles import TILE_ROWS, tiled_products

FORMS, STEPS = ("released", "paper"), (1, 2, 3)
OPTIONS = [
    Diffusion(form, 0.3, steps, affinity, initial)
    for form, steps, affinity, initial in itertools.product(
        FORMS, STEPS, ("sum", "mean"), ("identity", "affinity")
    )
]


def draw(tokens=21, width=5, value_width=5, dtype=torch.float64, batch=2, heads=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(last):
        items = torch.randn(batch, heads, tokens, last, generator=generator, dtype=torch.float64)
        return items.to(dtype).requires_grad_()

    return [normal(last) for last in (width, width, value_width) * 2]


def plain(inputs, *diffusion):
    """Explicit affinities and ``cross_diffusion``, itself tested against the dense iteration."""
    q_r, k_r, v_r, q_d, k_d, v_d = inputs
    w_r, w_d = self_affinity(q_r, k_r), self_affinity(q_d, k_d)
    return (w_r @ v_r, w_d @ v_d, *cross_diffusion(w_r, w_d, v_r, v_d, *diffusion))


def attend(inputs, *diffusion, **options):
    return cross_diffusion_attention(inputs[:3], inputs[3:], *diffusion, **options)


@pytest.fixture
def low_tiles(monkeypatch):
    """Tiles of at most 8 rows, so that few tokens need several tiles."""
    monkeypatch.setitem(TILE_ROWS, "cpu", (8, 8))


def gradients(outputs, inputs):
    generator = torch.Generator().manual_seed(7)
    weights = [
        torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
        for output in outputs
    ]
    return torch.autograd.grad(outputs, inputs, weights)


def assert_equal(got, want, relative):
    for one, other in zip(got, want, strict=True):
        assert one.shape == other.shape
        # The floor is for the query's gradient at N = 1, which is zero.
        assert (one - other).abs().max() <= max(relative * other.abs().max(), 1e-14)


@pytest.mark.parametrize("diffusion", OPTIONS, ids=str)
@pytest.mark.parametrize("way", ["dense", "tiled"])
def test_attention_with_every_combination_equals_the_plain_form(diffusion, way, low_tiles):
    inputs = draw()
    got, want = attend(inputs, diffusion, attention=way), plain(inputs, diffusion)
    assert_equal(got, want, 1e-12)
    assert_equal(gradients(got, inputs), gradients(want, inputs), 1e-12)


@pytest.mark.parametrize("diffusion", OPTIONS, ids=str)
def test_tiles_in_single_precision_give_the_gradients_of_the_dense_form(diffusion):
    inputs = draw(tokens=150, width=16, value_width=16, dtype=torch.float32)
    results = [attend(inputs, diffusion, attention=way) for way in ("tiled", "dense")]
    assert_equal(*results, 1e-5)
    assert_equal(*(gradients(result, inputs) for result in results), 1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("initial", ["identity", "affinity"])
def test_tiles_pass_gradcheck(form, steps, initial, monkeypatch):
    monkeypatch.setitem(TILE_ROWS, "cpu", (3, 3))
    inputs = draw(tokens=7, width=2, value_width=3, batch=1, heads=2)

    def function(*leaves):
        diffusion = Diffusion(form, 0.6, steps, "mean", initial)
        return attend(leaves, diffusion, attention="tiled")

    assert torch.autograd.gradcheck(function, inputs, fast_mode=steps > 1)


@pytest.mark.parametrize(
    ("tokens", "tile_rows"),
    [(1, 4), (3, 8), (8, 8), (9, 8), (16, 8), (23, 8), (5, 1), (140, None)],
)
def test_tiles_with_any_number_of_tokens_and_rows_equal_the_plain_form(
    tokens, tile_rows, monkeypatch
):
    if tile_rows:
        monkeypatch.setitem(TILE_ROWS, "cpu", (tile_rows, tile_rows))
    inputs = draw(tokens)
    got = attend(inputs, attention="tiled")
    want = plain(inputs)
    assert_equal(got, want, 1e-12)
    assert_equal(gradients(got, inputs), gradients(want, inputs), 1e-11)


@pytest.mark.parametrize("threads", [1, 2])
def test_tiles_with_heads_in_several_groups_equal_the_plain_form(monkeypatch, threads, low_tiles):
    # So few bytes that a slab serves one head a thread; 6 heads in all, or 3 + a rest.
    monkeypatch.setattr("mutualformer_sod.models.tiles.SLAB_BYTES", {"cpu": 1})
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads * 2)
    inputs = draw(heads=3, batch=1)
    got, want = attend(inputs, attention="tiled"), plain(inputs)
    assert_equal(got, want, 1e-12)
    assert_equal(gradients(got, inputs), gradients(want, inputs), 1e-12)


@pytest.mark.parametrize("way", ["dense", "tiled"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value_width", [3, 7])
def test_attention_with_another_value_width_equals_the_plain_form(
    way, form, value_width, low_tiles
):
    inputs, diffusion = draw(value_width=value_width), Diffusion(form, steps=2)
    got = attend(inputs, diffusion, attention=way)
    want = plain(inputs, diffusion)
    assert_equal(got, want, 1e-12)
    assert_equal(gradients(got, inputs), gradients(want, inputs), 1e-12)


def test_tiled_products_with_a_link_equal_two_products(low_tiles):
    generator = torch.Generator().manual_seed(3)
    query, key = torch.randn(2, 1, 2, 2, 11, 4, generator=generator).unbind(0)
    rows = torch.randn(1, 2, 2, 11, 6, generator=generator)
    first, second = tiled_products(query, key, rows, link=(0.7, 0.2))
    own, other = first.chunk(2, -1)
    separate = tiled_products(query, key, columns=0.7 * own.flip(-3) + 0.2 * other)
    torch.testing.assert_close(second, separate[1])
    assert separate[0] is None


def count_slabs(monkeypatch, diffusion):
    calls = []
    softmax = torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda *a, **k: calls.append(1) or softmax(*a, **k))
    attend(draw(), diffusion, attention="tiled")
    monkeypatch.undo()
    return len(calls)


@pytest.mark.parametrize("steps", STEPS)
def test_tiles_take_as_few_passes_as_the_recurrence_allows(monkeypatch, steps):
    expected = {"released": 2 * steps - 1, "paper": 2 * steps}
    for form, passes in expected.items():
        assert count_slabs(monkeypatch, Diffusion(form, steps=steps)) == passes
        from_affinity = Diffusion(form, steps=steps, initial="affinity")
        assert count_slabs(monkeypatch, from_affinity) == passes + 1


@pytest.mark.parametrize("form", FORMS)
def test_tiles_keep_no_affinity_for_the_backward_pass(form, low_tiles):
    saved = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t)
    with hooks:
        attend(draw(tokens=40), Diffusion(form, steps=2), attention="tiled")
    assert saved
    assert all(tensor.shape[-2:] != (40, 40) for tensor in saved)


def test_auto_attention_uses_tiles_for_large_inputs(monkeypatch):
    used = []
    monkeypatch.setattr(
        affinity_module, "tiled_products", lambda *a, **k: used.append(1) or tiled_products(*a, **k)
    )
    limit = affinity_module.TILED_FROM["cpu"]
    for tokens, way, tiled in (
        (limit - 1, "auto", False),
        (limit, "auto", True),
        (limit, "dense", False),
        (4, "tiled", True),
    ):
        used.clear()
        attend(draw(tokens, batch=1, heads=1), attention=way)
        assert bool(used) is tiled, (tokens, way)


@pytest.mark.parametrize("way", ["auto", "tiled"])
def test_block_is_exported_for_any_number_of_tokens(way):
    block = MutualFormerBlock(16, 2, attention=way).eval()
    tokens = torch.export.Dim("tokens", min=2, max=4096)
    example = (torch.randn(1, 9, 32), torch.randn(1, 9, 16))
    exported = torch.export.export(block, example, dynamic_shapes=({1: tokens}, {1: tokens}))
    for count in (5, 300):
        inputs = torch.randn(1, count, 32), torch.randn(1, count, 16)
        torch.testing.assert_close(exported.module()(*inputs), block(*inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ["dense", "tiled"])
def test_attention_under_autocast_keeps_a_single_precision_softmax(way):
    inputs = draw(tokens=300, width=16, value_width=16, dtype=torch.float32)
    want = attend(inputs, attention="dense")
    with torch.autocast("cpu", torch.bfloat16):
        got = attend(inputs, attention=way)
    assert all(output.dtype == torch.bfloat16 for output in got)
    # Sums of 300 bfloat16 weights and values, rounded once at the end: no drift with N.
    assert_equal([output.float() for output in got], want, 0.02)
    assert_equal(gradients(got, inputs), gradients(want, inputs), 0.05)


@pytest.mark.parametrize("way", ["dense", "tiled"])
def test_attention_of_several_dtypes_promotes_them(way):
    inputs = [
        item.float() if index % 2 else item for index, item in enumerate(draw(dtype=torch.float64))
    ]
    got = attend(inputs, attention=way)
    assert all(output.dtype == torch.float64 for output in got)
    assert_equal(got, plain([item.double() for item in inputs]), 1e-12)


def test_block_is_the_same_dense_and_tiled():
    torch.manual_seed(0)
    blocks = [MutualFormerBlock(24, 3, attention=way) for way in ("dense", "tiled")]
    blocks[1].load_state_dict(blocks[0].state_dict())
    tokens = torch.randn(2, 30, 48), torch.randn(2, 30, 24)
    torch.testing.assert_close(blocks[0](*tokens), blocks[1](*tokens), rtol=0, atol=1e-5)


def test_attention_with_an_illegal_option_names_it():
    with pytest.raises(InputError, match="attention='flash'"):
        attend(draw(), attention="flash")


def test_attention_with_other_shapes_is_refused():
    inputs = draw()
    inputs[4] = inputs[4][..., :-1, :]
    with pytest.raises(ValueError, match=r"cross_diffusion_attention got .*\(B, heads, N, d\)"):
        attend(inputs)
    with pytest.raises(ValueError, match="attention='sparse'"):
        MutualFormerBlock(16, 2, attention="sparse")


def test_tiles_of_an_empty_batch_are_empty():
    assert [o.shape for o in attend(draw(batch=0), attention="tiled")] == [(0, 3, 21, 5)] * 4
