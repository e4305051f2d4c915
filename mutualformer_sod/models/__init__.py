"""The network and its parts."""

from mutualformer_sod.configs.model import list_presets
from mutualformer_sod.models.block import MutualFormerBlock, load_released_block
from mutualformer_sod.models.build import build_model
from mutualformer_sod.models.detector import DetectorOutput, SaliencyDetector

__all__ = [
    "DetectorOutput",
    "MutualFormerBlock",
    "SaliencyDetector",
    "build_model",
    "list_presets",
    "load_released_block",
]
