"""Time the measures, and pysodmetrics beside them where it is installed, on one core."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: both sides on one core
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from mutualformer_sod import cli
from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.evaluator import Evaluator, score_image, threshold_curves
from mutualformer_sod.metrics.folder import MapFolder
from mutualformer_sod.metrics.ground_truth import GroundTruth
from mutualformer_sod.metrics.joint_histogram import joint_histogram
from mutualformer_sod.metrics.mae import mae
from mutualformer_sod.metrics.s_measure import s_measure
from mutualformer_sod.metrics.scoring import Pairing, score_pairing, score_set, worker_pool
from mutualformer_sod.metrics.weighted_f import weighted_f

Pair = tuple[np.ndarray, np.ndarray]
# A network of today saturates to 0 away from objects; older ones leave texture everywhere.
NOISE = {"clean maps": 0, "maps with texture everywhere": 60}
REFERENCE_CLASSES = ("MAE", "Smeasure", "Fmeasure", "Emeasure", "WeightedFmeasure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="640x480", metavar="WxH", help="default: 640x480")
    parser.add_argument("--pairs", type=int, default=30, metavar="N", help="images (default: 30)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="the best of N counts")
    parser.add_argument("--workers", type=int, nargs="*", default=[2], metavar="N")
    args = parser.parse_args()
    try:
        width, height = (int(n) for n in args.size.split("x"))
    except ValueError:
        raise InputError(f"--size {args.size}: give it as WIDTHxHEIGHT, e.g. 640x480") from None
    if min(width, height) < 8 or args.pairs < 1 or args.rounds < 1:
        raise InputError("give at least 8x8 pixels, one pair and one round")
    cv2.setNumThreads(1)
    for kind, noise in NOISE.items():
        pairs = [make_pair(seed, height, width, noise) for seed in range(args.pairs)]
        print(f"\n{kind}: {args.pairs} pairs of {width}x{height}, ms an image, one core")
        total = time_measures(pairs, args.rounds)
        reference = time_reference(pairs, args.rounds)
        if reference is not None:
            show("  ratio, without reading", reference / total, 1)
        time_runs(pairs, args)


def make_pair(seed: int, height: int, width: int, noise: int) -> Pair:
    """A map and a ground truth as a network and an annotator would leave them.

    Args:
        seed: of the random numbers.
        height: in pixels.
        width: in pixels.
        noise: largest level of the texture that the network leaves on the background.
    """
    rng = np.random.default_rng(seed)
    gt = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        row, column = rng.uniform(0.2, 0.8, 2) * (height, width)
        axes = (int(rng.uniform(0.05, 0.25) * width), int(rng.uniform(0.05, 0.25) * height))
        cv2.ellipse(gt, (int(column), int(row)), axes, rng.uniform(0, 180), 0, 360, 255, -1)
    moved = np.roll(gt, rng.integers(-12, 12, 2), (0, 1))
    soft = cv2.GaussianBlur(moved, (0, 0), width / 160).astype(np.float64)
    texture = cv2.GaussianBlur(rng.random(gt.shape), (0, 0), 3)
    texture = noise * (texture - texture.min()) / np.ptp(texture)
    return np.clip(np.maximum(soft, texture), 0, 255).astype(np.uint8), gt


def best(rounds: int, run: Callable, inputs: list[tuple]) -> float:
    """Milliseconds an input: the mean over the inputs of each one's fastest of several rounds."""
    fastest = [float("inf")] * len(inputs)
    for _ in range(rounds):
        for i, items in enumerate(inputs):
            start = time.perf_counter()
            run(*items)
            fastest[i] = min(fastest[i], time.perf_counter() - start)
    return 1e3 * sum(fastest) / len(inputs)


def time_measures(pairs: list[Pair], rounds: int) -> float:
    """Print the cost of each part of the measures; return that of all of them together."""
    preds, masks = [p for p, _ in pairs], [gt > 128 for _, gt in pairs]
    truths = [GroundTruth(mask) for mask in masks]
    histograms = [joint_histogram(p, t) for p, t in zip(preds, truths, strict=True)]
    for p, h, t in zip(preds, histograms, truths, strict=True):
        weighted_f(p, h, t)  # finds all that is kept of a ground truth

    def over(function: Callable, *lists: list) -> float:
        return best(rounds, function, list(zip(*lists, strict=True)))

    parts = {
        "joint histogram": over(lambda p, m: joint_histogram(p, GroundTruth(m)), preds, masks),
        "MAE": over(mae, histograms),
        "S": over(s_measure, histograms),
        "P, R, F and E": over(lambda h: threshold_curves(h.quantised), histograms),
        "weighted F": over(
            lambda p, h, m: weighted_f(p, h, GroundTruth(m)), preds, histograms, masks
        ),
        "weighted F, ground truth known": over(weighted_f, preds, histograms, truths),
    }
    for name, value in parts.items():
        show(f"  {name}", value)
    total = over(score_image, preds, masks)
    show("all measures, without reading", total)
    return total


def time_reference(pairs: list[Pair], rounds: int) -> float | None:
    """Print the cost of pysodmetrics' five classes; return their sum, or None without it."""
    measures = reference_measures()
    if measures is None:
        print("pysodmetrics is not installed here: no ratio")
        return None
    costs = [best(rounds, measure.step, pairs) for measure in measures]
    for measure, value in zip(measures, costs, strict=True):
        show(f"  pysodmetrics {type(measure).__name__}", value)
    show("pysodmetrics, without reading", sum(costs))
    return sum(costs)


def reference_measures() -> list | None:
    """The five classes of pysodmetrics, or None where it is not installed."""
    try:
        import py_sod_metrics
    except ImportError:
        return None
    warnings.simplefilter("ignore")
    return [getattr(py_sod_metrics, name)() for name in REFERENCE_CLASSES]


def show(name: str, value: float, digits: int = 3) -> None:
    print(f"{name:40}{value:10.{digits}f}")


def time_runs(pairs: list[Pair], args: argparse.Namespace) -> None:
    """Print whole runs, reading included: the floor, ours by workers, the reference's."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        maps, gts = {}, {}
        for i, (pred, gt) in enumerate(pairs):
            for kind, files, image in (("map", maps, pred), ("gt", gts, gt)):
                files[f"{i}"] = root / f"{kind}_{i}.png"
                cv2.imwrite(str(files[f"{i}"]), image)
        both = [(maps[stem], gts[stem]) for stem in maps]
        floor = best(args.rounds, read_and_count, both)
        show("floor: decode both, one histogram", floor)
        pairings = [(Pairing(stem, gts[stem], {"method": maps[stem]}),) for stem in maps]
        evaluator = Evaluator()
        ours = best(
            args.rounds, lambda p: evaluator.add(score_pairing(p).scores["method"]), pairings
        )
        show("whole run", ours)
        show("  of the floor", ours / floor, 2)
        measures = reference_measures()
        if measures is not None:
            reference = best(args.rounds, lambda *paths: read_and_step(measures, *paths), both)
            show("whole run of pysodmetrics", reference)
            show("  ratio, one process each", reference / ours, 1)
        time_workers(MapFolder("method", "set", root, maps), gts, args)


def time_workers(source: MapFolder, gts: dict[str, Path], args: argparse.Namespace) -> None:
    """Print wall times of a run by workers, their start left out."""
    alone = best(args.rounds, lambda: score_set([source], gts), [()]) / len(gts)
    show("run of 1 process, wall time", alone)
    for workers in args.workers:
        with worker_pool(workers) as pool:
            together = partial(score_set, [source], gts, pool=pool, workers=workers)
            together()
            wall = best(args.rounds, together, [()]) / len(gts)
        show(f"run of {workers} workers, wall time", wall)
        show("  speed-up", alone / wall, 2)


def read_and_step(measures: list, map_path: Path, gt_path: Path) -> None:
    """One image of a run with pysodmetrics."""
    pred = cv2.imread(str(map_path), cv2.IMREAD_GRAYSCALE)
    gt = cv2.imread(str(gt_path), cv2.IMREAD_GRAYSCALE)
    for measure in measures:
        measure.step(pred, gt)


def read_and_count(map_path: Path, gt_path: Path) -> np.ndarray:
    """The least that any evaluation does: decode a pair and count its levels once."""
    pred = cv2.imread(str(map_path), cv2.IMREAD_GRAYSCALE)
    gt = cv2.imread(str(gt_path), cv2.IMREAD_GRAYSCALE)
    return cv2.calcHist([pred], [0], gt, [256], [0, 256])


if __name__ == "__main__":
    cli.run(main)
