"""The field's measures, without torch: `Evaluator` scores one method on one set."""

from mutualformer_sod.metrics.evaluator import Evaluator, ImageScores, score_image
from mutualformer_sod.metrics.ground_truth import GroundTruth

__all__ = ["Evaluator", "GroundTruth", "ImageScores", "score_image"]
