"""The network and its parts."""

from mutualformer_sod.models.block import MutualFormerBlock, load_released_block
from mutualformer_sod.models.detector import SaliencyDetector, build_model

__all__ = ["MutualFormerBlock", "SaliencyDetector", "build_model", "load_released_block"]
