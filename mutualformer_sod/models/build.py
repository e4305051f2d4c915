"""Build a detector from a preset and options."""

from pathlib import Path
from typing import Any

from mutualformer_sod.configs.model import DEFAULT_PRESET, make_config
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.detector import SaliencyDetector


def build_model(
    preset: str = DEFAULT_PRESET, *, pretrained: bool | str | Path = False, **overrides: Any
) -> SaliencyDetector:
    """Build a saliency detector.

    Example:
        >>> model = build_model("small", pretrained=True, steps=2).eval()
        >>> logits = model(rgb, depth)  # (B, 3, H, W), (B, 1, H, W) in [0, 1] -> (B, 1, H, W)

    Args:
        preset: one of `list_presets()`.
        pretrained: weights of the backbones. True selects timm's ImageNet weights from the hub, a
            path selects a local file, "auto" selects the first available source
            (`models.pretrained.find_backbone_weights`), and False selects random weights.
        **overrides: options of the configuration by name, for example ``epsilon=0.5``,
            ``share=True``, ``backbone="pvt_v2_b2"``, ``image_size=256``.

    Returns:
        The detector in training mode. `SaliencyDetector.forward` documents inputs and outputs.

    Raises:
        InputError (a ValueError): a preset or option is unknown, a value is invalid, an option has
            no effect, or the weights are not available.
    """
    model = SaliencyDetector(make_config(preset, **overrides), pretrained)
    plain = model.encoder.rgb_stream.is_plain
    needs = {  # whether an option has an effect with this backbone, and otherwise the reason
        "feature_blocks": (plain, "this backbone is hierarchical and returns a map for each stage"),
        "stem": (plain or overrides.get("stem") == "patch", "this backbone has a stem of its own"),
        "fine_width": (not all(model.fusion.attended), "no map is finer than the attended maps"),
    }
    for name in overrides:
        used, reason = needs.get(name, (True, ""))
        if not used:
            raise InputError(f"{name} has no effect: {reason}. Fix: leave {name} out.")
    return model
