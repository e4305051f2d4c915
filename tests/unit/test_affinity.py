"""Cross-diffusion against the dense iteration of the definition, in float64."""

import itertools

import pytest
import torch

from mutualformer_sod.models.affinity import cross_diffusion, self_affinity

B, H, N, D = 2, 3, 11, 4
DOUBLE = torch.float64


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=DOUBLE)

    affinities = [draw(B, H, N, N).softmax(-1) for _ in range(2)]
    return (*affinities, draw(B, H, N, D), draw(B, H, N, D))


def dense(w_r, w_d, v_r, v_d, form, epsilon, steps, affinity, initial):
    """S(t+1) = eps L S(t) R + (1 - eps) A, written with explicit N x N matrices."""
    joint = w_r + w_d if affinity == "sum" else (w_r + w_d) / 2
    eye = torch.eye(N, dtype=DOUBLE).expand(B, H, N, N)
    results = []
    for index, (own, other, values) in enumerate(((w_r, w_d, v_d), (w_d, w_r, v_r))):
        left, right = (own.mT, other) if form == "released" else (own, other.mT)
        if isinstance(initial, str):
            state = eye if initial == "identity" else joint
        else:
            state = initial[index] if isinstance(initial, tuple) else initial
        for _ in range(steps):
            state = epsilon * torch.einsum("bhij,bhjk,bhkl->bhil", left, state, right)
            state = state + (1 - epsilon) * joint
        results.append(torch.einsum("bhij,bhjd->bhid", state, values))
    return results


OPTIONS = list(
    itertools.product(
        ("released", "paper"), (0.6, 0.25), (1, 2, 3, 4), ("sum", "mean"), ("identity", "affinity")
    )
)


@pytest.mark.parametrize(("form", "epsilon", "steps", "affinity", "initial"), OPTIONS)
def test_every_combination_equals_the_dense_iteration(
    inputs, form, epsilon, steps, affinity, initial
):
    options = {"form": form, "epsilon": epsilon, "steps": steps}
    options |= {"affinity": affinity, "initial": initial}
    for got, want in zip(
        cross_diffusion(*inputs, **options), dense(*inputs, **options), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("form", ["released", "paper"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("pair", [False, True])
def test_a_given_cross_affinity_is_the_start_of_the_diffusion(inputs, form, steps, pair):
    generator = torch.Generator().manual_seed(1)
    starts = [torch.rand(B, H, N, N, generator=generator, dtype=DOUBLE) for _ in range(2)]
    initial = tuple(starts) if pair else starts[0]
    options = {"form": form, "epsilon": 0.6, "steps": steps, "affinity": "sum"}
    got = cross_diffusion(*inputs, **options, initial=initial)
    for result, want in zip(got, dense(*inputs, **options, initial=initial), strict=True):
        torch.testing.assert_close(result, want, rtol=1e-11, atol=1e-11)


def test_gradients_equal_the_dense_iteration(inputs):
    options = {"form": "paper", "epsilon": 0.6, "steps": 2}
    options |= {"affinity": "mean", "initial": "affinity"}
    leaves = [item.clone().requires_grad_() for item in inputs]
    gradients = []
    for function in (cross_diffusion, dense):
        rgb_side, depth_side = function(*leaves, **options)
        weight = torch.linspace(-1, 1, rgb_side.numel(), dtype=DOUBLE).view_as(rgb_side)
        loss = (rgb_side * weight).sum() + (depth_side * weight.flip(0)).sum()
        gradients.append(torch.autograd.grad(loss, leaves))
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_no_product_of_two_affinities_is_formed(inputs, monkeypatch):
    shapes = []
    matmul = torch.Tensor.__matmul__

    def recording(left, right):
        shapes.append((left.shape, right.shape))
        return matmul(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", recording)
    for form in ("released", "paper"):
        cross_diffusion(*inputs, form=form, steps=3, initial="affinity")
    assert shapes
    assert max(right[-1] for _, right in shapes) == 2 * D < N  # both sides' values at once


def test_swapping_the_modalities_swaps_the_outputs(inputs):
    w_r, w_d, v_r, v_d = inputs
    rgb_side, depth_side = cross_diffusion(w_r, w_d, v_r, v_d, steps=2)
    swapped_rgb, swapped_depth = cross_diffusion(w_d, w_r, v_d, v_r, steps=2)
    torch.testing.assert_close(rgb_side, swapped_depth)
    torch.testing.assert_close(depth_side, swapped_rgb)


def test_row_normalising_a_self_affinity_changes_nothing():
    query, key = torch.randn(2, 1, 2, N, D, dtype=DOUBLE).unbind(0)
    affinity = self_affinity(query, key)
    torch.testing.assert_close(affinity.sum(-1), torch.ones(1, 2, N, dtype=DOUBLE))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("form", "Paper"),
        ("epsilon", 0.0),
        ("epsilon", 1.0),
        ("epsilon", float("nan")),
        ("steps", 0),
        ("steps", 1.5),
        ("affinity", "max"),
        ("initial", "zeros"),
        ("initial", torch.eye(N)),
        ("initial", (torch.eye(N),)),
    ],
)
def test_illegal_options_are_named(inputs, option, value):
    with pytest.raises(ValueError, match=option):
        cross_diffusion(*inputs, **{option: value})


def test_shapes_that_do_not_fit_are_named(inputs):
    w_r, w_d, v_r, v_d = inputs
    with pytest.raises(ValueError, match=r"\(B, heads, N, d\)"):
        cross_diffusion(w_r, w_d, v_r[..., :-1, :], v_d)
