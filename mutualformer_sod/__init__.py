"""MutualFormer for RGB-D salient object detection.

- `Predictor` loads weights and predicts saliency maps from arrays.
- `build_model` builds a network; `list_presets` lists the presets.
- `Evaluator` and `evaluate` compute the metrics.

Importing this package does not import torch; each name is imported on its first use.
"""

from importlib import import_module
from typing import Any

from mutualformer_sod.configs.model import list_presets

__version__ = "0.1.0"
__all__ = ["Evaluator", "Predictor", "__version__", "build_model", "evaluate", "list_presets"]

_LAZY = {
    "build_model": "mutualformer_sod.models",
    "Predictor": "mutualformer_sod.inference.predictor",
    "Evaluator": "mutualformer_sod.metrics",
    "evaluate": "mutualformer_sod.metrics",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
