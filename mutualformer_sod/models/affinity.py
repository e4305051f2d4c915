"""Cross-diffusion attention as pure functions (MutualFormer, IJCV 2024, Sec. 3.2).

The paper diffuses a cross-modal affinity S through the two self-affinities,

    S(t+1) = eps * L S(t) R + (1 - eps) * A,        S(0) = I,

and applies the result to the values of the other modality. In the paper, A = W_r + W_d.
``Diffusion`` selects L, R and A. For the rgb side, the released code has L = W_r^T and R = W_d, and
computes one step:

    S_rd = 0.6 W_r^T W_d + 0.4 (W_r + W_d),        O_rd = S_rd V_d.

The paper has L = W_r and R = W_d^T. For the depth side, r and d are exchanged. The paper first
divides the affinities by their row sums. The rows of a softmax sum to 1, so the division is
omitted.

The products are computed from right to left, beginning at the values. Every product is then (N x N)
by (N x d), and neither L S nor S R is formed:

    u_0 = V,  u_k = R u_{k-1} for k = 1 .. t;
    y = S(0) u_t,  then for k = t-1 .. 0:  y <- eps * L y + (1 - eps) * A u_k.

One pass over a self-affinity W gives both W X and W^T Y. W_r and W_d need the same products and are
processed as a pair along axis -3 (rgb, depth). A pass computes the complete W ("dense") or row
tiles of W ("tiled", in module ``tiles``).
"""

from collections.abc import Callable
from functools import partial, reduce

import torch
from torch import Tensor

from mutualformer_sod.configs.diffusion import ATTENTIONS, Diffusion
from mutualformer_sod.configs.switches import check
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.tiles import Link, tiled_products

Heads = tuple[Tensor, Tensor, Tensor]  # query, key, values of one modality
# (rows X, columns Y, link) -> (W X, W^T Y), as documented in tiles.tiled_products.
Products = Callable[..., tuple[Tensor | None, Tensor | None]]

# "auto" uses row tiles from this number of tokens. CPU: measured (docs/attention.md); CUDA: CHOSEN.
TILED_FROM = {"cpu": 192, "cuda": 1024}
AS_RELEASED = Diffusion()


def cross_diffusion_attention(
    rgb: Heads,
    depth: Heads,
    diffusion: Diffusion = AS_RELEASED,
    attention: str = "auto",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute self-attention of both modalities and cross-diffusion attention in both directions.

    Args:
        rgb, depth: query and key (B, heads, N, d), values (B, heads, N, d_v), float.
        diffusion: options of the recurrence.
        attention: "dense" stores both affinities (B, heads, N, N). "tiled" gives the same results
            from a few rows at a time, and computes the rows again for the gradient. "auto" uses
            "tiled" for large N, but not in traced graphs (torch.compile, export).

    Returns:
        O_r = W_r V_r, O_d = W_d V_d, O_rd = S_rd V_d (rgb side), O_dr = S_dr V_r (depth side), each
        (B, heads, N, d_v).

    Raises:
        InputError (a ValueError): an option or a shape is invalid.
    """
    check(attention in ATTENTIONS, "attention", attention, f"one of {', '.join(ATTENTIONS)}")
    _check_heads(rgb, depth)
    query, key, values = (torch.stack(pair, dim=-3) for pair in zip(rgb, depth, strict=True))
    query, key, values = _same_dtype(query.mul_(query.shape[-1] ** -0.5), key, values)
    if _use_tiles(attention, query):
        products = partial(tiled_products, query, key)
    else:
        products = partial(_dense_products, (query @ key.mT).softmax(dim=-1))
    own, cross = _diffuse(products, values, diffusion)
    return (*own.unbind(-3), *cross.unbind(-3))


def self_affinity(query: Tensor, key: Tensor) -> Tensor:
    """Compute softmax(q k^T / sqrt(d)): two (B, heads, N, d) float -> (B, heads, N, N) float."""
    return ((query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)).softmax(dim=-1)


def cross_diffusion(
    rgb_affinity: Tensor,
    depth_affinity: Tensor,
    rgb_values: Tensor,
    depth_values: Tensor,
    diffusion: Diffusion = AS_RELEASED,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute cross-diffusion attention in both directions from two self-affinities.

    Args:
        rgb_affinity, depth_affinity: W_r and W_d (B, heads, N, N) float, rows sum to 1.
        rgb_values, depth_values: V_r and V_d (B, heads, N, d) float.
        diffusion: options of the recurrence.
        start: S(0) of the rgb side and of the depth side, (B, heads, N, N) float each, in place of
            ``diffusion.initial``: the cross-affinities of another method for the paper's
            post-optimisation (second claim).

    Returns:
        O_rd = S_rd V_d for the rgb side and O_dr = S_dr V_r for the depth side, each
        (B, heads, N, d).

    Raises:
        InputError (a ValueError): the shapes do not match.
    """
    _check_shapes((rgb_affinity, depth_affinity, *(start or ())), (rgb_values, depth_values))
    products = partial(_dense_products, torch.stack((rgb_affinity, depth_affinity), dim=-3))
    values = torch.stack((rgb_values, depth_values), dim=-3)
    pair = None if start is None else torch.stack(start, dim=-3)
    return _diffuse(products, values, diffusion, pair)[1].unbind(-3)


def _diffuse(
    products: Products, values: Tensor, diffusion: Diffusion, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return W V, and S V with the other modality's V, each (..., 2, N, d) like the values V.

    ``power`` is R^k V for each modality's own V and equals u_k of the other modality. ``joints``
    are the products A u_k of each modality. The released form needs 2 t - 1 passes over W, the
    paper's form needs 2 t, and ``initial="affinity"`` adds one pass.
    """
    scale = 1.0 if diffusion.affinity == "sum" else 0.5
    released = diffusion.form == "released"
    from_identity = start is None and diffusion.initial == "identity"
    power, joints, own = values, [], None
    for step in range(diffusion.steps):
        # W u_(k-1) gives the next power (released), one term of A u_(k-1), and O for k = 1.
        last = released and from_identity and step == diffusion.steps - 1
        rows, columns = products(
            torch.cat((power, _partner(power)), dim=-1),
            None if released else power,
            (1.0, 0.0) if last else None,
        )
        forward, joint = _own_and_joint(rows, scale)
        own = forward if own is None else own
        joints.append(joint)
        power = forward if released else columns
    if start is not None:
        diffused = start @ _partner(power)
    elif from_identity:
        diffused = None if released else _partner(power)  # the last pass used u_t as columns
    else:
        link = (scale, scale) if released else None
        rows, columns = products(torch.cat((power, _partner(power)), dim=-1), None, link)
        diffused = _own_and_joint(rows, scale)[1]
    # Without ``start``, the last pass also gave W^T S(0) u_t.
    ready = columns if released and start is None else None
    for joint in reversed(joints):
        if ready is not None:
            diffused, ready = ready, None
        elif released:
            diffused = products(None, diffused)[1]
        else:
            diffused = products(diffused)[0]
        diffused = torch.lerp(joint, diffused, diffusion.epsilon)
    return own, diffused


def _own_and_joint(rows: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return W u and the other modality's A u from ``rows`` = W [u ; u of the other modality]."""
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
    """Compute the result of ``tiles.tiled_products`` from the complete W (..., 2, N, N)."""
    row_products = None if rows is None else weights @ rows
    if link is not None:
        own, other = row_products.chunk(2, dim=-1)
        columns = _partner(own)
        if link != (1.0, 0.0):
            columns = link[0] * columns + link[1] * other
    return row_products, None if columns is None else weights.mT @ columns


def _use_tiles(attention: str, query: Tensor) -> bool:
    # An exported graph cannot contain the loop over tiles. Old torch has no ``is_exporting``.
    exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    if attention == "dense" or exporting() or torch.jit.is_tracing():
        return False
    if attention == "tiled":
        return True
    # N is checked last, because a graph with a dynamic number of tokens must not depend on N.
    if torch.compiler.is_compiling():
        return False
    return query.shape[-2] >= TILED_FROM["cpu" if query.device.type == "cpu" else "cuda"]


def _same_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    kind = tensors[0].device.type
    if torch.is_autocast_enabled(kind) and tensors[0].dtype != torch.float64:
        dtype = torch.get_autocast_dtype(kind)
    else:
        dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return tuple(tensor.to(dtype) for tensor in tensors)


def _check_heads(rgb: Heads, depth: Heads) -> None:
    shapes = [tuple(item.shape) for item in (*rgb, *depth)]
    query, _, values = shapes[:3]
    same = shapes == [query, query, values] * 2
    if not (same and len(query) == 4 and values[:-1] == query[:-1]):
        raise InputError(
            f"cross_diffusion_attention got (query, key, values) of shapes {shapes[:3]} for rgb "
            f"and {shapes[3:]} for depth. "
            "Fix: pass queries and keys (B, heads, N, d) of the same shape and values "
            "(B, heads, N, d_v) of the same shape."
        )


def _check_shapes(affinities: tuple[Tensor, ...], values: tuple[Tensor, ...]) -> None:
    got, got_values = ([tuple(item.shape) for item in items] for items in (affinities, values))
    first, second = got[0], got_values[0]
    alike = got == [first] * len(got) and got_values == [second] * 2
    if not (alike and min(len(first), len(second)) >= 2 and first[-1] == first[-2] == second[-2]):
        raise InputError(
            f"cross_diffusion got affinities of shapes {got} and values of shapes {got_values}. "
            "Fix: pass affinities (B, heads, N, N) of one shape and two values (B, heads, N, d) "
            "of one shape."
        )
