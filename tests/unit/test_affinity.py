"""Cross-diffusion against the dense iteration of the definition, in float64."""

import itertools

import pytest
import torch

from mutualformer_sod.configs.diffusion import Diffusion
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


def dense(w_r, w_d, v_r, v_d, diffusion, start=None):
    """S(t+1) = eps L S(t) R + (1 - eps) A, written with explicit N x N matrices."""
    epsilon = diffusion.epsilon
    joint = w_r + w_d if diffusion.affinity == "sum" else (w_r + w_d) / 2
    eye = torch.eye(N, dtype=DOUBLE).expand(B, H, N, N)
    results = []
    for index, (own, other, values) in enumerate(((w_r, w_d, v_d), (w_d, w_r, v_r))):
        left, right = (own.mT, other) if diffusion.form == "released" else (own, other.mT)
        state = eye if diffusion.initial == "identity" else joint
        if start is not None:
            state = start[index]
        for _ in range(diffusion.steps):
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
def test_cross_diffusion_with_every_combination_equals_the_dense_iteration(
    inputs, form, epsilon, steps, affinity, initial
):
    diffusion = Diffusion(form, epsilon, steps, affinity, initial)
    for got, want in zip(
        cross_diffusion(*inputs, diffusion), dense(*inputs, diffusion), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("form", ["released", "paper"])
@pytest.mark.parametrize("steps", [1, 3])
def test_cross_diffusion_with_given_cross_affinities_starts_from_them(inputs, form, steps):
    generator = torch.Generator().manual_seed(1)
    start = tuple(torch.rand(2, B, H, N, N, generator=generator, dtype=DOUBLE))
    arguments = *inputs, Diffusion(form, steps=steps), start
    for result, want in zip(cross_diffusion(*arguments), dense(*arguments), strict=True):
        torch.testing.assert_close(result, want, rtol=1e-11, atol=1e-11)


def test_cross_diffusion_gradients_equal_the_dense_iteration(inputs):
    diffusion = Diffusion("paper", 0.6, 2, "mean", "affinity")
    leaves = [item.clone().requires_grad_() for item in inputs]
    gradients = []
    for function in (cross_diffusion, dense):
        rgb_side, depth_side = function(*leaves, diffusion)
        weight = torch.linspace(-1, 1, rgb_side.numel(), dtype=DOUBLE).view_as(rgb_side)
        loss = (rgb_side * weight).sum() + (depth_side * weight.flip(0)).sum()
        gradients.append(torch.autograd.grad(loss, leaves))
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_cross_diffusion_never_multiplies_two_affinities(inputs, monkeypatch):
    shapes = []
    matmul = torch.Tensor.__matmul__

    def recording(left, right):
        shapes.append((left.shape, right.shape))
        return matmul(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", recording)
    for form in ("released", "paper"):
        cross_diffusion(*inputs, Diffusion(form, steps=3, initial="affinity"))
    assert shapes
    assert max(right[-1] for _, right in shapes) == 2 * D < N  # both sides' values at once


def test_cross_diffusion_with_swapped_modalities_swaps_the_outputs(inputs):
    w_r, w_d, v_r, v_d = inputs
    rgb_side, depth_side = cross_diffusion(w_r, w_d, v_r, v_d, Diffusion(steps=2))
    swapped_rgb, swapped_depth = cross_diffusion(w_d, w_r, v_d, v_r, Diffusion(steps=2))
    torch.testing.assert_close(rgb_side, swapped_depth)
    torch.testing.assert_close(depth_side, swapped_rgb)


def test_self_affinity_has_rows_that_sum_to_one():
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
    ],
)
def test_diffusion_with_an_illegal_option_names_it(option, value):
    with pytest.raises(ValueError, match=option):
        Diffusion(**{option: value})


def test_cross_diffusion_with_other_shapes_is_refused(inputs):
    w_r, w_d, v_r, v_d = inputs
    with pytest.raises(ValueError, match=r"\(B, heads, N, d\)"):
        cross_diffusion(w_r, w_d, v_r[..., :-1, :], v_d)
    with pytest.raises(ValueError, match=r"\(B, heads, N, N\)"):
        cross_diffusion(w_r, w_d, v_r, v_d, start=(w_r, torch.eye(N)))
