"""What the finished runs of a comparison say, gathered for its table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments.plan import (
    DATA_FILE,
    SCORES_FILE,
    Job,
    jobs_of,
    read_data,
    read_plan,
)
from mutualformer_sod.experiments.report import FusionTable, Trial
from mutualformer_sod.experiments.variants import Variant, parse_variants
from mutualformer_sod.report.results import Results

COSTS_FILE = "costs.json"
_LOG_FILE, _STARTS_FILE = "log.jsonl", "starts.json"  # engine.run_folder's, which imports torch


def collect(output: Path) -> FusionTable:
    """Gather all finished runs.

    Raises:
        InputError: no comparison there, none of its runs is finished, or a damaged file.
    """
    plan = read_plan(output)
    variants = parse_variants(plan["variants"])
    jobs = jobs_of(output, variants, plan["seeds"])
    trials = [read_trial(job) for job in jobs if job.finished]
    if not trials:
        raise InputError(f"--output {output}: no run is finished yet: leave --report out")
    costs = _read(output / COSTS_FILE) or {"costs": {}}
    data = read_data(output)
    if data is None:
        raise InputError(f"{output / DATA_FILE}: missing: leave --report out, and it is made anew")
    notes = _notes(plan["options"], data, trials)
    if "how" in costs:
        notes.append(f"Images/s and GMACs: {costs['how']}, the variants in turn.")
    notes += _remarks(trials)
    unfinished = [job.name for job in jobs if not job.finished]
    if unfinished:
        notes.append(f"NOT FINISHED: {', '.join(unfinished)}.")
    finished = {trial.variant for trial in trials}
    meanings = {v.name: v.meaning for v in variants if v.name in finished}
    return FusionTable(trials, meanings, costs["costs"], notes)


def _remarks(trials: Sequence[Trial]) -> list[str]:
    """What is odd about the maps of runs, each remark once, with the runs that it holds for."""
    runs: dict[str, list[str]] = {}
    for trial in trials:
        for remark in trial.remarks:
            runs.setdefault(remark, []).append(f"{trial.variant} seed {trial.seed}")
    return [
        f"{remark} ({'all runs' if len(names) == len(trials) else ', '.join(names)})"
        for remark, names in runs.items()
    ]


def read_trial(job: Job) -> Trial:
    """One finished run: its scores by group of images, and what its fusion logged last.

    Raises:
        InputError: damaged files.
    """
    try:
        results = Results.read(job.folder / SCORES_FILE)
        log = _read_log(job.folder)
        starts = json.loads((job.folder / _STARTS_FILE).read_text(encoding="utf-8"))
        return Trial(
            job.variant.name,
            job.seed,
            results.scores[job.variant.name],
            _numbers(log[-1].get("statistics")),
            sum(line["seconds"] for line in log),
            tuple(dict.fromkeys(_commit(start["code"]) for start in starts)),
            tuple(results.notes),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{job.folder}: damaged ({error!r}): remove the folder, and it is made anew"
        ) from None


def last_statistics(folder: Path) -> dict[str, float]:
    """What a run's fusion had to say at its last epoch; nothing where it says nothing."""
    try:
        return _numbers(_read_log(folder)[-1].get("statistics"))
    except (OSError, ValueError, IndexError):
        return {}


def costs_are_known(output: Path, variants: Sequence[Variant]) -> bool:
    """Whether all variants have been measured, side by side."""
    known = _read(output / COSTS_FILE) or {"costs": {}}
    return known["costs"].keys() >= {variant.name for variant in variants}


def _read_log(folder: Path) -> list[dict[str, Any]]:
    text = (folder / _LOG_FILE).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _numbers(statistics: Any) -> dict[str, float]:
    """Of what a fusion logs, the plain numbers."""
    items = statistics.items() if isinstance(statistics, dict) else ()
    return {name: float(value) for name, value in items if isinstance(value, int | float)}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise InputError(f"{path}: damaged: remove it, and it is made anew") from None


def _commit(code: dict[str, Any]) -> str:
    commit = (code["commit"] or "unknown")[:12]
    return f"{commit} with changes" if code["dirty"] else commit


def _notes(options: dict[str, Any], data: Any, trials: Sequence[Trial]) -> list[str]:
    def images(part: str) -> str:
        counts = data[part]["images"]
        return f"{sum(counts.values())} ({', '.join(f'{n} {c}' for n, c in counts.items())})"

    if not options["data"]:
        source = "generated scenes of two seeds"
    elif options["test_data"]:
        source = "other folders"
    else:
        source = f"split by scene, about {options['holdout']:.0%} of each set to test on"
    size = f" at {options['size']} px" if options["size"] else ""
    start = f"encoders started from {options['init_weights']}" if options["init_weights"] else ""
    fields = ", ".join(f"{name}={value}" for name, value in options["fields"].items())
    recipe = [
        f"preset {options['preset']}{size}, encoder shared, {options['epochs']} epochs of batches "
        f"of {options['batch_size']}, peak rate {options['lr']}, amp {options['amp']}",
        *filter(None, (fields, start)),
    ]
    commits = dict.fromkeys(commit for trial in trials for commit in trial.commits)
    return [
        f"Trained on {images('train')} images, tested on {images('test')}: {source}.",
        f"One recipe for all, nothing tuned for any: {'; '.join(recipe)}; last epoch's weights.",
        f"Code: {', '.join(commits)}.",
    ]
