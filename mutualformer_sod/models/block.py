"""The MutualFormer block (IJCV 2024, Fig. 2b) and a loader of the authors' released weights."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from mutualformer_sod.configs.diffusion import ATTENTIONS, Diffusion
from mutualformer_sod.configs.switches import check
from mutualformer_sod.errors import InputError, one_line
from mutualformer_sod.files import without_wrappers
from mutualformer_sod.models.affinity import AS_RELEASED, Heads, cross_diffusion_attention
from mutualformer_sod.models.drop_path import Draws, drop_path

CROSSINGS = ("diffusion", "attention", "none")


class MutualFormerBlock(nn.Module):
    """Self-attention and cross-diffusion attention, aggregated into a fused stream.

    Wang et al., "MutualFormer: Multi-Modality Representation Learning via Cross-Diffusion
    Attention", IJCV 2024, Fig. 2b. The paper aggregates by convolutions, the released code by
    Linear layers, which are 1x1 convolutions on tokens. The self-attention over the fused stream is
    part of the released code but not of Fig. 2b.

    Args:
        dim: token width C.
        num_heads: number of attention heads, a divisor of ``dim``.
        mlp_ratio: hidden width of the MLP divided by ``dim``.
        qkv_bias: use biases in the three qkv projections.
        drop_path: stochastic depth rate of the two residual branches, in [0, 1).
        diffusion: options of the recurrence of cross-diffusion.
        attention: "auto", "dense" or "tiled", as in ``affinity.cross_diffusion_attention``.
        cross: "diffusion", or one of two ablations: "attention" is plain cross-attention, and
            "none" omits attention across the modalities.
        fused_attention: use self-attention over the fused stream.

    Raises:
        InputError (a ValueError): an option has an invalid value.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        diffusion: Diffusion = AS_RELEASED,
        attention: str = "auto",
        cross: str = "diffusion",
        fused_attention: bool = True,
    ) -> None:
        super().__init__()
        if dim < 1 or num_heads < 1 or dim % num_heads:
            raise InputError(
                f"num_heads={num_heads} is not usable with dim={dim}. Fix: pass a dim that is a "
                "multiple of num_heads; both must be 1 or more."
            )
        if not (mlp_ratio > 0 and 0 <= drop_path < 1):
            raise InputError(
                f"mlp_ratio={mlp_ratio} or drop_path={drop_path} is not usable. Fix: pass a "
                "positive ratio and a rate in [0, 1)."
            )
        check(attention in ATTENTIONS, "attention", attention, f"one of {', '.join(ATTENTIONS)}")
        check(cross in CROSSINGS, "cross", cross, f"one of {', '.join(CROSSINGS)}")
        self.cross = cross
        self.dim = dim
        self.num_heads = num_heads
        self.diffusion = diffusion
        self.attention = attention
        self.modality_norm = nn.LayerNorm(2 * dim)
        self.rgb_qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.depth_qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        joined = dim if cross == "none" else 2 * dim
        self.rgb_aggregate = nn.Linear(joined, dim)
        self.depth_aggregate = nn.Linear(joined, dim)
        self.joint_aggregate = nn.Linear(2 * dim, dim)
        self.fused_attention = fused_attention
        if fused_attention:
            self.fused_norm = nn.LayerNorm(dim)
            self.fused_qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
            self.fused_proj = nn.Linear(dim, dim)
        self.drop_rate = drop_path
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(
        self, modality_tokens: Tensor, fused_tokens: Tensor, draws: Draws = (None, None)
    ) -> Tensor:
        """Update the fused stream, but not the modality tokens.

        Args:
            modality_tokens: (B, N, 2C) float, rgb then depth along the last axis.
            fused_tokens: (B, N, C) float.
            draws: random numbers of the two residual branches, for ``drop_path.drop_path``.

        Returns:
            (B, N, C) float, the new fused stream.

        Raises:
            InputError (a ValueError): the shapes do not match each other or ``dim``.
        """
        expected = (*fused_tokens.shape[:2], 2 * self.dim)
        if modality_tokens.shape != expected or fused_tokens.shape[-1] != self.dim:
            raise InputError(
                f"modality_tokens {tuple(modality_tokens.shape)} and fused_tokens "
                f"{tuple(fused_tokens.shape)} do not match. Fix: pass (B, N, {2 * self.dim}) and "
                f"(B, N, {self.dim})."
            )
        rgb, depth = self.modality_norm(modality_tokens).chunk(2, dim=-1)
        rgb_own, depth_own, *crossed = self.attend(
            self._heads(self.rgb_qkv(rgb)), self._heads(self.depth_qkv(depth))
        )
        rgb_joined = self.rgb_aggregate(_merge(rgb_own, *crossed[:1]))
        depth_joined = self.depth_aggregate(_merge(depth_own, *crossed[1:]))
        update = self.joint_aggregate(torch.cat((rgb_joined, depth_joined), dim=-1))
        if self.fused_attention:
            heads = self._heads(self.fused_qkv(self.fused_norm(fused_tokens)))
            update = self.fused_proj(_merge(self.attend_to_itself(*heads))) + update
        rate = self.drop_rate if self.training else 0.0
        fused_tokens = fused_tokens + drop_path(update, rate, draws[0])
        update = self.mlp(self.mlp_norm(fused_tokens))
        return fused_tokens + drop_path(update, rate, draws[1])

    def attend(self, rgb: Heads, depth: Heads) -> tuple[Tensor, ...]:
        """Return O_r, O_d, and with attention across O_rd, O_dr, (B, heads, N, d) float each."""
        if self.cross == "diffusion":
            return cross_diffusion_attention(rgb, depth, self.diffusion, self.attention)
        own = self.attend_to_itself(*rgb), self.attend_to_itself(*depth)
        if self.cross == "none":
            return own
        return (
            *own,
            F.scaled_dot_product_attention(rgb[0], *depth[1:]),
            F.scaled_dot_product_attention(depth[0], *rgb[1:]),
        )

    def attend_to_itself(self, query: Tensor, key: Tensor, values: Tensor) -> Tensor:
        """Attend within one stream: three (B, heads, N, d) -> (B, heads, N, d)."""
        return F.scaled_dot_product_attention(query, key, values)

    def _heads(self, qkv: Tensor) -> Heads:
        split = qkv.unflatten(2, (3, self.num_heads, -1))
        return split.permute(2, 0, 3, 1, 4).unbind(0)  # three of (B, heads, N, d)


def _merge(*parts: Tensor) -> Tensor:
    """Concatenate the heads of all k parts: (B, heads, N, d) each -> (B, N, k C)."""
    return torch.cat([part.transpose(1, 2).flatten(2) for part in parts], dim=-1)


# The authors' module names and the names in this project.
_RELEASED_NAMES = {
    "norm1": "modality_norm",
    "norm1_rd": "fused_norm",
    "attn.qkv_r": "rgb_qkv",
    "attn.qkv_d": "depth_qkv",
    "attn.qkv": "fused_qkv",
    "attn.proj_r": "rgb_aggregate",
    "attn.proj_d": "depth_aggregate",
    "attn.proj_rd": "joint_aggregate",
    "attn.proj": "fused_proj",
    "norm2": "mlp_norm",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def remap_released_names(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename the authors' block parameters to ours; raise InputError for an unknown name."""
    renamed = {}
    for name, value in without_wrappers(state_dict, "the released block's weights").items():
        module, _, kind = name.rpartition(".")
        if module not in _RELEASED_NAMES:
            raise InputError(
                f"{name!r} is not a parameter of the released MutualFormer block. Fix: pass the "
                "state dict of that block alone."
            )
        renamed[f"{_RELEASED_NAMES[module]}.{kind}"] = torch.as_tensor(value)
    return renamed


def load_released_block(state_dict: Mapping[str, Any], num_heads: int) -> MutualFormerBlock:
    """Build a block of the released form (one step, epsilon 0.6) with the authors' weights.

    Args:
        state_dict: tensors or arrays by the authors' parameter names.
        num_heads: number of attention heads, which the weights do not contain.

    Raises:
        InputError (a ValueError): a parameter is unknown, is missing or has a wrong shape.
    """
    renamed = remap_released_names(state_dict)
    if missing := {"fused_proj.weight", "mlp.fc1.weight"} - set(renamed):
        raise InputError(
            f"the released weights lack {', '.join(sorted(missing))}. Fix: add these parameters."
        )
    dim, hidden = (len(renamed[name]) for name in ("fused_proj.weight", "mlp.fc1.weight"))
    block = MutualFormerBlock(
        dim,
        num_heads,
        mlp_ratio=(hidden + 0.5) / dim,  # the block rounds down, and the quotient may be too low
        qkv_bias="rgb_qkv.bias" in renamed,
    ).to(renamed["fused_proj.weight"].dtype)
    try:
        block.load_state_dict(renamed)
    except RuntimeError as error:
        raise InputError(
            f"the released block's weights do not fit: {one_line(error)} Fix: pass all parameters."
        ) from error
    return block
