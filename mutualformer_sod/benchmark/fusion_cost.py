"""MACs and seconds that each fusion adds to one block of a two-stream ViT."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor

from mutualformer_sod.benchmark.attention import released_attention
from mutualformer_sod.benchmark.speed import make_counter
from mutualformer_sod.benchmark.timing import in_turn
from mutualformer_sod.configs.fusion import (
    combine,
    fusion_methods,
    make_fusion_config,
    refuse_unused,
    restrict_to_method,
)
from mutualformer_sod.configs.model import make_config, option_owners
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.affinity import cross_diffusion_attention
from mutualformer_sod.models.block import MutualFormerBlock
from mutualformer_sod.models.device import optimise_for_cpu
from mutualformer_sod.models.fusion.mutualformer import MutualFormerFusion
from mutualformer_sod.models.fusion.streams import build_fusion
from mutualformer_sod.models.joint_encoder import JointEncoder

HEAD_DIM = 64  # width of each head, as in DeiT; it does not change the MACs
Call = Callable[[], Any]


@dataclass(frozen=True)
class Layer:
    """A measured layer. Its cost is the cost of ``run`` minus the cost of ``without``."""

    name: str
    run: Call
    without: Call | None = None


def check_fusions(names: list[str]) -> list[str]:
    """Return the named methods without duplicates; "all" names every method.

    Raises:
        InputError: a name is unknown.
    """
    methods = list(fusion_methods())
    if unknown := [name for name in names if name not in (*methods, "all")]:
        raise InputError(
            f"`fusions` {unknown[0]}: unknown. Fix: pass all, or some of {', '.join(methods)}."
        )
    return methods if "all" in names else list(dict.fromkeys(names))


def network_overrides(fusion: str, preset: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a network with a shared encoder.

    Raises:
        InputError: an option is illegal.
    """
    overrides = combine({"share": True} | fields, {"fusion": fusion})
    if not make_config(preset, **overrides).encoder.share:
        raise InputError(
            "`fields` share=false is not usable: fusions are compared on a shared encoder. "
            "Fix: leave share out."
        )
    return overrides


def layer_costs(
    fusions: Sequence[str],
    dim: int,
    tokens: int,
    rounds: int,
    fields: dict[str, Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict[str, Any]]:
    """Measure one layer of each method and one block of a two-stream ViT, for one image on a CPU.

    Each round times all layers in turn. ``models.device`` prepares the methods for inference.

    Args:
        dim: width C of the streams and of the methods, a multiple of 64.
        tokens: number N of tokens of each modality.
        rounds: number of timed runs, of which the fastest counts; 0 to count only MACs.
        fields: options of the fusions except ``fusion`` and ``dim``.
        clock: function that returns seconds, for example a value of ``timing.CLOCKS``.

    Raises:
        InputError: an option is illegal or does not belong to a layer.

    Returns:
        One dictionary per layer, the two-stream block first: ``name``; ``macs`` and ``seconds``
        (None without rounds) of the method's own work; ``macs_ratio`` and ``seconds_ratio`` to
        the block. A difference of two small times can be negative.
    """
    fields, owners = fields or {}, option_owners()
    for name in fields:
        if owners.get(name) != "fusion" or name in ("fusion", "dim"):
            raise InputError(
                f"`fields` {name} is not an option of a single layer (`dim` sets the width). "
                f"Fix: leave {name} out, or pass `preset` for complete networks."
            )
    refuse_unused(fields, [{"fusion": fusion} for fusion in fusions])
    layers = _make_layers(fusions, dim, tokens, fields)
    with torch.no_grad():
        macs = [_count(layer.run) - _count(layer.without) for layer in layers]
    with torch.inference_mode():
        seconds = _time_layers(layers, rounds, clock) if rounds else [None] * len(layers)
    return [
        {
            "name": layer.name,
            "macs": own_macs,
            "macs_ratio": own_macs / macs[0],
            "seconds": own_seconds,
            "seconds_ratio": None if own_seconds is None else own_seconds / seconds[0],
        }
        for layer, own_macs, own_seconds in zip(layers, macs, seconds, strict=True)
    ]


def _make_layers(
    fusions: Sequence[str], dim: int, tokens: int, fields: dict[str, Any]
) -> list[Layer]:
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(2, tokens, dim, generator=generator)  # rgb, depth
    plain_block = partial(_OneBlock(dim).block, both)
    layers = [Layer("two-stream ViT block", plain_block)]
    for name in fusions:
        encoder = _OneBlock(dim)
        config = make_fusion_config(**restrict_to_method({"fusion": name, "dim": dim} | fields))
        fusion = optimise_for_cpu(build_fusion(config, encoder)).eval()
        if config.method.in_encoder:
            run_block = partial(encoder.joint.run_block, 0, *both.chunk(2), fusion)
            layers.append(Layer(name, run_block, plain_block))
        elif isinstance(fusion, MutualFormerFusion):
            layers += _mutualformer_layers(fusion.blocks[0][0], both)
        else:
            layers.append(Layer(name, partial(fusion.mix, 0, *both.chunk(2))))
    return layers


def _mutualformer_layers(block: MutualFormerBlock, both: Tensor) -> list[Layer]:
    """Return layers for the complete block, and for cross-diffusion minus self-attention."""
    joint = torch.cat(both.chunk(2), dim=-1)
    whole = Layer("mutualformer: whole block", partial(block, joint, both[:1]))
    if block.cross != "diffusion":
        return [whole]
    split = both.unflatten(2, (block.num_heads, -1)).transpose(1, 2)
    heads = [(stream,) * 3 for stream in split.contiguous().chunk(2)]  # as q, k and v

    def own() -> list[Tensor]:
        return [F.scaled_dot_product_attention(*stream) for stream in heads]

    diffused = partial(cross_diffusion_attention, *heads, block.diffusion, block.attention)
    released = partial(released_attention, *heads)
    return [
        Layer("mutualformer: the same as released", released, own),
        Layer("mutualformer: cross-diffusion", diffused, own),
        whole,
    ]


class _OneBlock:
    """A two-stream encoder of one block, with the interface that fusions use."""

    def __init__(self, dim: int) -> None:
        self.streams = [
            VisionTransformer(
                embed_dim=dim,
                depth=1,
                num_heads=dim // HEAD_DIM,
                class_token=False,
                global_pool="avg",
                dynamic_img_size=True,
            ).eval()
            for _ in range(2)
        ]
        self.block: Block = self.streams[0].blocks[0]
        self.channels, self.strides = [dim], [16]

    def run_jointly(self, fusion: str) -> JointEncoder:
        """Return a joint encoder of both streams, as ``TwoStreamEncoder.run_jointly`` does."""
        self.joint = JointEncoder(*self.streams, fusion)
        return self.joint


def _count(call: Call | None) -> int:
    """Count the multiply-accumulates of the matrix products of a call; return 0 for None."""
    if call is None:
        return 0
    with make_counter() as counter:
        call()
    return counter.get_total_flops() // 2


def _time_layers(layers: list[Layer], rounds: int, clock: Callable[[], float]) -> list[float]:
    """Return, for each layer, the fastest seconds of ``run`` minus those of ``without``."""
    # The subtracted part is timed again for every layer, because times drift on a busy machine.
    calls = [call for layer in layers for call in (layer.without, layer.run) if call]
    fastest = map(min, in_turn(calls, rounds, clock=clock))
    return [(-next(fastest) if layer.without else 0.0) + next(fastest) for layer in layers]
