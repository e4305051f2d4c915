"""Configuration of the fusion: which method, and its switches (../shared spec: fusion.md)."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mutualformer_sod.configs.checks import check, check_types
from mutualformer_sod.errors import InputError

FORMS = ("released", "paper")
AFFINITIES = ("sum", "mean")
INITIALS = ("identity", "affinity")
ATTENTIONS = ("auto", "dense", "tiled")
# Methods that fuse what the encoder gives, and methods that act inside its blocks.
AT_TAPS = ("mutualformer", "cross_attention", "cross_attention_cda", "sum")
IN_ENCODER = ("concat", "token_fusion", "gemini_fusion", "channel_exchange")
FUSIONS = AT_TAPS + IN_ENCODER
HEADS = ("auto", "merge", "ensemble")
CROSSINGS = ("diffusion", "attention", "none")
SCORED = ("output", "input")
EXCHANGES = ("scores", "random", "full")

# Which fields of FusionConfig each method uses, beside those that all of them use.
_ALL_USE = ("fusion", "head", "dim", "attention_stride", "fine_width")
_BLOCKS = ("num_heads", "blocks_per_tap", "qkv_bias")
_DIFFUSION = ("form", "epsilon", "steps", "affinity")
_EXCHANGE = ("theta", "sparsity")
USED_FIELDS: dict[str, tuple[str, ...]] = {
    "mutualformer": (
        *(*_BLOCKS, "mlp_ratio", "drop_path", "cross", "fused_attention"),
        *(*_DIFFUSION, "initial", "attention"),
    ),
    "cross_attention": _BLOCKS,
    "cross_attention_cda": (*_BLOCKS, *_DIFFUSION),
    "sum": (),
    "concat": (),
    "token_fusion": (
        *(*_EXCHANGE, "score_on", "per_block", "realign"),
        *("exchange", "exchange_ratio"),
    ),
    "gemini_fusion": ("noise", "phi"),
    "channel_exchange": _EXCHANGE,
}
# Fields that are used only while another field has this value.
_NEEDS = {
    **dict.fromkeys((*_DIFFUSION, "initial", "attention"), ("cross", "diffusion")),
    "theta": ("exchange", "scores"),
    "exchange_ratio": ("exchange", "random"),
}

_CHOICES = {
    "fusion": FUSIONS,
    "head": HEADS,
    "initial": INITIALS,
    "attention": ATTENTIONS,
    "cross": CROSSINGS,
    "score_on": SCORED,
    "exchange": EXCHANGES,
}


@dataclass(frozen=True)
class FusionConfig:
    """How the streams meet; ``USED_FIELDS`` has the fields that each method uses."""

    fusion: str = "mutualformer"
    # "merge" decodes one fused map, "ensemble" each stream; "auto" is what the method's paper has.
    head: str = "auto"
    dim: int = 256  # width of the projected tokens and of the fused stream
    num_heads: int = 8
    blocks_per_tap: int = 1
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_path: float = 0.0
    # MutualFormer (IJCV 2024, Fig. 2)
    form: str = "released"
    epsilon: float = 0.6
    steps: int = 1
    affinity: str = "sum"
    initial: str = "identity"
    attention: str = "auto"  # affinities whole ("dense") or in row tiles ("tiled"): same results
    cross: str = "diffusion"  # or plain cross-"attention" in its place, or "none"
    fused_attention: bool = True  # self-attention over the fused stream
    # TokenFusion (CVPR 2022) and channel exchange (NeurIPS 2020)
    theta: float = 0.02  # tokens scored, or channels scaled, below it are exchanged
    sparsity: float = 1.0  # weight of the mean score, or mean scale, in the loss
    score_on: str = "output"  # as released: of the attention; "input": as in the paper
    per_block: bool = False  # a score net for every block and not for every three
    realign: bool = False  # the paper's residual positional alignment
    exchange: str = "scores"  # or "random" tokens, or "full": the controls
    exchange_ratio: float = 0.4  # share of the tokens that "random" exchanges
    # GeminiFusion (ICML 2024)
    noise: bool = True  # learned vectors added to a token's own key and value
    phi: bool = True  # the relation discriminator
    # all methods
    attention_stride: int = 32  # hierarchical encoders: levels this coarse get attention
    fine_width: int = 64  # width of the finer levels, fused by concat + conv

    def __post_init__(self) -> None:
        check_types(self)
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            check(value in choices, name, value, f"one of {', '.join(choices)}")
        check(self.num_heads > 0, "num_heads", self.num_heads, "1 or more")
        heads = self.num_heads if "num_heads" in USED_FIELDS[self.fusion] else 1
        check(
            self.dim > 0 and self.dim % heads == 0,
            "dim",
            self.dim,
            "1 or more" if heads == 1 else f"a positive multiple of num_heads={heads}",
        )
        check(self.blocks_per_tap >= 1, "blocks_per_tap", self.blocks_per_tap, "1 or more")
        check(
            int(self.dim * self.mlp_ratio) >= 1,
            "mlp_ratio",
            self.mlp_ratio,
            "a positive number that makes the MLP at least one channel wide",
        )
        check(0 <= self.drop_path < 1, "drop_path", self.drop_path, "a number in [0, 1)")
        check(self.attention_stride >= 1, "attention_stride", self.attention_stride, "1 or more")
        check(
            self.fine_width >= 8 and self.fine_width % 8 == 0,
            "fine_width",
            self.fine_width,
            "a positive multiple of 8",
        )
        check_cross_diffusion(self.form, self.epsilon, self.steps, self.affinity)
        merges = self.fusion != "mutualformer" or self.head != "ensemble"
        check(merges, "head", self.head, "merge: mutualformer has one fused stream")
        check(self.theta >= 0, "theta", self.theta, "0 or more")
        check(self.sparsity >= 0, "sparsity", self.sparsity, "0 or more")
        check(0 <= self.exchange_ratio <= 1, "exchange_ratio", self.exchange_ratio, "0 to 1")

    @property
    def in_encoder(self) -> bool:
        """Whether the method acts inside the encoder's blocks."""
        return self.fusion in IN_ENCODER

    @property
    def is_ensemble(self) -> bool:
        """Whether each stream is decoded, and the logits are averaged."""
        if self.head == "auto":
            return self.fusion in ("token_fusion", "gemini_fusion", "channel_exchange")
        return self.head == "ensemble"

    def why_unused(self, name: str) -> str | None:
        """Why a field has no effect in this configuration; None if it has, or is no field of it."""
        users = [fusion for fusion, fields in USED_FIELDS.items() if name in fields]
        if users and self.fusion not in users:
            return f"fusion={self.fusion} does not use it, {', '.join(users)} would"
        other, value = _NEEDS.get(name, ("fusion", self.fusion))
        if getattr(self, other) != value:
            return f"it needs {other}={value}"
        return None


def combine(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Options of one of several networks: of the common ones those that it uses, then its own.

    Args:
        common, own: flat fields of a model; ``own`` has the fusion.
    """
    fields = {**common, **own}
    switches = {name: fields[name] for name in ("fusion", "cross", "exchange") if name in fields}
    config = FusionConfig(**switches)
    return {name: common[name] for name in common if not config.why_unused(name)} | dict(own)


def refuse_unused(common: Mapping[str, Any], networks: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a common option that none of the networks uses.

    Raises:
        InputError: naming the option.
    """
    used = {name for own in networks for name in combine(common, own)}
    for name in common:
        if name not in used:
            raise InputError(
                f"--set {name} has no effect: none of the fusions compared uses it. "
                f"Fix: leave {name} out."
            )


def check_cross_diffusion(form: str, epsilon: float, steps: int, affinity: str) -> None:
    """Raise InputError (a ValueError) unless these are legal cross-diffusion settings."""
    check(form in FORMS, "form", form, f"one of {', '.join(FORMS)}")
    check(affinity in AFFINITIES, "affinity", affinity, f"one of {', '.join(AFFINITIES)}")
    check(
        isinstance(epsilon, numbers.Real) and 0 < epsilon < 1,
        "epsilon",
        epsilon,
        "a number strictly between 0 and 1",
    )
    check(
        isinstance(steps, numbers.Integral) and not isinstance(steps, bool) and steps >= 1,
        "steps",
        steps,
        "a whole number, 1 or more",
    )
