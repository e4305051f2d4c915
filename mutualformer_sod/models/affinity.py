"""Cross-diffusion attention as pure functions (MutualFormer, IJCV 2024, Sec. 3.2).

The paper diffuses a cross-modal affinity S through the two self-affinities,

    S(t+1) = eps * L S(t) R + (1 - eps) * A,        S(0) = I,

and applies the result to the values of the other modality. (L, R) differ between the paper and the
released code (``form``); A is built from the two self-affinities. The paper first normalises the
affinities by their row sums; a row-softmax has row sums of one, so that step changes nothing and is
left out.

The products are re-associated and applied to the values from the right, so that every product is
(N x N) by (N x d) and neither L S nor S R is ever formed:

    u_0 = V,  u_k = R u_{k-1};
    y = S(0) u_t,  then for k = t-1 .. 0:  y <- eps * L y + (1 - eps) * A u_k.
"""

from __future__ import annotations

from torch import Tensor

from mutualformer_sod.config import INITIALS, check_cross_diffusion
from mutualformer_sod.errors import InputError

Initial = str | Tensor | tuple[Tensor, Tensor]


def self_affinity(query: Tensor, key: Tensor) -> Tensor:
    """Row-stochastic self-affinity softmax(q k^T / sqrt(d)).

    Args:
        query: (B, heads, N, d) float.
        key: (B, heads, N, d) float.

    Returns:
        (B, heads, N, N) float, every row sums to 1.
    """
    return ((query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)).softmax(dim=-1)


def cross_diffusion(
    rgb_affinity: Tensor,
    depth_affinity: Tensor,
    rgb_values: Tensor,
    depth_values: Tensor,
    *,
    form: str = "released",
    epsilon: float = 0.6,
    steps: int = 1,
    affinity: str = "sum",
    initial: Initial = "identity",
) -> tuple[Tensor, Tensor]:
    """Cross-diffusion attention in both directions.

    Args:
        rgb_affinity: W_r (B, heads, N, N) float, row-stochastic.
        depth_affinity: W_d (B, heads, N, N) float, row-stochastic.
        rgb_values: V_r (B, heads, N, d) float.
        depth_values: V_d (B, heads, N, d) float.
        form: "released" (the published code: L S R = W_r^T S W_d for the rgb side) or "paper"
            (W_r S W_d^T). The authors' code is "released" with one step.
        epsilon: weight of the diffused term, strictly between 0 and 1.
        steps: iterations t >= 1.
        affinity: A = W_r + W_d ("sum", as published) or half of it ("mean").
        initial: S(0): "identity", "affinity" (S(0) = A), a tensor (B, heads, N, N) used in both
            directions, or a pair of such tensors, one for each direction. A tensor makes this a
            post-optimisation of another method's cross-affinity (the paper's second claim).

    Returns:
        O_rd = S_rd V_d for the rgb side and O_dr = S_dr V_r for the depth side, each
        (B, heads, N, d).

    Raises:
        InputError (a ValueError): an option or a shape is not legal.
    """
    check_cross_diffusion(form, epsilon, steps, affinity)
    _check_shapes(rgb_affinity, depth_affinity, rgb_values, depth_values)
    rgb_initial, depth_initial = _initial_pair(initial, rgb_affinity)
    scale = 1.0 if affinity == "sum" else 0.5
    rgb_transposed = rgb_affinity.transpose(-2, -1)
    depth_transposed = depth_affinity.transpose(-2, -1)
    if form == "released":
        rgb_sides = (rgb_transposed, depth_affinity)
        depth_sides = (depth_transposed, rgb_affinity)
    else:
        rgb_sides = (rgb_affinity, depth_transposed)
        depth_sides = (depth_affinity, rgb_transposed)

    def joint(values: Tensor) -> Tensor:  # A v without forming A
        return scale * (rgb_affinity @ values + depth_affinity @ values)

    def diffuse(left: Tensor, right: Tensor, values: Tensor, start: Tensor | str) -> Tensor:
        powers = [values]
        for _ in range(steps):
            powers.append(right @ powers[-1])
        diffused = powers.pop()
        if isinstance(start, Tensor):
            diffused = start @ diffused
        elif start == "affinity":
            diffused = joint(diffused)
        for power in reversed(powers):
            diffused = epsilon * (left @ diffused) + (1 - epsilon) * joint(power)
        return diffused

    return (
        diffuse(*rgb_sides, depth_values, rgb_initial),
        diffuse(*depth_sides, rgb_values, depth_initial),
    )


def _initial_pair(initial: Initial, like: Tensor) -> tuple[Tensor | str, Tensor | str]:
    if isinstance(initial, str):
        if initial not in INITIALS:
            raise InputError(
                f"initial={initial!r} is not usable: give one of {', '.join(INITIALS)}, "
                "a tensor (B, heads, N, N) or a pair of such tensors"
            )
        return initial, initial
    pair = initial if isinstance(initial, tuple | list) else (initial, initial)
    for start in pair:
        if len(pair) != 2 or not isinstance(start, Tensor) or start.shape != like.shape:
            got = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
            raise InputError(
                f"initial is {got}: give one tensor, or one for each direction, "
                f"of the affinities' shape {tuple(like.shape)}"
            )
    return pair[0], pair[1]


def _check_shapes(
    rgb_affinity: Tensor, depth_affinity: Tensor, rgb_values: Tensor, depth_values: Tensor
) -> None:
    square = rgb_affinity.ndim >= 2 and rgb_affinity.shape[-1] == rgb_affinity.shape[-2]
    rows_fit = rgb_values.ndim >= 2 and rgb_values.shape[-2] == rgb_affinity.shape[-1]
    if (
        not (square and rows_fit)
        or depth_affinity.shape != rgb_affinity.shape
        or depth_values.shape != rgb_values.shape
    ):
        shapes = [
            tuple(item.shape) for item in (rgb_affinity, depth_affinity, rgb_values, depth_values)
        ]
        raise InputError(
            f"cross_diffusion got affinities {shapes[0]}, {shapes[1]} and values {shapes[2]}, "
            f"{shapes[3]}: give two affinities (B, heads, N, N) and two values (B, heads, N, d)"
        )
