"""The MutualFormer block (IJCV 2024, Fig. 2b) and the bridge to the authors' released weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from mutualformer_sod.configs.fusion import ATTENTIONS, CROSSINGS, INITIALS, check_cross_diffusion
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import without_wrappers
from mutualformer_sod.models.affinity import cross_diffusion_attention
from mutualformer_sod.models.drop_path import DropPath


class MutualFormerBlock(nn.Module):
    """Self-attention and cross-diffusion attention, aggregated into a fused stream.

    Wang et al., "MutualFormer: Multi-Modality Representation Learning via Cross-Diffusion
    Attention", IJCV 2024, Fig. 2b. The paper's aggregations are convolutions, the released code's
    are Linear: on tokens a 1x1 convolution is a Linear. The self-attention over the fused stream
    stands in the released code and not in the figure.

    Args:
        dim: token width C.
        num_heads: attention heads; must divide ``dim``.
        mlp_ratio: hidden width of the MLP over ``dim``.
        qkv_bias: biases in the three qkv projections.
        drop_path: stochastic depth rate of the two residual branches.
        form, epsilon, steps, affinity, initial: see ``affinity.cross_diffusion``.
        attention: see ``affinity.cross_diffusion_attention``.
        cross: "diffusion", or an ablation: plain cross-"attention" softmax(q_r k_d^T / sqrt(d)) V_d
            (and the reverse) in its place, or "none", self-attention of either modality alone.
        fused_attention: False leaves out the self-attention over the fused stream.

    Raises:
        InputError (a ValueError): an option is not legal.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        form: str = "released",
        epsilon: float = 0.6,
        steps: int = 1,
        affinity: str = "sum",
        initial: str = "identity",
        attention: str = "auto",
        cross: str = "diffusion",
        fused_attention: bool = True,
    ) -> None:
        super().__init__()
        if dim < 1 or num_heads < 1 or dim % num_heads:
            raise InputError(f"num_heads={num_heads} must divide dim={dim}, both 1 or more")
        if not (mlp_ratio > 0 and 0 <= drop_path < 1):
            raise InputError(
                f"mlp_ratio={mlp_ratio}, drop_path={drop_path}: give a positive ratio and a rate "
                "in [0, 1)"
            )
        check_cross_diffusion(form, epsilon, steps, affinity)
        if initial not in INITIALS:
            raise InputError(f"initial={initial!r}: give one of {', '.join(INITIALS)}")
        if attention not in ATTENTIONS:
            raise InputError(f"attention={attention!r}: give one of {', '.join(ATTENTIONS)}")
        if cross not in CROSSINGS:
            raise InputError(f"cross={cross!r}: give one of {', '.join(CROSSINGS)}")
        self.cross = cross
        self.dim = dim
        self.num_heads = num_heads
        self.diffusion = {
            "form": form,
            "epsilon": epsilon,
            "steps": steps,
            "affinity": affinity,
            "initial": initial,
            "attention": attention,
        }
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
        self.drop_path = DropPath(drop_path)
        self.mlp_drop_path = DropPath(drop_path)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, modality_tokens: Tensor, fused_tokens: Tensor) -> Tensor:
        """Update the fused stream; the modality tokens are read, not changed.

        Args:
            modality_tokens: (B, N, 2C) float, rgb then depth along the last axis.
            fused_tokens: (B, N, C) float.

        Returns:
            (B, N, C) float, the new fused stream.

        Raises:
            InputError (a ValueError): the shapes do not fit each other or ``dim``.
        """
        expected = (*fused_tokens.shape[:2], 2 * self.dim)
        if modality_tokens.shape != expected or fused_tokens.shape[-1] != self.dim:
            raise InputError(
                f"modality_tokens {tuple(modality_tokens.shape)} and fused_tokens "
                f"{tuple(fused_tokens.shape)} do not fit: give (B, N, {2 * self.dim}) and "
                f"(B, N, {self.dim})"
            )
        rgb, depth = self.modality_norm(modality_tokens).chunk(2, dim=-1)
        update = self._modality_attention(rgb, depth)
        if self.fused_attention:
            update = self._fused_self_attention(self.fused_norm(fused_tokens)) + update
        fused_tokens = fused_tokens + self.drop_path(update)
        return fused_tokens + self.mlp_drop_path(self.mlp(self.mlp_norm(fused_tokens)))

    def _modality_attention(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """Self-attention, cross-diffusion and aggregation: (B, N, C) twice -> (B, N, C)."""
        rgb_heads, depth_heads = self._heads(self.rgb_qkv(rgb)), self._heads(self.depth_qkv(depth))
        if self.cross == "diffusion":
            rgb_own, depth_own, *crossed = cross_diffusion_attention(
                rgb_heads, depth_heads, **self.diffusion
            )
        else:
            rgb_own = F.scaled_dot_product_attention(*rgb_heads)
            depth_own = F.scaled_dot_product_attention(*depth_heads)
            crossed = []
        if self.cross == "attention":
            crossed = [
                F.scaled_dot_product_attention(rgb_heads[0], *depth_heads[1:]),
                F.scaled_dot_product_attention(depth_heads[0], *rgb_heads[1:]),
            ]
        rgb_joined = self.rgb_aggregate(_merge(rgb_own, *crossed[:1]))
        depth_joined = self.depth_aggregate(_merge(depth_own, *crossed[1:]))
        return self.joint_aggregate(torch.cat((rgb_joined, depth_joined), dim=-1))

    def _fused_self_attention(self, fused: Tensor) -> Tensor:
        query, key, values = self._heads(self.fused_qkv(fused))
        return self.fused_proj(_merge(F.scaled_dot_product_attention(query, key, values)))

    def _heads(self, qkv: Tensor) -> tuple[Tensor, ...]:
        batch, tokens, _ = qkv.shape
        split = qkv.reshape(batch, tokens, 3, self.num_heads, self.dim // self.num_heads)
        return split.permute(2, 0, 3, 1, 4).unbind(0)  # three of (B, heads, N, d)


def _merge(*parts: Tensor) -> Tensor:
    """Concatenate the heads of each part, part after part: (B, heads, N, d) each -> (B, N, k C)."""
    return torch.cat([part.transpose(1, 2).flatten(2) for part in parts], dim=-1)


# The authors' parameter names, module by module, and ours.
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
    """Rename the authors' block parameters to ours; values are taken as they are.

    Raises:
        InputError (a ValueError): a name is not one of the released block's.
    """
    renamed = {}
    for name, value in without_wrappers(state_dict, "the released block's weights").items():
        module, _, kind = name.rpartition(".")
        if module not in _RELEASED_NAMES:
            raise InputError(f"{name!r} is no parameter of the released MutualFormer block")
        renamed[f"{_RELEASED_NAMES[module]}.{kind}"] = torch.as_tensor(value)
    return renamed


def load_released_block(state_dict: Mapping[str, Any], num_heads: int) -> MutualFormerBlock:
    """A MutualFormerBlock with the authors' weights: released form, one step, epsilon 0.6.

    Args:
        state_dict: the authors' parameter names to tensors or arrays; widths are read from them.
        num_heads: attention heads of the released block (its weights do not tell).

    Raises:
        InputError (a ValueError): a parameter is unknown, missing or of a shape that does not fit.
    """
    renamed = remap_released_names(state_dict)
    missing = {"fused_proj.weight", "mlp.fc1.weight"} - set(renamed)
    if missing:
        raise InputError(f"the released block's weights lack {', '.join(sorted(missing))}")
    dim, hidden = (len(renamed[name]) for name in ("fused_proj.weight", "mlp.fc1.weight"))
    block = MutualFormerBlock(
        dim,
        num_heads,
        mlp_ratio=(hidden + 0.5) / dim,  # rounded down by the block: the quotient may fall short
        qkv_bias="rgb_qkv.bias" in renamed,
    ).to(renamed["fused_proj.weight"].dtype)
    try:
        block.load_state_dict(renamed)
    except RuntimeError as error:
        raise InputError(f"the released block's weights do not fit: {error}") from error
    return block
