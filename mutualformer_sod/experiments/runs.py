"""One run of a comparison from training to scores, and what a network costs; both need torch."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import mutualformer_sod
from mutualformer_sod.benchmark.speed import Contestant, Settings, count_macs
from mutualformer_sod.configs.model import make_config
from mutualformer_sod.data.depth.units import decide_encodings
from mutualformer_sod.data.discovery.benchmarks import canonical_name
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments.collect import last_statistics
from mutualformer_sod.experiments.data import find_sets, groups_of
from mutualformer_sod.experiments.plan import (
    PLAN_FILE,
    SCORES_FILE,
    Job,
    Options,
    job_of,
    read_plan,
    train_config,
)
from mutualformer_sod.experiments.variants import Variant
from mutualformer_sod.files import write_json
from mutualformer_sod.inference.benchmark_maps import map_sets
from mutualformer_sod.inference.predictor import Predictor
from mutualformer_sod.metrics.evaluator import Evaluator
from mutualformer_sod.metrics.folder import find_map_folder, name_list
from mutualformer_sod.metrics.scoring import Outcome, score_set
from mutualformer_sod.models import build_model
from mutualformer_sod.models.device import pick_amp, pick_device
from mutualformer_sod.models.starting import load_encoder
from mutualformer_sod.models.weights import file_sha256, load_weights
from mutualformer_sod.report.per_image import per_image_file
from mutualformer_sod.report.remarks import complaints
from mutualformer_sod.report.results import Results, scoring_protocol, write_text
from mutualformer_sod.training.run_folder import CHECKPOINTS, CONFIG_FILE, WEIGHTS_FILE
from mutualformer_sod.training.trainer import train

MAPS = "maps"
_log = logging.getLogger(__name__)
_ROUNDS, _WARM_UP = 9, 2


def settle_amp(output: Path, options: Options, device: str) -> Options:
    """The options with the precision "auto" decided, once for all runs of a comparison.

    Args:
        output: the folder of the comparison; one that was begun keeps its precision.
        options: as given.
        device: see ``pick_device``.

    Raises:
        InputError: no such device, or the folder's plan is damaged.
    """
    if options.amp != "auto":
        return options
    here = pick_amp("auto", pick_device(device))
    amp = read_plan(output)["options"]["amp"] if (output / PLAN_FILE).exists() else here
    if amp not in ("auto", here):
        _log.warning(
            "the comparison goes on with --amp %s, as it was started; on this device auto means %s",
            *(amp, here),
        )
    return dataclasses.replace(options, amp=amp)


def check_networks(variants: Sequence[Variant], options: Options) -> None:
    """Build every variant's network once, before anything is made for them.

    Raises:
        InputError: naming the variant whose network does not go with the options.
    """
    for number, variant in enumerate(variants):
        overrides = variant.overrides(options.fields)
        if options.size is not None:
            overrides["image_size"] = options.size
        try:
            model = build_model(options.preset, **overrides)
        except InputError as error:
            raise InputError(f"--fusions {variant.name}: {error}") from None
        if options.init_weights and number == 0:  # the encoders are alike
            load_encoder(model, Path(options.init_weights))


def do_run(
    output: Path, job: Job, options: Options, data: dict[str, Any], resources: dict[str, Any]
) -> None:
    """Train a variant, map the test images, score the maps; goes on where it was interrupted.

    The checkpoints are removed at the end: the weights stay.

    Args:
        output: the folder of the comparison.
        job: the run.
        options: of the comparison.
        data: as ``prepare_data`` gave it.
        resources: "device" and "workers", which change no result.

    Raises:
        InputError: as training, testing and scoring raise it.
        Stopped: SIGTERM or Ctrl-C came while training; the run was saved.
    """
    resources = resources | {"cache_dir": str(output / "cache")}
    config = train_config(options, job, data["train"], resources)
    if not (job.folder / CONFIG_FILE).exists():
        # Of a kill in the run's first moments, which training would take for somebody else's.
        for half_written in job.folder.glob(".*.tmp*"):
            half_written.unlink()
    train(config, _overrides(output, job, options), resume="last")
    weights = job.folder / WEIGHTS_FILE
    model, protocol = load_weights(weights)
    sets = find_sets(data["test"], "test")
    provenance = {
        "weights_sha256": file_sha256(weights),
        "config": model.config.to_dict(),
        "protocol": protocol,
    }
    map_sets(
        Predictor(model, None, resources["device"], options.amp, protocol["modality"]),
        sets,
        decide_encodings(sets, data["test"]["near"]),
        job.folder / MAPS,
        provenance,
        batch_size=options.batch_size,
        overwrite=True,  # the folder is this run's own
    )
    score_maps(job, sets, protocol)
    shutil.rmtree(job.folder / CHECKPOINTS, ignore_errors=True)


def score_maps(job: Job, sets: Sequence[SodSet], training: dict[str, Any]) -> None:
    """Score a run's maps, all together and group by group, as tools/evaluate.py would.

    What is odd about them is written beside the scores, as its remarks.

    Raises:
        InputError: a map is missing or unreadable.
    """
    evaluators: dict[str, Evaluator] = {}
    resized = 0
    remarks: list[str] = []
    with per_image_file(job.folder / Path(SCORES_FILE).parent / "per_image.csv") as per_image:
        for item in sets:

            def book(outcome: Outcome, name: str = item.name) -> None:
                for image in outcome.scores.values():
                    per_image.write(name, outcome.stem, job.variant.name, image.scores, image.flags)
                    for group in groups_of(name, outcome.stem, len(sets)):
                        evaluators.setdefault(group, Evaluator()).add(image)

            gts = {sample.stem: sample.gt for sample in item.samples}
            folder = find_map_folder(
                job.folder, MAPS, item.name, gts, only_set=False, canonical_name=canonical_name
            )
            (cell,), _ = score_set([folder], gts, each=book)
            if cell.problems:
                raise InputError(
                    f"{job.folder / MAPS / item.name}: {cell.problems} of {cell.expected} maps are "
                    f"missing or unreadable: {name_list([*folder.missing, *cell.unreadable])}"
                )
            resized += len(cell.resized)
            remarks += [line.removeprefix(f"{MAPS}/") for line in complaints([cell])]
    name = job.variant.name
    protocol = scoring_protocol(mutualformer_sod.__version__) | {
        "resized": {name: resized},
        "training": {name: training},
    }
    results = Results(protocol, notes=remarks)
    for group, evaluator in evaluators.items():
        results.add(name, group, evaluator.results(), ())
    write_text(job.folder / SCORES_FILE, results.to_json())  # last: it marks a finished run


def _overrides(output: Path, job: Job, options: Options) -> dict[str, Any]:
    """The model's fields; a variant that matches another's exchange ratio takes it from its log."""
    overrides = job.variant.overrides(options.fields)
    if job.variant.matches is None:
        return overrides
    begun = job.folder / CONFIG_FILE
    if begun.exists():  # what a run was begun with it goes on with
        ratio = json.loads(begun.read_text(encoding="utf-8"))["model_overrides"]["exchange_ratio"]
    else:
        other = job_of(output, Variant(job.variant.matches), job.seed)
        ratio = last_statistics(other.folder).get("exchange_ratio") if other.finished else None
    if ratio is not None:
        overrides["exchange_ratio"] = round(float(ratio), 4)
    return overrides


def measure_costs(path: Path, variants: Sequence[Variant], options: Options, device: str) -> None:
    """Write parameters, MACs and images/s of every variant, timed in turn, as JSON.

    Each is fed what it is tested with: the network of ``rgb_only`` gets no depth. Weights are
    random: the cost does not depend on them.

    Args:
        path: of the file.
        variants: what to measure.
        options: of the comparison.
        device: see ``pick_device``.
    """
    contestants = [_contestant(variant, options, pick_device(device)) for variant in variants]
    times: list[list[float]] = [[] for _ in contestants]
    for number in range(_WARM_UP + _ROUNDS):
        for (contestant, _), seconds in zip(contestants, times, strict=True):
            spent = contestant.run()
            if number >= _WARM_UP:
                seconds.append(spent)
    costs = {
        variant.name: {
            "parameters": contestant.parameters,
            "macs": macs,
            "images_per_second": contestant.settings.batch_size / statistics.median(seconds),
        }
        for variant, (contestant, macs), seconds in zip(variants, contestants, times, strict=True)
    }
    kind = pick_device(device).type
    name = torch.cuda.get_device_name(pick_device(device)) if kind == "cuda" else kind.upper()
    threads = "" if kind != "cpu" else f", {torch.get_num_threads()} thread(s)"
    size, amp = contestants[0][0].settings.size, contestants[0][0].settings.amp
    how = f"{size} x {size}, batch 1, {name}{threads}, amp {amp}, median of {_ROUNDS} rounds"
    write_json(path, {"how": how, "costs": costs})


def _contestant(variant: Variant, options: Options, device: torch.device) -> tuple[Contestant, int]:
    overrides = variant.overrides(options.fields)
    size = options.size or make_config(options.preset, **overrides).image_size
    settings = Settings(size, 1, str(device), overrides=overrides)
    contestant = Contestant(options.preset, settings, counted=False)
    if variant.modality == "rgb":
        del contestant.inputs[1:]
    return contestant, count_macs(contestant.model, contestant.inputs)["total"]
