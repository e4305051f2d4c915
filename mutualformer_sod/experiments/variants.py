"""Variants of a comparison: the fusions, their controls and a user's own.

Variants differ by the options they list and by nothing else. In all of them the modalities share
the encoder, so that sharing is not confounded with fusion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mutualformer_sod.configs.assignments import parse_fields
from mutualformer_sod.configs.fusion import combine, fusion_methods, refuse_unused
from mutualformer_sod.configs.model import make_config, replace_options
from mutualformer_sod.errors import InputError

ALL, CONTROLS_NAME = "all", "controls"
DEFAULT_EXCHANGE_RATIO = 0.4  # without a run to match; TokenFusion's authors aim at 30 to 50 %
_SHARED = {"share": True}
_NOT_FOR_USERS = {
    "fusion": "name it in `fusions`",
    "share": "it is true for all",
    "image_size": "pass `size`",
}


@dataclass(frozen=True)
class Variant:
    """One row of the comparison.

    Attributes:
        name: as passed by the user and shown in tables.
        fields: options of the model, with ``fusion`` and ``share``.
        modality: of training and testing: "both", "rgb" or "depth".
        meaning: short description for the table.
        matches: variant from which the exchange ratio of the same seed is taken over.
    """

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    modality: str = "both"
    meaning: str = ""
    matches: str | None = None

    @property
    def folder(self) -> str:
        """Return the name of its folder."""
        return re.sub(r"[^\w.=,+-]", "_", self.name)

    def overrides(self, common: dict[str, Any]) -> dict[str, Any]:
        """Return the options of the model: the common ones that have an effect, then its own."""
        return combine(common, _SHARED | self.fields)


def _control(
    name: str,
    fusion: str,
    meaning: str,
    modality: str = "both",
    matches: str | None = None,
    **fields: Any,
) -> Variant:
    return Variant(name, {"fusion": fusion} | fields, modality, meaning, matches)


CONTROLS = {
    variant.name: variant
    for variant in (
        _control("rgb_only", "sum", "depth hidden", modality="rgb"),
        _control("depth_only", "sum", "colour hidden", modality="depth"),
        _control(
            "mutualformer_no_cda", "mutualformer", "self-attention in place of CDA", cross="none"
        ),
        _control(
            "mutualformer_cross_attention",
            "mutualformer",
            "cross-attention in place of CDA",
            cross="attention",
        ),
        _control(
            "mutualformer_no_fused_attention",
            "mutualformer",
            "without self-attention over the fused stream",
            fused_attention=False,
        ),
        _control("mutualformer_paper", "mutualformer", "the paper's recurrence", form="paper"),
        _control(
            "mutualformer_epsilon_0.3", "mutualformer", "epsilon 0.3 in place of 0.6", epsilon=0.3
        ),
        _control("mutualformer_steps_2", "mutualformer", "two diffusion steps", steps=2),
        _control(
            "mutualformer_mean_affinity",
            "mutualformer",
            "mean of the affinities in place of their sum",
            affinity="mean",
        ),
        _control(
            "mutualformer_initial_affinity",
            "mutualformer",
            "diffusion starts from the affinities",
            initial="affinity",
        ),
        _control("mutualformer_two_blocks", "mutualformer", "two blocks a tap", blocks_per_tap=2),
        _control(
            "cross_attention_ensemble", "cross_attention", "under the other head", head="ensemble"
        ),
        _control("concat_ensemble", "concat", "under the other head", head="ensemble"),
        _control(
            "random_exchange",
            "token_fusion",
            "random tokens exchanged, at the last ratio of token_fusion with the same seed "
            f"({DEFAULT_EXCHANGE_RATIO:.0%} without such a run)",
            matches="token_fusion",
            exchange="random",
            exchange_ratio=DEFAULT_EXCHANGE_RATIO,
        ),
        _control("full_exchange", "token_fusion", "all tokens exchanged", exchange="full"),
        _control("gemini_no_noise", "gemini_fusion", "without the learned noise", noise=False),
        _control("gemini_no_phi", "gemini_fusion", "without the relation phi", phi=False),
    )
}


def parse_variants(names: Sequence[str]) -> list[Variant]:
    """Parse the values of ``--fusions``.

    Args:
        names: fusions, controls, ``all``, ``controls``, or ``FUSION:FIELD=VALUE,FIELD=VALUE``.

    Returns:
        Each variant once, in the order given. A variant that takes over the ratio of another
        comes after it.

    Raises:
        InputError: an unknown fusion or control, or two variants with one folder.
    """
    found: dict[str, Variant] = {}
    for name in names:
        for variant in _variants_of(name):
            found.setdefault(variant.name, variant)
    folders: dict[str, str] = {}
    for variant in found.values():
        other = folders.setdefault(variant.folder, variant.name)
        if other != variant.name:
            raise InputError(
                f"`fusions` {other} {variant.name}: they share a folder. Fix: leave one out."
            )
    return sorted(found.values(), key=lambda variant: variant.matches in found)


def check_variants(variants: Sequence[Variant], preset: str, common: dict[str, Any]) -> None:
    """Refuse variants without a legal network.

    Raises:
        InputError: naming the variant and the option.
    """
    for name, remedy in _NOT_FOR_USERS.items():
        if name in common:
            raise InputError(f"`fields` {name}: fixed in a comparison. Fix: {remedy}.")
    # With a fusion that takes every head; the variants' own are checked below.
    replace_options(preset, common | {"fusion": "sum"})
    refuse_unused(common, [variant.fields for variant in variants])
    for variant in variants:
        try:
            make_config(preset, **variant.overrides(common))
        except InputError as error:
            raise InputError(f"`fusions` {variant.name}: {error}") from None


def _variants_of(name: str) -> list[Variant]:
    if name == ALL:
        return [_fusion(fusion) for fusion in fusion_methods()]
    if name == CONTROLS_NAME:
        return list(CONTROLS.values())
    if name in CONTROLS:
        return [CONTROLS[name]]
    fusion, colon, text = name.partition(":")
    if fusion not in fusion_methods():
        known = ", ".join((*fusion_methods(), *CONTROLS))
        raise InputError(
            f"`fusions` {name}: unknown. Fix: pass {ALL}, {CONTROLS_NAME}, {known}, or "
            "FUSION:FIELD=VALUE,FIELD=VALUE."
        )
    return [_own_variant(name, fusion, text)] if colon else [_fusion(fusion)]


def _fusion(name: str) -> Variant:
    return Variant(name, {"fusion": name}, meaning=fusion_methods()[name].description)


def _own_variant(name: str, fusion: str, text: str) -> Variant:
    # A comma in brackets belongs to a list.
    assignments = re.split(r",(?![^\[]*\])", text)
    try:
        fields = parse_fields(assignments)
    except InputError as error:
        raise InputError(f"`fusions` {name}: {error}".replace("--set ", "", 1)) from None
    modality = fields.pop("modality", "both")
    if modality not in ("both", "rgb", "depth"):
        raise InputError(
            f"`fusions` {name}: modality={modality!r} is unknown. Fix: pass both, rgb or depth."
        )
    for field_name, remedy in _NOT_FOR_USERS.items():
        if field_name in fields:
            raise InputError(f"`fusions` {name}: {field_name} cannot be set. Fix: {remedy}.")
    return Variant(name, {"fusion": fusion} | fields, modality, text.replace(",", ", "))
