"""Addition of both streams: the control of the comparison."""

from mutualformer_sod.configs.fusion import register_fusion
from mutualformer_sod.models.fusion.streams import Fusion


@register_fusion("sum", "addition")
class SumFusion(Fusion):
    """Fusion only by the head's addition (or average); ``mix`` keeps the streams separate."""
