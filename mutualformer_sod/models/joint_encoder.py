"""Run two ViTs block by block, with a fusion method between the parts of a block.

At named points of every block a method may replace the patch tokens of both modalities:

    "input"        input of the block
    "norm"         output of the norm before attention
    "heads"        merged heads of attention, before the output projection
    "projection"   output of the output projection
    "mlp_norm"     output of the norm before the MLP

A method does not receive prefix tokens (CLS, registers).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mutualformer_sod.errors import InputError
from mutualformer_sod.models import vit
from mutualformer_sod.models.drop_path import DEPTH_STREAM, RGB_STREAM, Draws, branch_draws

Notes = dict[str, Tensor]


@dataclass(frozen=True)
class BlockCall:
    """Information about one block in one forward pass, for a fusion method.

    Attributes:
        layer: number of the block, from 0.
        position: (1, N, C) float, detached; None without an absolute position embedding.
        keys: (B,) int64, one per image, for random choices in training; None to draw from torch's
            generator.
        notes: tensors that the method stores for later points of the block and ``Fusion.report``.
    """

    layer: int
    position: Tensor | None = None
    keys: Tensor | None = None
    notes: Notes = field(default_factory=dict)


# (call, rgb, depth) -> (rgb, depth), patch tokens (B, N, C) float each
Hook = Callable[[BlockCall, Tensor, Tensor], tuple[Tensor, Tensor]]


class Method(Protocol):
    """A fusion method inside the encoder.

    Attributes:
        hooks: functions that replace tokens, by the name of a point in a block.
        joint_attention: whether the attention of every block processes the tokens of both
            modalities as one sequence.
    """

    hooks: Mapping[str, Hook]
    joint_attention: bool


class JointEncoder:
    """Two ViTs that share all weights except those of the normalisation layers.

    Args:
        rgb_body, depth_body: timm models of the two streams.
        fusion: name of the fusion method, for error messages.

    Attributes:
        dim, depth: width C of the tokens, and number of blocks.
        has_position: whether the backbone has an absolute position embedding.

    Raises:
        InputError: the backbone does not consist of the blocks of a plain ViT.
    """

    def __init__(self, rgb_body: nn.Module, depth_body: nn.Module, fusion: str) -> None:
        blocks = getattr(rgb_body, "blocks", ())
        is_plain = all(type(block) in vit.BLOCKS for block in blocks)
        if not (isinstance(rgb_body, vit.VITS) and is_plain):
            raise InputError(
                f"fusion={fusion} does not fit this backbone: the method needs the blocks of a "
                "plain ViT. Fix: pass a ViT or DeiT of timm, or a fusion of features "
                "(mutualformer, cross_attention, sum)."
            )
        self.fusion = fusion
        self.bodies = rgb_body, depth_body
        self.dim, self.depth = rgb_body.num_features, len(blocks)
        self.prefix = rgb_body.num_prefix_tokens
        self.has_position = rgb_body.pos_embed is not None

    def norms(self, point: str) -> list[tuple[nn.Module, nn.Module]]:
        """Return the rgb and depth norm of every block for the point "norm" or "mlp_norm"."""
        name = {"norm": "norm1", "mlp_norm": "norm2"}[point]
        pairs = zip(*(body.blocks for body in self.bodies), strict=True)
        return [(getattr(rgb, name), getattr(depth, name)) for rgb, depth in pairs]

    def check(self, method: Method) -> None:
        """Raise InputError if a fusion method does not work with this backbone's attention."""
        body = self.bodies[0]
        attentions = nn.ModuleList(block.attn for block in body.blocks)
        normed = any(isinstance(module, vit.NORMS) for module in attentions.modules())
        if method.joint_attention and (normed or getattr(body, "rope", None) is not None):
            raise InputError(
                f"fusion={self.fusion} does not fit this backbone: its attention has rotary "
                "position embeddings or norms, which a joint sequence cannot have. "
                "Fix: pass a plain ViT or DeiT."
            )
        if "heads" in method.hooks and any(type(a) not in vit.ATTENTIONS for a in attentions):
            raise InputError(
                f"fusion={self.fusion} does not fit this backbone: the type of its "
                "attention is not supported. Fix: pass a plain ViT or DeiT."
            )

    def __call__(
        self,
        rgb: Tensor,
        depth: Tensor,
        indices: Sequence[int],
        method: Method,
        rgb_keys: Tensor | None = None,
        depth_keys: Tensor | None = None,
    ) -> tuple[list[Tensor], list[Tensor], list[Notes]]:
        """Encode both modalities, as `TwoStreamEncoder.forward` documents.

        ``indices`` are the numbers of the blocks whose tokens are features, from 0.
        """
        rgb_body, depth_body = self.bodies
        embeddings = vit.embed(rgb_body, rgb), vit.embed(depth_body, depth)
        rotary, grid = embeddings[0].rotary, embeddings[0].grid
        position = self.position(grid) if self.has_position else None
        rgb, depth = (embedding.tokens for embedding in embeddings)
        features = [list(embedding.fine_maps) for embedding in embeddings]
        rgb_draws = branch_draws(rgb_keys, RGB_STREAM, 2 * self.depth)
        depth_draws = branch_draws(depth_keys, DEPTH_STREAM, 2 * self.depth)
        notes, run = [], self.run_block
        if rgb_body.training and rgb_body.grad_checkpointing:
            run = partial(checkpoint, self.run_block, use_reentrant=False)
        for layer in range(self.depth):
            own = slice(2 * layer, 2 * layer + 2)
            draws = rgb_draws[own], depth_draws[own]
            rgb, depth, noted = run(
                layer, rgb, depth, method, position, rgb_keys, rotary[layer], draws
            )
            notes.append(noted)
            if layer in indices:
                features[0].append(vit.feature_map(rgb_body, rgb, grid))
                features[1].append(vit.feature_map(depth_body, depth, grid))
        return *features, notes

    def run_block(
        self,
        layer: int,
        rgb: Tensor,
        depth: Tensor,
        method: Method,
        position: Tensor | None = None,
        keys: Tensor | None = None,
        rotary: Tensor | None = None,
        draws: tuple[Draws, Draws] = ((None, None), (None, None)),
    ) -> tuple[Tensor, Tensor, Notes]:
        """Run one block of both streams; return their (B, P + N, C) tokens and the method's notes.

        ``BlockCall`` describes ``layer``, ``position`` and ``keys``; ``vit.run_block`` describes
        ``rotary`` and the draws of a stream.
        """
        call = BlockCall(layer, position, keys)
        rgb_block, depth_block = (body.blocks[layer] for body in self.bodies)

        def at(point: str, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
            """Run the hook of a point, which replaces the patches of (B, P + N, C) sequences."""
            if (hook := method.hooks.get(point)) is None:
                return rgb, depth
            patches = hook(call, rgb[:, self.prefix :], depth[:, self.prefix :])
            rgb_patches, depth_patches = (part.to(rgb.dtype) for part in patches)
            if not self.prefix:
                return rgb_patches, depth_patches
            return (
                torch.cat((rgb[:, : self.prefix], rgb_patches), dim=1),
                torch.cat((depth[:, : self.prefix], depth_patches), dim=1),
            )

        rgb, depth = at("input", rgb, depth)
        normed = at("norm", rgb_block.norm1(rgb), depth_block.norm1(depth))
        if method.joint_attention:
            attended = vit.attend(rgb_block, torch.cat(normed, dim=1), rotary).chunk(2, dim=1)
        elif "heads" in method.hooks:
            heads = at(
                "heads",
                vit.attention_heads(rgb_block, normed[0], rotary),
                vit.attention_heads(depth_block, normed[1], rotary),
            )
            attended = rgb_block.attn.proj(heads[0]), depth_block.attn.proj(heads[1])
        else:
            attended = (
                vit.attend(rgb_block, normed[0], rotary),
                vit.attend(depth_block, normed[1], rotary),
            )
        attended = at("projection", *attended)
        rgb_draws, depth_draws = draws
        rgb = vit.add_branch(rgb_block, 1, rgb, attended[0], rgb_draws[0])
        depth = vit.add_branch(depth_block, 1, depth, attended[1], depth_draws[0])
        normed = at("mlp_norm", rgb_block.norm2(rgb), depth_block.norm2(depth))
        rgb = vit.add_branch(rgb_block, 2, rgb, rgb_block.mlp(normed[0]), rgb_draws[1])
        depth = vit.add_branch(depth_block, 2, depth, depth_block.mlp(normed[1]), depth_draws[1])
        return rgb, depth, call.notes

    def position(self, grid: tuple[int, int]) -> Tensor:
        """Return the (1, N, C) position embedding of an (h, w) grid of patches, detached."""
        body = self.bodies[0]
        prefix = 0 if body.no_embed_class else self.prefix
        embedding = resample_abs_pos_embed(
            body.pos_embed,
            new_size=grid,
            old_size=body.patch_embed.grid_size,
            num_prefix_tokens=prefix,
        )
        return embedding[:, prefix:].detach()
