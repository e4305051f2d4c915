"""Fusion by addition of both streams, the control of the comparison."""

from mutualformer_sod.configs.fusion import register_fusion
from mutualformer_sod.models.fusion.streams import Fusion


@register_fusion("sum", "addition")
class SumFusion(Fusion):
    """Fuse only by the addition or average of the head; ``mix`` does not change the streams."""
