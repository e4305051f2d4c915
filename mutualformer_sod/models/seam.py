"""The seam through which fusion methods act inside timm's blocks.

Both modalities go through the blocks of one shared ViT as one batch of 2B images, rgb first, so
that timm's own blocks run unchanged and in lock-step for both; what belongs to one modality alone,
the normalisation layers, works on its half. At named points of every block a method may replace the
patch tokens of both modalities:

    "input"        what the block is given
    "norm"         after the norm before attention
    "heads"        the merged heads of attention, before its output projection
    "projection"   after that projection
    "mlp_norm"     after the norm before the MLP

Prefix tokens (CLS, registers) never get to a method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.layers import RmsNorm, resample_abs_pos_embed
from timm.models.eva import Eva, EvaBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from mutualformer_sod.errors import InputError

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, RmsNorm, nn.modules.batchnorm._BatchNorm)
# (layer from 0, rgb, depth) -> (rgb, depth), (B, N, C) each
Hook = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


class Seam:
    """A ViT for rgb, and one for depth that shares all but its normalisation layers with it.

    Args:
        rgb_body, depth_body: timm's models.
        fusion: name of the method, for messages.

    Attributes:
        dim: width C of the tokens. depth: number of blocks.
        has_position: whether there is an absolute position embedding.

    Raises:
        InputError: the backbone has no blocks of a kind that is known here.
    """

    def __init__(self, rgb_body: nn.Module, depth_body: nn.Module, fusion: str) -> None:
        blocks = getattr(rgb_body, "blocks", ())
        if not isinstance(rgb_body, VisionTransformer | Eva) or not all(
            type(block) in (Block, EvaBlock) for block in blocks
        ):
            raise InputError(
                f"fusion={fusion} acts inside the blocks of a plain ViT, which this backbone does "
                "not have: give a ViT or DeiT of timm, or a fusion at the taps"
            )
        self.fusion = fusion
        self.bodies = rgb_body, depth_body
        self.dim, self.depth = rgb_body.num_features, len(blocks)
        self.prefix = rgb_body.num_prefix_tokens
        self.has_position = rgb_body.pos_embed is not None
        self.grid: tuple[int, int] = (0, 0)

    def norms(self, point: str) -> list[tuple[nn.Module, nn.Module]]:
        """The rgb and depth norms of every block at the point "norm" or "mlp_norm"."""
        name = {"norm": "norm1", "mlp_norm": "norm2"}[point]
        streams = [[getattr(block, name) for block in body.blocks] for body in self.bodies]
        return list(zip(*streams, strict=True))

    def position(self) -> Tensor:
        """Position embedding of the patch tokens of the images at hand: (1, N, C), no gradient."""
        body = self.bodies[0]
        prefix = 0 if body.no_embed_class else self.prefix
        embedding = resample_abs_pos_embed(
            body.pos_embed,
            new_size=self.grid,
            old_size=body.patch_embed.grid_size,
            num_prefix_tokens=prefix,
        )
        return embedding[:, prefix:].detach()

    def connect(self, hooks: dict[str, Hook], joint_attention: bool = False) -> None:
        """Let a method act from now on.

        Args:
            hooks: by the name of their point.
            joint_attention: the attention of every block sees the tokens of both modalities as one
                sequence.

        Raises:
            InputError: joint attention in a backbone whose attention knows places or norms.
        """
        body, twin = self.bodies
        if joint_attention:
            self._refuse_unjoinable()
        for module, other in zip(body.modules(), twin.modules(), strict=True):
            if isinstance(module, NORMS):
                pair = _NormPair(other)
                module.register_forward_pre_hook(pair.hold_depth)
                module.register_forward_hook(pair.normalise_depth)
        body.patch_embed.register_forward_hook(self._note_grid)
        for layer, block in enumerate(body.blocks):
            places: dict[str, tuple[nn.Module, bool]] = {
                "input": (block, True),
                "norm": (block.norm1, False),
                "heads": (block.attn.proj, True),
                "projection": (block.attn.proj, False),
                "mlp_norm": (block.norm2, False),
            }
            for point, hook in hooks.items():
                module, before = places[point]
                step = _Step(hook, layer, self.prefix)
                if before:
                    module.register_forward_pre_hook(step.replace_input)
                else:
                    module.register_forward_hook(step.replace_output)
            if joint_attention:
                block.attn.register_forward_pre_hook(_join)
                block.attn.register_forward_hook(_split)

    def _refuse_unjoinable(self) -> None:
        body = self.bodies[0]
        normed = any(isinstance(m, NORMS) for block in body.blocks for m in block.attn.modules())
        if normed or getattr(body, "rope", None) is not None:
            raise InputError(
                f"fusion={self.fusion}: this backbone's attention has rotary positions or norms, "
                "which a joint sequence does not fit: give a plain ViT or DeiT"
            )

    def _note_grid(self, module: nn.Module, args: Any, patches: Tensor) -> None:
        self.grid = tuple(patches.shape[1:3])  # (2B, h, w, C), as dynamic_img_size has it


class _Step:
    """One hook at one point of one block."""

    def __init__(self, hook: Hook, layer: int, prefix: int) -> None:
        self.hook, self.layer, self.prefix = hook, layer, prefix

    def replace_input(self, module: nn.Module, args: tuple) -> tuple:
        return self._replace(args[0]), *args[1:]

    def replace_output(self, module: nn.Module, args: tuple, tokens: Tensor) -> Tensor:
        return self._replace(tokens)

    def _replace(self, tokens: Tensor) -> Tensor:
        patches = torch.cat(self.hook(self.layer, *halves(tokens[:, self.prefix :])))
        patches = patches.to(tokens.dtype)
        return torch.cat((tokens[:, : self.prefix], patches), dim=1) if self.prefix else patches


class _NormPair:
    """A normalisation layer of rgb that leaves the depth half of a batch to its twin."""

    def __init__(self, depth_norm: nn.Module) -> None:
        self.depth_norm = depth_norm
        self.depth: Tensor | None = None

    def hold_depth(self, module: nn.Module, args: tuple) -> tuple:
        rgb, self.depth = halves(args[0])
        return (rgb, *args[1:])

    def normalise_depth(self, module: nn.Module, args: tuple, rgb: Tensor) -> Tensor:
        depth, self.depth = self.depth, None
        return torch.cat((rgb, self.depth_norm(depth)))


def halves(batch: Tensor) -> tuple[Tensor, Tensor]:
    """The rgb and the depth part of a joint batch: (2B, ...) -> (B, ...) twice.

    Not ``chunk``, by which an exported graph would hold the batch's size.
    """
    rgb, depth = batch.unflatten(0, (2, -1)).unbind(0)
    return rgb, depth


def _join(module: nn.Module, args: tuple) -> tuple:
    """(2B, N, C) -> (B, 2N, C)."""
    return torch.cat(halves(args[0]), dim=1), *args[1:]


def _split(module: nn.Module, args: tuple, tokens: Tensor) -> Tensor:
    """(B, 2N, C) -> (2B, N, C)."""
    return torch.cat(tokens.chunk(2, dim=1))
