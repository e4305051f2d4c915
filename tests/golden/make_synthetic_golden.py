"""Compute the synthetic pairs with pysodmetrics and write synthetic_pairs.json.

Run once, in an environment of its own that is no part of this project:

    python3 -m venv /tmp/pysod
    /tmp/pysod/bin/pip install pysodmetrics==1.6.2 opencv-python-headless
    /tmp/pysod/bin/python tests/golden/make_synthetic_golden.py

Values that are not finite in the reference become null.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import py_sod_metrics as reference
from synthetic_pairs import make_pairs

TARGET = Path(__file__).with_name("synthetic_pairs.json")


def reference_scores(pred: np.ndarray, gt: np.ndarray, normalize: bool) -> dict[str, float | None]:
    """Return the reference's value of every metric of one pair; resize maps of another size."""
    if pred.shape != gt.shape:
        pred = cv2.resize(pred, gt.shape[::-1], interpolation=cv2.INTER_LINEAR)
    if not normalize:
        pred, gt = pred / 255, gt > 128
    binary = {"with_adaptive": False, "with_dynamic": False, "with_binary": True}
    adaptive = {"with_adaptive": True, "with_dynamic": False}
    handlers = {
        "iou": reference.IOUHandler(**binary),
        "dice": reference.DICEHandler(**binary),
        "ber": reference.BERHandler(**binary),
        "adaptive_precision": reference.PrecisionHandler(**adaptive),
        "adaptive_recall": reference.RecallHandler(**adaptive),
    }
    several = reference.FmeasureV2(handlers)
    mae, s, f = reference.MAE(), reference.Smeasure(), reference.Fmeasure()
    e, w = reference.Emeasure(), reference.WeightedFmeasure()
    for measure in (mae, s, f, e, w, several):
        measure.step(pred, gt, normalize=normalize)
    f_results, e_results = f.get_results(), e.get_results()["em"]
    scores = {
        "mae": mae.get_results()["mae"],
        "s_measure": s.get_results()["sm"],
        "weighted_f": w.get_results()["wfm"],
        "adaptive_f": f_results["fm"]["adp"],
        "max_f": f_results["fm"]["curve"].max(),
        "mean_f": f_results["fm"]["curve"].mean(),
        "adaptive_e": e_results["adp"],
        "max_e": e_results["curve"].max(),
        "mean_e": e_results["curve"].mean(),
        "mean_precision": f_results["pr"]["p"].mean(),
        "mean_recall": f_results["pr"]["r"].mean(),
    }
    for name, value in several.get_results().items():
        scores[name] = value.get("binary", value.get("adaptive"))
    return {n: float(v) if math.isfinite(v) else None for n, v in scores.items()}


def main() -> None:
    warnings.simplefilter("ignore")
    golden = {
        name: {
            "sha256": hashlib.sha256(pred.tobytes() + gt.tobytes()).hexdigest(),
            "normalize": reference_scores(pred, gt, True),
            "no_normalize": reference_scores(pred, gt, False),
        }
        for name, (pred, gt) in make_pairs().items()
    }
    made_with = {name: version(name) for name in ("pysodmetrics", "numpy", "scipy")}
    made_with["opencv"] = cv2.__version__
    TARGET.write_text(json.dumps({"made_with": made_with, "pairs": golden}, indent=1) + "\n")
    print(f"{len(golden)} pairs -> {TARGET}")


if __name__ == "__main__":
    main()
