"""The extra metrics of one pair as pysodmetrics 1.6.2 computes them, by our names of scores.

`python tests/golden/extra_reference.py` writes extra_pairs.json. Its environment is that of
make_synthetic_golden.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import py_sod_metrics as reference
from synthetic_pairs import make_pairs

TARGET = Path(__file__).with_name("extra_pairs.json")

HANDLERS = {
    "precision": reference.PrecisionHandler,
    "recall": reference.RecallHandler,
    "f": reference.FmeasureHandler,
    "iou": reference.IOUHandler,
    "dice": reference.DICEHandler,
    "specificity": reference.SpecificityHandler,
    "fpr": reference.FPRHandler,
    "accuracy": reference.OverallAccuracyHandler,
    "kappa": reference.KappaHandler,
    "ber": reference.BERHandler,
}
PLAIN_BINARY = ("iou", "dice", "ber", "specificity", "fpr", "accuracy", "kappa")
SIZE_INVARIANT = ("f", "iou")
# Of the synthetic pairs: plain, soft, empty, full, one pixel, odd sizes, at the borders, resized.
CHOSEN = (
    *("plain_0", "narrow_range", "two_levels", "inverted", "disc_black", "disc_white", "disc_grey"),
    *("empty_noise", "empty_grey", "full_noise", "full_white", "pixel_noise", "pixel_black"),
    *("last_corner_0", "last_corner_6", "first_corner_6", "scattered", "lattice", "size_37x53"),
    *("size_1x60", "size_60x1", "size_2x2", "size_3x5", "row_of_60", "resized_down", "resized_up"),
    *("threshold_tie_2", "threshold_tie_4"),
)
FAILURES = (AssertionError, np.linalg.LinAlgError, OverflowError, ValueError)


def _handlers(names: tuple[str, ...] | None = None, **options: bool) -> dict:
    settings = {"with_dynamic": True, "with_adaptive": True, "with_binary": True} | options
    return {n: h(**settings) for n, h in HANDLERS.items() if names is None or n in names}


def pooled(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Return the rates of the counts of all pairs together."""
    options = {"with_dynamic": False, "with_adaptive": False, "sample_based": False}
    rates = reference.FmeasureV2(_handlers(**options))
    for pred, gt in pairs:
        rates.step(pred, gt)
    return {f"pooled_{n}": float(v["binary"]) for n, v in rates.get_results().items()}


def camouflage(pred: np.ndarray, gt: np.ndarray, rgb: np.ndarray) -> float:
    """Return the camouflage context-measure of a pair and its colour image."""
    measure = reference.CamouflageContextMeasure()
    measure.step(pred, gt, img=rgb)
    return float(measure.get_results()["ccm"])


def classes(slow: bool = True) -> dict:
    """Return new objects of the classes with extra metrics; MSIoU's curve takes seconds."""
    every = {"with_dynamic": slow, "with_adaptive": True, "with_binary": True}
    return {
        "rates": reference.FmeasureV2(_handlers()),
        "si": reference.SizeInvarianceFmeasureV2(_handlers(SIZE_INVARIANT)),
        "si_mae": reference.SizeInvarianceMAE(),
        "hce": reference.HumanCorrectionEffortMeasure(),
        "msiou": reference.MSIoU(**every),
        "context": reference.ContextMeasure(),
    }


def extra_scores(
    pred: np.ndarray, gt: np.ndarray, normalize: bool = True, slow: bool = True
) -> dict[str, float]:
    """Return every extra score of a pair that the reference has. A failing class has no score."""
    if pred.shape != gt.shape:
        pred = cv2.resize(pred, gt.shape[::-1], interpolation=cv2.INTER_LINEAR)
    if not normalize:
        pred, gt = pred / 255, gt > 128
    results = {}
    for name, measure in classes(slow).items():
        try:
            with np.errstate(all="ignore"):
                measure.step(pred, gt, normalize=normalize)
                results[name] = measure.get_results()
        except FAILURES:
            continue
    scores = {}
    for name, found in results["rates"].items():
        scores[name if name in PLAIN_BINARY else f"binary_{name}"] = found["binary"]
        scores[f"adaptive_{name}"] = found["adaptive"]
        scores[f"max_{name}"] = found["dynamic"].max()
        scores[f"mean_{name}"] = found["dynamic"].mean()
    for name, found in results.get("si", {}).items():
        curve = np.mean(found["dynamic"][0], axis=0)  # the objects of the image
        scores |= {f"si_{name}": found["binary"], f"adaptive_si_{name}": found["adaptive"]}
        scores |= {f"max_si_{name}": curve.max(), f"mean_si_{name}": curve.mean()}
    if "msiou" in results:
        found = results["msiou"]
        scores |= {"msiou": found["binary"], "adaptive_msiou": found["adaptive"]}
        if slow:
            scores |= {"max_msiou": found["dynamic"].max(), "mean_msiou": found["dynamic"].mean()}
    for name, key in (("si_mae", "si_mae"), ("hce", "hce"), ("context", "cm")):
        if name in results:
            scores[name] = results[name][key]
    return {name: float(value) for name, value in scores.items() if np.isfinite(value)}


def main() -> None:
    pairs = make_pairs()
    golden = {name: extra_scores(*pairs[name]) for name in CHOSEN}
    TARGET.write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{len(golden)} pairs -> {TARGET}")


if __name__ == "__main__":
    main()
