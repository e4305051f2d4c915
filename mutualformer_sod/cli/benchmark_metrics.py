"""Time the metrics, and those of pysodmetrics if it is installed, on one core."""

import argparse
import os
import statistics
import tempfile
import warnings
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy, so that both libraries use one core
import cv2
import numpy as np

from mutualformer_sod.benchmark.timing import in_turn
from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.metrics.evaluator import Evaluator, ImageScores, score_image
from mutualformer_sod.metrics.extra import FAMILIES, enabled, extra_columns
from mutualformer_sod.metrics.folder import MapFolder
from mutualformer_sod.metrics.ground_truth import GroundTruth
from mutualformer_sod.metrics.mae import mae
from mutualformer_sod.metrics.pair import MapPair
from mutualformer_sod.metrics.registry import METRICS
from mutualformer_sod.metrics.s_measure import s_measure
from mutualformer_sod.metrics.scoring import Pairing, score_pairing, score_set
from mutualformer_sod.metrics.weighted_f import weighted_f
from mutualformer_sod.workers import worker_pool

Pair = tuple[np.ndarray, np.ndarray]
# Maps of recent networks are 0 away from objects; maps of older networks have texture everywhere.
NOISE = {"clean maps": 0, "maps with texture everywhere": 60}
ALL, WHOLE = "all metrics, without reading", "whole run"
FLOOR = "lower bound: decode both, one histogram"
REFERENCE_CLASSES = ("MAE", "Smeasure", "Fmeasure", "Emeasure", "WeightedFmeasure")


def main() -> None:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--size", default="640x480", metavar="WxH", help="size of the maps (default: 640x480)")
    add("--pairs", type=int, default=30, metavar="N", help="number of images (default: 30)")
    add("--rounds", type=int, default=5, metavar="N", help="timed rounds; the fastest counts")
    add("--workers", type=int, nargs="*", default=[2], metavar="N", help="processes (default: 2)")
    add("--metrics", choices=("table", "all"), default="table", help="all: slow metrics, too")
    args = parser.parse_args()
    if args.metrics == "all":
        parser.refuse_unused(args, ("workers",), "with --metrics all")
    try:
        width, height = (int(n) for n in args.size.split("x"))
    except ValueError:
        raise InputError(f"--size {args.size}: not WIDTHxHEIGHT. Fix: pass e.g. 640x480.") from None
    if min(width, height) < 8 or args.pairs < 1 or args.rounds < 1:
        raise InputError(
            "--size, --pairs or --rounds is too small. Fix: pass at least --size 8x8, --pairs 1 "
            "and --rounds 1."
        )
    if min(args.workers, default=1) < 1:
        raise InputError("--workers has a value below 1. Fix: pass 1 or more.")
    cv2.setNumThreads(1)
    for kind, noise in NOISE.items():
        pairs = [make_pair(seed, height, width, noise) for seed in range(args.pairs)]
        print(f"\n{kind}: {args.pairs} pairs of {width}x{height}, ms per image, one core")
        if args.metrics == "all":
            time_all(pairs, args.rounds)
        else:
            time_measures(pairs, args.rounds)
            time_runs(pairs, args)
    if args.metrics == "table":
        suggest("benchmark-metrics", "--metrics", "all", "--size", args.size)
    else:
        suggest("evaluate", "--help")


def make_pair(seed: int, height: int, width: int, noise: int) -> Pair:
    """Generate a ground truth, and a map with a background texture from 0 to ``noise``.

    The map and the ground truth are (height, width) uint8 arrays.
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


def time_images(
    rounds: int, runs: dict[str, Callable], inputs: Sequence[tuple] = ((),), images: int = 1
) -> dict[str, float]:
    """Print and return the milliseconds per image of each function in ``runs``.

    The value is the mean over ``inputs`` of the fastest round of each input. The functions
    alternate on every input, which has ``images`` images.
    """
    calls = [partial(run, *items) for items in inputs for run in runs.values()]
    fastest = [1e3 * min(seconds) / images for seconds in in_turn(calls, rounds, warm_up=0)]
    costs = {name: statistics.mean(fastest[i :: len(runs)]) for i, name in enumerate(runs)}
    for name, value in costs.items():
        show(name, value)
    return costs


def time_measures(pairs: list[Pair], rounds: int) -> None:
    """Print the times of each metric, of all metrics together, and of pysodmetrics."""
    inputs = [(pred, gt, MapPair(pred, gt)) for pred, gt in pairs]
    for _, _, pair in inputs:
        weighted_f(pair)  # stores the distances to the foreground, which the timed calls reuse
    runs = {
        "  joint histogram": lambda p, g, pair: MapPair(p, g),
        "  MAE": lambda p, g, pair: mae(pair),
        "  S": lambda p, g, pair: s_measure(pair),
        "  P, R, F and E": lambda p, g, pair: ImageScores({}, pair.histogram.quantised, ()).curves,
        "  weighted F": lambda p, g, pair: weighted_f(with_new_truth(pair, g)),
        "  weighted F, ground-truth part reused": lambda p, g, pair: weighted_f(pair),
        ALL: lambda p, g, pair: score_image(p, g),
    }
    measures = reference_measures()
    names = [f"  pysodmetrics {type(measure).__name__}" for measure in measures]
    for name, measure in zip(names, measures, strict=True):
        runs[name] = lambda p, g, pair, measure=measure: measure.step(p, g)
    costs = time_images(rounds, runs, inputs)
    if not measures:
        print("pysodmetrics is not installed, so the comparison with it is omitted")
        return
    reference = sum(costs[name] for name in names)
    show("pysodmetrics, without reading", reference)
    show("  ratio, without reading", reference / costs[ALL], 1)


def time_all(pairs: list[Pair], rounds: int) -> None:
    """Print the time of each family of slow metrics, and the time of all metrics together."""
    with enabled(extra_columns(with_rgb=False)):
        runs: dict[str, Callable] = {ALL: score_image}
        for family in (f for f in FAMILIES if f[0].name in METRICS):
            names = f"  {family[0].name} ... {family[-1].name}"
            own = [m.compute for m in family if m.kind in ("mean", "map_curve")]
            runs[names] = lambda p, g, own=own: [compute(MapPair(p, g)) for compute in own]
        measures = reference_measures(extras=True)
        for measure in measures:
            runs[f"  pysodmetrics {type(measure).__name__}"] = measure.step
        costs = time_images(rounds, runs, pairs)
    if measures:
        reference = sum(value for name, value in costs.items() if "pysodmetrics" in name)
        show("  ratio, without reading", reference / costs[ALL], 1)


def reference_measures(extras: bool = False) -> list:
    """Return metrics of pysodmetrics, or [] without the package; ``extras`` adds slow metrics."""
    try:
        import py_sod_metrics as reference
    except ImportError:
        return []
    warnings.simplefilter("ignore")
    measures = [getattr(reference, name)() for name in REFERENCE_CLASSES]
    if not extras:
        return measures
    if not hasattr(np, "trapz"):
        raise InputError("pysodmetrics 1.6.2 needs np.trapz. Fix: install numpy below 2.4.")
    every = {"with_dynamic": True, "with_adaptive": True, "with_binary": True}
    names = ("IOU", "Specificity", "DICE", "OverallAccuracy", "Kappa", "Precision", "Recall")
    rates = {n: getattr(reference, f"{n}Handler") for n in (*names, "FPR", "BER", "Fmeasure")}
    chosen = ("Fmeasure", "IOU")
    return [
        *measures,
        reference.FmeasureV2({n: handler(**every) for n, handler in rates.items()}),
        reference.SizeInvarianceFmeasureV2({n: rates[n](**every) for n in chosen}),
        reference.SizeInvarianceMAE(),
        reference.HumanCorrectionEffortMeasure(),
        reference.MSIoU(**every),
        reference.ContextMeasure(),
    ]


def with_new_truth(pair: MapPair, gt: np.ndarray) -> MapPair:
    """Return the pair with a ground truth whose distances are not computed yet."""
    fresh = copy(pair)
    fresh.gt = GroundTruth(gt)
    return fresh


def show(name: str, value: float, digits: int = 3) -> None:
    print(f"{name:40}{value:10.{digits}f}")


def time_runs(pairs: list[Pair], args: argparse.Namespace) -> None:
    """Print run times, including reading, of a lower bound, this package and pysodmetrics."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        maps, gts = {}, {}
        for i, (pred, gt) in enumerate(pairs):
            maps[f"{i}"], gts[f"{i}"] = root / f"map_{i}.png", root / f"gt_{i}.png"
            cv2.imwrite(str(maps[f"{i}"]), pred)
            cv2.imwrite(str(gts[f"{i}"]), gt)
        evaluator, measures = Evaluator(), reference_measures()

        def ours(map_path: Path, gt_path: Path) -> None:
            scored = score_pairing(Pairing("", gt_path, {"method": map_path}))
            evaluator.add(scored.scores["method"])

        def over_all(run: Callable) -> None:
            for stem in maps:
                run(maps[stem], gts[stem])

        # Each function reads all images in turn: if they alternated per image, the second function
        # would find its data in the processor's caches, unlike a real run.
        runs = {FLOOR: partial(over_all, read_and_count), WHOLE: partial(over_all, ours)}
        if measures:
            step = partial(read_and_step, measures)
            runs[f"{WHOLE} of pysodmetrics"] = partial(over_all, step)
        costs = time_images(args.rounds, runs, images=len(maps))
        show("  ratio to the lower bound", costs[WHOLE] / costs[FLOOR], 2)
        if measures:
            show("  ratio, one process each", costs[f"{WHOLE} of pysodmetrics"] / costs[WHOLE], 1)
        time_workers(MapFolder("method", "set", root, maps), gts, args)


def time_workers(source: MapFolder, gts: dict[str, Path], args: argparse.Namespace) -> None:
    """Print the wall time of a run for each number of workers, without the start of the workers."""
    for workers in args.workers:
        with worker_pool(workers) as pool:
            alone, together = (partial(score_set, [source], gts, pool=p) for p in (None, pool))
            together()  # starts the workers
            several = f"run of {counted(workers, 'worker')}, wall time"
            runs = {"run of 1 process, wall time": alone, several: together}
            costs = time_images(args.rounds, runs, images=len(gts))
        alone, together = costs.values()
        show("  speed-up", alone / together, 2)


def read_and_step(measures: list, map_path: Path, gt_path: Path) -> None:
    """Score one image with pysodmetrics."""
    pred, gt = read_levels(map_path), read_levels(gt_path)
    for measure in measures:
        measure.step(pred, gt)


def read_and_count(map_path: Path, gt_path: Path) -> np.ndarray:
    """Decode a pair and count its levels once, which is the minimum work of any evaluation."""
    return cv2.calcHist([read_levels(map_path)], [0], read_levels(gt_path), [256], [0, 256])


def read_levels(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
