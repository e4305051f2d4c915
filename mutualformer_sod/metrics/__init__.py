"""Metrics of salient object detection, without torch.

`evaluate` scores folders of maps, and `Evaluator` scores arrays. `registry` lists the metrics.
"""

from mutualformer_sod.metrics.evaluation import GtSet, evaluate
from mutualformer_sod.metrics.evaluator import Evaluator, ImageScores, score_image
from mutualformer_sod.metrics.ground_truth import GroundTruth
from mutualformer_sod.metrics.registry import Metric, register
from mutualformer_sod.metrics.results import Results

__all__ = [
    "Evaluator",
    "GroundTruth",
    "GtSet",
    "ImageScores",
    "Metric",
    "Results",
    "evaluate",
    "register",
    "score_image",
]
