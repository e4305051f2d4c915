"""Stochastic depth whose decisions can depend on the image alone, not on a random generator."""

from collections.abc import Sequence

import torch
from torch import Tensor

DRAW_BITS = 24
# First branch index of each part of the network, so that no two branches share random numbers.
RGB_STREAM, DEPTH_STREAM, FUSION = 0, 1000, 2000
Draws = Sequence[Tensor | None]  # one per branch: (B,) int64 in [0, 2^24), or None
_GAMMA, _MIX_1, _MIX_2 = (  # as int64, because all three exceed 2^63
    constant - 2**64 for constant in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def drop_path(branch: Tensor, rate: float, draws: Tensor | None = None) -> Tensor:
    """Zero the residual branch of some images (stochastic depth, Huang et al., ECCV 2016).

    Branches that are not dropped are divided by 1 - rate. With ``draws``, the decision depends only
    on the image's key and the branch.

    Args:
        branch: (B, ...) float, output of the residual branch.
        rate: probability that the branch of an image is dropped, in [0, 1); 0 outside training.
        draws: (B,) int64, one row of ``keyed_draws``; None to draw from torch's generator.

    Returns:
        (B, ...) float, the scaled branch, with zeros for some images.
    """
    if rate == 0:
        return branch
    if draws is None:
        kept = torch.rand(len(branch), device=branch.device) < 1 - rate
    else:
        kept = draws < round((1 - rate) * 2**DRAW_BITS)  # integers: exact on every device
    scale = kept.to(branch.dtype) / (1 - rate)
    return branch * scale.view(-1, *[1] * (branch.ndim - 1))


def branch_draws(keys: Tensor | None, first: int, count: int) -> Draws:
    """Return the random numbers of ``count`` branches whose indices start at ``first``.

    The keys are (B,) int64, one per image; without keys, the numbers of every branch are None.
    """
    if keys is None:
        return [None] * count
    # One call for all branches needs fewer small kernels per batch than one call per branch.
    return keyed_draws(keys, torch.arange(first, first + count, device=keys.device)).unbind(0)


def keyed_draws(keys: Tensor, indices: Tensor) -> Tensor:
    """Return uniform 24-bit numbers for pairs of branch and image, from a 64-bit integer hash.

    The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) is applied to the key, then to
    the result combined with the branch's index. int64 wraps around, so the arithmetic is modulo
    2^64. Keys are (B,) int64, indices (M,) int64; the result is (M, B) int64 in [0, 2^24).
    """
    if keys.dtype != torch.int64:
        raise ValueError(f"`keys` are {keys.dtype}. Fix: pass int64.")
    mixed = _mix(_mix(keys + _GAMMA) + (indices[:, None] + 1) * _GAMMA)
    return _shift_right(mixed, 64 - DRAW_BITS)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift_right(bits, 30)) * _MIX_1
    bits = (bits ^ _shift_right(bits, 27)) * _MIX_2
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: Tensor, places: int) -> Tensor:
    """Shift bits to the right and insert zeros, because torch's ``>>`` repeats the sign bit."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
