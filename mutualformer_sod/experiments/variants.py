"""Variants of a comparison, which are fusions, their controls and a user's own variants.

Variants differ only by the options that they name. In all variants, the modalities share the
encoder, so that sharing is not confounded with fusion.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mutualformer_sod.configs.fusion import combine, fusion_methods, refuse_unused
from mutualformer_sod.configs.model import make_config, replace_options
from mutualformer_sod.configs.switches import parse_fields
from mutualformer_sod.errors import InputError

_NOT_FOR_USERS = {
    "fusion": "name it in `fusions`",
    "share": "leave share out; it is true for all variants",
    "image_size": "pass `size`",
}


@dataclass(frozen=True)
class Variant:
    """One row of the comparison."""

    name: str  # as passed by the user and shown in tables
    # Options of the model, with ``fusion``; ``share`` is true for all variants.
    fields: dict[str, Any] = field(default_factory=dict)
    modality: str = "both"  # of training and testing: "both", "rgb" or "depth"
    meaning: str = ""  # short description for the table
    matches: str | None = None  # variant whose exchange ratio for the same seed is used

    @property
    def folder(self) -> str:
        """Return the name of the folder of the variant."""
        return re.sub(r"[^\w.=,+-]", "_", self.name)

    def overrides(self, common: dict[str, Any]) -> dict[str, Any]:
        """Return the common options that affect this variant, combined with its own options."""
        return combine(common, {"share": True} | self.fields)


# Controls of mutualformer by the end of their names, with options and description.
_ABLATIONS = {
    "no_cda": ("cross=none", "self-attention in place of CDA"),
    "cross_attention": ("cross=attention", "cross-attention in place of CDA"),
    "no_fused_attention": ("fused_attention=false", "without self-attention over the fused stream"),
    "paper": ("form=paper", "the paper's recurrence"),
    "epsilon_0.3": ("epsilon=0.3", "epsilon 0.3"),
    "epsilon_0.9": ("epsilon=0.9", "epsilon 0.9"),
    "steps_2": ("steps=2", "2 diffusion steps"),
    "steps_3": ("steps=3", "3 diffusion steps"),
    "mean_affinity": ("affinity=mean", "mean of the affinities in place of their sum"),
    "initial_affinity": ("initial=affinity", "diffusion starts from the affinities"),
    "two_blocks": ("blocks_per_level=2", "two blocks per level"),
}
_CONTROLS = {
    "rgb_only": ("sum:modality=rgb", "depth hidden"),
    "depth_only": ("sum:modality=depth", "colour hidden"),
    **{f"mutualformer_{n}": (f"mutualformer:{o}", text) for n, (o, text) in _ABLATIONS.items()},
    "cross_attention_ensemble": ("cross_attention:head=ensemble", "with the other head"),
    "concat_ensemble": ("concat:head=ensemble", "with the other head"),
    "random_exchange": (
        "token_fusion:exchange=random,exchange_ratio=0.4",  # the authors aim at 0.3 to 0.5
        "random tokens exchanged, at the last ratio of token_fusion with the same seed "
        "(40% without such a run)",
    ),
    "full_exchange": ("token_fusion:exchange=full", "all tokens exchanged"),
    "gemini_no_noise": ("gemini_fusion:noise=false", "without the learned noise"),
    "gemini_no_phi": ("gemini_fusion:phi=false", "without the relation phi"),
}
_MATCHES = {"random_exchange": "token_fusion"}


def parse_variants(names: Sequence[str]) -> list[Variant]:
    """Parse ``--fusions``: names, ``all``, ``controls``, or ``FUSION:FIELD=VALUE,FIELD=VALUE``.

    Return each variant once, in the order of ``names``; a variant that uses the exchange ratio of
    another variant is sorted after the other variants.

    Raises:
        InputError: a fusion or control is unknown, or two variants have the same folder.
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
    """Raise InputError for a variant without a legal network; the message names the option."""
    for name, remedy in _NOT_FOR_USERS.items():
        if name in common:
            raise InputError(f"`fields` {name}: fixed in a comparison. Fix: {remedy}.")
    # ``sum`` accepts every head; the variants' own heads are checked below.
    replace_options(preset, common | {"fusion": "sum"})
    refuse_unused(common, [variant.fields for variant in variants])
    for variant in variants:
        try:
            make_config(preset, **variant.overrides(common))
        except InputError as error:
            raise InputError(f"`fusions` {variant.name}: {error}") from None


def _variants_of(name: str) -> list[Variant]:
    methods = fusion_methods()
    fusions = {n: Variant(n, {"fusion": n}, meaning=m.description) for n, m in methods.items()}
    groups, single = {"all": fusions, "controls": CONTROLS}, fusions | CONTROLS
    if name in groups:
        return list(groups[name].values())
    if name in single:
        return [single[name]]
    if name.partition(":")[0] in methods:
        return [_own_variant(name)]
    known = ", ".join((*groups, *single))
    raise InputError(
        f"`fusions` {name}: unknown. Fix: pass {known}, or FUSION:FIELD=VALUE,FIELD=VALUE."
    )


def _own_variant(name: str) -> Variant:
    fusion, _, text = name.partition(":")
    # A comma in brackets belongs to a list.
    assignments = re.split(r",(?![^\[]*\])", text)
    try:
        fields = parse_fields(assignments)
    except InputError as error:
        raise InputError(f"`fusions` {name}: {error}".replace("--set ", "", 1)) from None
    modality = fields.pop("modality", "both")
    if modality not in ("both", "rgb", "depth"):
        raise InputError(
            f"`fusions` {name}: modality={modality!r} is unknown. Fix: pass rgb, depth or both."
        )
    for field_name, remedy in _NOT_FOR_USERS.items():
        if field_name in fields:
            raise InputError(f"`fusions` {name}: {field_name} cannot be set. Fix: {remedy}.")
    return Variant(name, {"fusion": fusion} | fields, modality, text.replace(",", ", "))


CONTROLS = {
    name: replace(_own_variant(text), name=name, meaning=meaning, matches=_MATCHES.get(name))
    for name, (text, meaning) in _CONTROLS.items()
}
