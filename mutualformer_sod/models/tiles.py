"""Compute the products W X and W^T Y with W = softmax(q k^T) in row tiles.

A slab of rows of W is computed, multiplied from both sides and dropped; the backward pass computes
the slab again. The results are exact. A head needs O(tile x N) memory in place of O(N^2).
FlashAttention (Dao et al., 2022) computes W X by slabs. In this module, each slab also adds to
W^T Y. Both modalities are processed as a pair, so that Y can combine the products W X of both
(``link``).
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Link = tuple[float, float]  # weights (a, b) of the terms of a linked Y, see ``tiled_products``

# SLAB_BYTES is the size of a slab; on a CPU, the size of the second-level cache of one thread. With
# few tokens, several heads share a slab. With many tokens, a slab has fewer rows, within the limits
# of TILE_ROWS. The values for CUDA are CHOSEN, not measured.
TILE_ROWS = {"cpu": (64, 256), "cuda": (256, 1024)}
SLAB_BYTES = {"cpu": 2**20, "cuda": 2**28}


@torch.compiler.disable
def tiled_products(
    query: Tensor,
    key: Tensor,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
    link: Link | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """Compute W X and W^T Y in one pass over the row tiles of both modalities.

    Args:
        query: (B, heads, 2, N, d) float, scaled by the caller; axis -3 is rgb, depth.
        key: (B, heads, 2, N, d); all tensors have the dtype of ``query``.
        rows: X (B, heads, 2, N, w), or None to omit W X.
        columns: Y (B, heads, 2, N, c), or None to omit W^T Y or to use ``link``.
        link: weights (a, b) that replace ``columns``. X is then [own ; other] of even width
            w = 2 c, and Y = a P(W X)_own + b (W X)_other, where P swaps the modalities.

    Returns:
        W X (B, heads, 2, N, w) and W^T Y (B, heads, 2, N, c), or None for an omitted product. The
        dtype is that of ``query``; softmax and sums use float32 or float64.
    """
    lead = query.shape[:-2]
    flat = [None if x is None else x.flatten(0, -3) for x in (query, key, rows, columns)]
    products = _RowTiles.apply(*flat, link, *_tiling(query))
    return tuple(None if x is None else x.unflatten(0, lead) for x in products)


def _tiling(query: Tensor) -> tuple[int, int]:
    """Return the numbers of rows and of matrices in a slab; a head has two matrices."""
    tokens, matrices = query.shape[-2], query.shape[:-2].numel()
    kind = "cpu" if query.device.type == "cpu" else "cuda"
    workers = torch.get_num_threads() if kind == "cpu" else 1
    row_bytes = max(1, 2 * tokens * query.element_size())  # one row of the slabs of both modalities
    least, most = TILE_ROWS[kind]
    limit = min(most, max(least, SLAB_BYTES[kind] // row_bytes))
    tiles = max(1, math.ceil(tokens / limit))
    tile = max(1, math.ceil(tokens / tiles))  # equal tile heights
    pairs = max(workers, SLAB_BYTES[kind] * workers // (tile * row_bytes))
    return tile, max(1, min(matrices, 2 * pairs))


class _RowTiles(torch.autograd.Function):
    """``tiled_products`` on (2 B heads, N, width), modalities alternating along the first axis."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        rows: Tensor | None,
        columns: Tensor | None,
        link: Link | None,
        tile: int,
        group: int,
    ) -> tuple[Tensor | None, Tensor | None]:
        row_products = None if rows is None else torch.empty_like(rows)
        width = rows.shape[-1] // 2 if link else 0 if columns is None else columns.shape[-1]
        sums = _zeros(query, width) if width else None
        with torch.autocast(query.device.type, enabled=False):
            for these, tokens in _tiles(query, tile, group):
                slab = _softmax(query[these, tokens], key[these])
                part = None
                if rows is not None:
                    part = row_products[these, tokens]  # a view, so the product needs no copy
                    part.baddbmm_(slab, rows[these], beta=0)
                if sums is not None:
                    operand = _operand(part, columns, (these, tokens), link)
                    _accumulate(sums[these], slab, operand)
        ctx.save_for_backward(query, key, rows, columns, row_products)
        ctx.link, ctx.tile, ctx.group = link, tile, group
        return row_products, None if sums is None else sums.to(query.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, row_grad: Tensor | None, sum_grad: Tensor | None) -> tuple:
        query, key, rows, columns, row_products = ctx.saved_tensors
        link, dtype = ctx.link, query.dtype
        query_grad = torch.empty_like(query)
        key_grad = _zeros(key, key.shape[-1])
        rows_grad = None if rows is None else _zeros(rows, rows.shape[-1])
        columns_grad = None if columns is None else torch.empty_like(columns)
        # dW = (d WX) X^T + Y (d W^TY)^T is one product of concatenated factors.
        right = _join(rows, sum_grad)
        with torch.autocast(query.device.type, enabled=False):
            for these, tokens in _tiles(query, ctx.tile, ctx.group):
                slab = _softmax(query[these, tokens], key[these])
                part = part_grad = operand = operand_grad = None
                if rows is not None:
                    part, part_grad = row_products[these, tokens], row_grad[these, tokens]
                if sum_grad is not None:
                    operand = _operand(part, columns, (these, tokens), link)
                    operand_grad = slab @ sum_grad[these]
                    if link:
                        terms = link[0] * _swap(operand_grad), link[1] * operand_grad
                        part_grad = part_grad + torch.cat(terms, dim=-1)
                    else:
                        columns_grad[these, tokens] = operand_grad
                if rows is not None:
                    _accumulate(rows_grad[these], slab, part_grad)
                score_grad = _join(part_grad, operand) @ right[these].mT
                # Sum over j of W_ij dW_ij for the gradient of softmax, from products above.
                inner = _dot(part, part_grad) + _dot(operand, operand_grad)
                score_grad = score_grad.sub_(inner).mul_(slab)
                query_grad[these, tokens] = score_grad @ key[these]
                _accumulate(key_grad[these], score_grad, query[these, tokens])
        sums = (x if x is None else x.to(dtype) for x in (key_grad, rows_grad))
        return query_grad, *sums, columns_grad, None, None, None


def _tiles(like: Tensor, tile: int, group: int) -> Iterator[tuple[slice, slice]]:
    """Yield the slices of matrices and of rows of every slab."""
    matrices, tokens = like.shape[:2]
    for first in range(0, matrices, group):
        for row in range(0, tokens, tile):
            yield slice(first, first + group), slice(row, row + tile)


def _softmax(query: Tensor, key: Tensor) -> Tensor:
    statistics = torch.promote_types(query.dtype, torch.float32)
    return torch.softmax(query @ key.mT, dim=-1, dtype=statistics).to(query.dtype)


def _zeros(like: Tensor, width: int) -> Tensor:
    dtype = torch.promote_types(like.dtype, torch.float32)
    return like.new_zeros((*like.shape[:-1], width), dtype=dtype)


def _accumulate(sums: Tensor, slab: Tensor, operand: Tensor) -> None:
    """Add the product slab^T operand to ``sums`` in place."""
    if sums.dtype == slab.dtype:
        sums.baddbmm_(slab.mT, operand)
    else:
        sums += slab.mT @ operand


def _operand(
    part: Tensor | None, columns: Tensor | None, place: tuple[slice, slice], link: Link | None
) -> Tensor:
    """Return rows of Y, from ``columns`` or as a combination of ``part``, the rows of W X."""
    if link is None:
        return columns[place]
    own, other = part.chunk(2, dim=-1)
    made = _swap(own) if link[0] == 1 else link[0] * _swap(own)
    return made + link[1] * other if link[1] else made


def _swap(pairs: Tensor) -> Tensor:
    """Exchange the two modalities of each pair: (2 M, n, w) -> (2 M, n, w)."""
    return pairs.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def _join(*parts: Tensor | None) -> Tensor:
    there = [part for part in parts if part is not None]
    return there[0] if len(there) == 1 else torch.cat(there, dim=-1)


def _dot(left: Tensor | None, right: Tensor | None) -> Tensor | float:
    return 0.0 if left is None else torch.linalg.vecdot(left, right)[..., None]
