"""Model building: sizes are decided here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mutualformer_sod.config import DEFAULT_PRESET, make_config
from mutualformer_sod.models.detector import SaliencyDetector


def build_model(
    preset: str = DEFAULT_PRESET, *, pretrained: bool | str | Path = False, **overrides: Any
) -> SaliencyDetector:
    """Build a saliency detector.

    Args:
        preset: a name of ``list_presets()``.
        pretrained: True for timm's ImageNet weights from the hub in both streams, a path for the
            same from a local file, False for random weights.
        **overrides: any field of the configuration by its flat name, for example ``epsilon=0.5``,
            ``share=True``, ``backbone="pvt_v2_b2"``, ``image_size=256``.

    Returns:
        The detector in training mode, as torch modules come.

    Raises:
        InputError (a ValueError): unknown preset or option, illegal value, weights out of reach.
    """
    return SaliencyDetector(make_config(preset, **overrides), pretrained)
