"""Cross-diffusion attention as pure functions (MutualFormer, IJCV 2024, Sec. 3.2).

The paper diffuses a cross-modal affinity S through the two self-affinities,

    S(t+1) = eps * L S(t) R + (1 - eps) * A,        S(0) = I,

and applies the result to the values of the other modality. (L, R) differ between the paper and the
released code (``form``); A is built from the two self-affinities. The paper first normalises the
affinities by their row sums; a row-softmax has row sums of one, so that step changes nothing and is
left out.

The products are re-associated and applied to the values from the right, so that every product is
(N x N) by (N x d) and neither L S nor S R is ever formed:

    u_0 = V,  u_k = R u_{k-1} for k = 1 .. t;
    y = S(0) u_t,  then for k = t-1 .. 0:  y <- eps * L y + (1 - eps) * A u_k.

Everything the two directions ask of one self-affinity is asked at once: a pass gives W X and W^T Y,
and W_r and W_d do the same work, so they are worked on as a pair along one axis (rgb, depth). The
passes are taken with W held whole ("dense") or in row tiles ("tiled", see ``tiles``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mutualformer_sod.configs.fusion import ATTENTIONS, INITIALS, check_cross_diffusion
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.tiles import Link, tiled_products

Initial = str | Tensor | tuple[Tensor, Tensor]
Heads = tuple[Tensor, Tensor, Tensor]  # query, key, values of one modality
# (rows X, columns Y, link) -> (W X, W^T Y), see tiles.tiled_products.
Products = Callable[..., tuple[Tensor | None, Tensor | None]]

# "auto" takes row tiles from this many tokens on. CPU: measured, docs/attention.md; CUDA: CHOSEN.
TILED_FROM = {"cpu": 192, "cuda": 1024}


def cross_diffusion_attention(
    rgb: Heads,
    depth: Heads,
    *,
    form: str = "released",
    epsilon: float = 0.6,
    steps: int = 1,
    affinity: str = "sum",
    initial: Initial = "identity",
    attention: str = "auto",
    tile_rows: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Self-attention of both modalities and cross-diffusion attention in both directions.

    Args:
        rgb: query and key (B, heads, N, d), values (B, heads, N, d_r), float.
        depth: query and key (B, heads, N, d), values (B, heads, N, d_d), float.
        form, epsilon, steps, affinity, initial: see ``cross_diffusion``.
        attention: "dense" holds both affinities (B, heads, N, N) whole; "tiled" holds a few of
            their rows at a time and computes them again for the gradient: same results; "auto"
            takes "tiled" for large N. Traced graphs (torch.compile, export) and a tensor as
            ``initial`` are "dense" under "auto".
        tile_rows: rows held at a time; default: by device.

    Returns:
        O_r = W_r V_r, O_d = W_d V_d, O_rd = S_rd V_d (rgb side), O_dr = S_dr V_r (depth side), each
        (B, heads, N, width of its values).

    Raises:
        InputError (a ValueError): an option or a shape is not legal.
    """
    check_cross_diffusion(form, epsilon, steps, affinity)
    if attention not in ATTENTIONS:
        raise InputError(f"attention={attention!r}: give one of {', '.join(ATTENTIONS)}")
    if tile_rows is not None and tile_rows < 1:
        raise InputError(f"tile_rows={tile_rows}: give 1 or more")
    _check_heads(rgb, depth)
    (rgb_width, depth_width), (rgb_values, depth_values) = _pad_values(rgb[2], depth[2])
    query, key, values = _same_dtype(
        torch.stack((rgb[0], depth[0]), dim=-3).mul_(rgb[0].shape[-1] ** -0.5),
        torch.stack((rgb[1], depth[1]), dim=-3),
        torch.stack((rgb_values, depth_values), dim=-3),
    )
    tokens = query.shape[-2]
    start = _initial_pair(initial, (*rgb[0].shape[:-1], tokens))
    if _use_tiles(attention, query, start):
        products = partial(tiled_products, query, key, tile_rows=tile_rows)
    else:
        products = partial(_dense_products, (query @ key.mT).softmax(dim=-1))
    own, cross = _diffuse(products, values, form, epsilon, steps, affinity, start)
    own_rgb, own_depth = own.unbind(-3)
    cross_rgb, cross_depth = cross.unbind(-3)
    if rgb_width != depth_width:
        own_rgb, cross_depth = own_rgb[..., :rgb_width], cross_depth[..., :rgb_width]
        own_depth, cross_rgb = own_depth[..., :depth_width], cross_rgb[..., :depth_width]
    return own_rgb, own_depth, cross_rgb, cross_depth


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
    """Cross-diffusion attention in both directions, from affinities that are there already.

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
    start = _initial_pair(initial, tuple(rgb_affinity.shape))
    products = partial(_dense_products, torch.stack((rgb_affinity, depth_affinity), dim=-3))
    values = torch.stack((rgb_values, depth_values), dim=-3)
    _, cross = _diffuse(products, values, form, epsilon, steps, affinity, start)
    rgb_side, depth_side = cross.unbind(-3)
    return rgb_side, depth_side


def _diffuse(
    products: Products,
    values: Tensor,
    form: str,
    epsilon: float,
    steps: int,
    affinity: str,
    start: Tensor | str,
) -> tuple[Tensor, Tensor]:
    """The recurrence for both sides at once: values (..., 2, N, d) -> (W V, S V of the partner).

    ``power`` holds R^k V of each modality's own values, which is what the *other* side's u_k is;
    ``joints`` holds A u_k of each side. Passes: 2 t - 1 in the released form, 2 t in the paper's,
    one more from initial="affinity".
    """
    scale = 1.0 if affinity == "sum" else 0.5
    released = form == "released"
    power, joints, own = values, [], None
    for step in range(steps):
        # W u_(k-1) is at once the next power (released), half of A u_(k-1), and for k = 1 O.
        last = released and step == steps - 1 and isinstance(start, str) and start == "identity"
        rows, columns = products(
            torch.cat((power, _partner(power)), dim=-1),
            None if released else power,
            (1.0, 0.0) if last else None,
        )
        forward, joint = _own_and_joint(rows, scale)
        own = forward if own is None else own
        joints.append(joint)
        power = forward if released else columns
    if isinstance(start, Tensor):
        diffused = start @ _partner(power)
    elif start == "identity":
        diffused = None if released else _partner(power)  # the last pass took it as its columns
    else:
        link = (scale, scale) if released else None
        rows, columns = products(torch.cat((power, _partner(power)), dim=-1), None, link)
        diffused = _own_and_joint(rows, scale)[1]
    # The last pass gave W^T S(0) u_t along with its rows, but for a tensor S(0).
    ready = columns if released and isinstance(start, str) else None
    for joint in reversed(joints):
        if ready is not None:
            diffused, ready = ready, None
        elif released:
            diffused = products(None, diffused)[1]
        else:
            diffused = products(diffused)[0]
        diffused = torch.lerp(joint, diffused, epsilon)
    return own, diffused


def _own_and_joint(rows: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """W [u ; u of the partner] -> W u, and A u of the partner."""
    own, other = rows.chunk(2, dim=-1)
    joint = other + _partner(own)
    return own, joint if scale == 1 else scale * joint


def _partner(pair: Tensor) -> Tensor:
    return pair.flip(-3)  # (..., 2, N, d), rgb and depth exchanged


def _dense_products(
    weights: Tensor,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
    link: Link | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """``tiles.tiled_products`` with W (..., 2, N, N) given."""
    row_products = None if rows is None else weights @ rows
    if link is not None:
        own, other = row_products.chunk(2, dim=-1)
        columns = _partner(own)
        if link != (1.0, 0.0):
            columns = link[0] * columns + link[1] * other
    return row_products, None if columns is None else weights.mT @ columns


def _use_tiles(attention: str, query: Tensor, start: Tensor | str) -> bool:
    # An exported graph holds no loop over tiles. Older torch cannot tell export from compile.
    exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    if attention == "dense" or exporting() or torch.jit.is_tracing():
        return False
    if attention == "tiled":
        return True
    # Asked before N is looked at: a graph with a dynamic number of tokens must not depend on it.
    if torch.compiler.is_compiling() or isinstance(start, Tensor):
        return False
    return query.shape[-2] >= TILED_FROM["cpu" if query.device.type == "cpu" else "cuda"]


def _same_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    kind = tensors[0].device.type
    if torch.is_autocast_enabled(kind) and tensors[0].dtype != torch.float64:
        dtype = torch.get_autocast_dtype(kind)
    else:
        dtype = tensors[0].dtype
        for tensor in tensors[1:]:
            dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype) for tensor in tensors)


def _pad_values(rgb: Tensor, depth: Tensor) -> tuple[tuple[int, int], tuple[Tensor, Tensor]]:
    """Values of unequal widths get columns of zeros, which stay zero in every product."""
    widths = rgb.shape[-1], depth.shape[-1]
    if widths[0] != widths[1]:
        rgb, depth = (F.pad(x, (0, max(widths) - x.shape[-1])) for x in (rgb, depth))
    return widths, (rgb, depth)


def _check_heads(rgb: Heads, depth: Heads) -> None:
    shapes = [tuple(item.shape) for item in (*rgb, *depth)]
    same = all(shapes[i] == shapes[0] for i in (1, 3, 4))
    if not (same and len(shapes[0]) == 4 and all(shapes[i][:-1] == shapes[0][:-1] for i in (2, 5))):
        raise InputError(
            f"cross_diffusion_attention got (query, key, values) {shapes[:3]} and {shapes[3:]}: "
            "give queries and keys (B, heads, N, d) of one shape and values (B, heads, N, any)"
        )


def _initial_pair(initial: Initial, shape: tuple[int, ...]) -> Tensor | str:
    """S(0) as a word, or as one tensor (..., 2, N, N) for the two sides."""
    if isinstance(initial, str):
        if initial not in INITIALS:
            raise InputError(
                f"initial={initial!r} is not usable: give one of {', '.join(INITIALS)}, "
                "a tensor (B, heads, N, N) or a pair of such tensors"
            )
        return initial
    pair = initial if isinstance(initial, tuple | list) else (initial, initial)
    for start in pair:
        if len(pair) != 2 or not isinstance(start, Tensor) or start.shape != shape:
            got = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
            raise InputError(
                f"initial is {got}: give one tensor, or one for each direction, "
                f"of the affinities' shape {tuple(shape)}"
            )
    return torch.stack(tuple(pair), dim=-3)


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
