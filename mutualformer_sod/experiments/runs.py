"""One run of a comparison, from training to scores."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.discovery.benchmarks import canonical_name
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments import plan
from mutualformer_sod.experiments.collect import EXCHANGE, read_trial
from mutualformer_sod.experiments.data import find_sets, groups_of
from mutualformer_sod.experiments.plan import Options, Run
from mutualformer_sod.experiments.variants import Variant
from mutualformer_sod.files import write_text
from mutualformer_sod.inference.benchmark_maps import map_sets, provenance_of
from mutualformer_sod.inference.predictor import Predictor
from mutualformer_sod.metrics.evaluation import GtSet, evaluate, find_map_folders
from mutualformer_sod.metrics.evaluator import Evaluator
from mutualformer_sod.metrics.results import Results
from mutualformer_sod.metrics.scoring import Outcome
from mutualformer_sod.models import build_model
from mutualformer_sod.models.device import pick_amp, pick_device
from mutualformer_sod.models.starting import load_encoder
from mutualformer_sod.models.weights import load_weights
from mutualformer_sod.training.run_folder import CHECKPOINTS, CONFIG_FILE, WEIGHTS_FILE
from mutualformer_sod.training.trainer import train

_log = logging.getLogger(__name__)


def resolve_amp(output: Path, options: Options, device: str) -> Options:
    """Replace the precision "auto" by the precision of all runs of the comparison.

    A started comparison keeps its precision on every device.

    Raises:
        InputError: the device does not exist, or the plan in the folder is damaged.
    """
    if options.amp != "auto":
        return options
    here = pick_amp("auto", pick_device(device))
    amp = plan.read_plan(output)["options"]["amp"] if (output / plan.PLAN_FILE).exists() else here
    if amp not in ("auto", here):
        _log.warning(
            "the comparison continues with amp %s, as at the start; on this device, auto is %s",
            *(amp, here),
        )
    return dataclasses.replace(options, amp=amp)


def check_networks(variants: Sequence[Variant], options: Options) -> None:
    """Build the network of every variant before any run.

    Raises:
        InputError: a variant is illegal, and the message names the variant; or the encoder of
            ``init_weights`` cannot be used.
    """
    for number, variant in enumerate(variants):
        overrides = variant.overrides(options.fields)
        if options.size is not None:
            overrides["image_size"] = options.size
        try:
            model = build_model(options.preset, **overrides)
        except InputError as error:
            raise InputError(f"`fusions` {variant.name}: {error}") from None
        if options.init_weights and number == 0:  # all variants have the same encoder
            load_encoder(model, Path(options.init_weights))


def do_run(
    output: Path, run: Run, options: Options, data: dict[str, Any], resources: dict[str, Any]
) -> None:
    """Train a variant, and predict and score the test maps; continue an interrupted run.

    The weights and the maps with the right depth remain; checkpoints and other maps are removed.
    ``data`` is the record of `prepare_data`; ``resources`` has "device" and "workers".

    Raises:
        InputError: an error of `train`, `map_sets` or `score_maps`.
        Stopped: SIGTERM or Ctrl-C during training, and the run was saved; or SIGTERM during the
            prediction of maps.
    """
    resources = resources | {"cache_dir": str(output / "cache")}
    config = plan.train_config(options, run, data["train"], resources)
    train(config, model_overrides(output, run, options), resume="last")
    weights = run.folder / WEIGHTS_FILE
    model, protocol = load_weights(weights)
    provenance = provenance_of(weights, model.config, protocol)
    results = {}
    for kind in (plan.RIGHT, *options.test_depth):
        sources = data["test"] if kind in (plan.RIGHT, "hidden") else data["depths"][kind]
        modality = "rgb" if kind == "hidden" else protocol["modality"]
        sets = find_sets(sources, "test")
        maps = run.folder / _maps_of(kind)
        map_sets(
            Predictor(model, None, resources["device"], options.amp, modality),
            with_encodings(sets, sources["near"], quiet=kind != plan.RIGHT),
            maps,
            provenance,
            batch_size=options.batch_size,
            overwrite=True,  # nothing else writes to the folder of a run
        )
        results[kind] = score_maps(run, sets, sources, protocol, kind)
        if kind != plan.RIGHT:
            shutil.rmtree(maps)
    # SCORES_FILE is written last, because this file marks a finished run.
    write_text(run.folder / plan.SCORES_FILE, results[plan.RIGHT].to_json())
    shutil.rmtree(run.folder / CHECKPOINTS, ignore_errors=True)


def _maps_of(kind: str) -> str:
    return "maps" if kind == plan.RIGHT else f"maps_{kind}"


def score_maps(
    run: Run,
    sets: Sequence[SodSet],
    sources: dict[str, Any],
    training: dict[str, Any],
    kind: str = plan.RIGHT,
) -> Results:
    """Return the scores of a run by group, with remarks on its maps; write the scores per image.

    ``sources`` is the record of the test sets, see `prepare_data`; ``kind`` is `plan.RIGHT` or one
    of `plan.DEPTHS`.

    Raises:
        InputError: a map is missing or unreadable.
    """
    name = run.variant.name
    evaluators: dict[str, Evaluator] = {}

    def add(set_name: str, outcome: Outcome) -> None:
        for image in outcome.scores.values():
            for group in groups_of(set_name, outcome.stem, sources):
                evaluators.setdefault(group, Evaluator()).add(image)

    truths = [GtSet(item.name, {s.stem: s.gt for s in item.samples}) for item in sets]
    maps = _maps_of(kind)
    folders = find_map_folders(run.folder, [maps], truths, canonical_name)
    folders = [dataclasses.replace(folder, method=name) for folder in folders]
    whole = evaluate(truths, folders, per_image=run.per_image(kind), each=add)
    own = f"{name}/"  # the other notes are about the ground truths
    remarks = [note.removeprefix(own) for note in whole.notes if note.startswith(own)]
    if whole.incomplete:
        raise InputError(
            f"{run.folder / maps}: maps are missing or unreadable: {'; '.join(remarks)}. "
            "Fix: delete the folder and run the same command again."
        )
    protocol = whole.protocol | {
        "resized": {name: sum(whole.protocol["resized"].values())},
        "training": {name: training},
    }
    results = Results(protocol, notes=remarks)
    for group, evaluator in evaluators.items():
        results.add(name, group, evaluator.results(), ())
    return results


def model_overrides(output: Path, run: Run, options: Options) -> dict[str, Any]:
    """Return the model options of a run, with the exchange ratio of the variant in ``matches``."""
    overrides = run.variant.overrides(options.fields)
    if run.variant.matches is None:
        return overrides
    config = run.folder / CONFIG_FILE
    if config.exists():  # a started run keeps its ratio
        ratio = json.loads(config.read_text(encoding="utf-8"))["model_overrides"][EXCHANGE]
    else:
        other = plan.run_of(output, Variant(run.variant.matches), run.seed)
        ratio = read_trial(other).statistics.get(EXCHANGE) if other.finished else None
    if ratio is not None:
        overrides[EXCHANGE] = round(float(ratio), 4)
    return overrides
