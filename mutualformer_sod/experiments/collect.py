"""Finished runs of a comparison and their means over the seeds, for the table."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.experiments import image_scores, plan
from mutualformer_sod.experiments.data import HOLDOUT
from mutualformer_sod.experiments.image_scores import METRICS, ImageScores
from mutualformer_sod.experiments.variants import Variant, parse_variants
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.metrics.results import Results, Scores

COSTS_FILE = "costs.json"
_LOG_FILE, _STARTS_FILE = "log.jsonl", "starts.json"  # training.run_folder imports torch
_SHOWN = ("s_measure", "max_f", "mean_f", "weighted_f", "max_e", "mean_e", "mae")
EXCHANGE = "exchange_ratio"


@dataclass(frozen=True)
class Trial:
    """Results of one variant and seed."""

    variant: str
    seed: int
    scores: dict[str, Scores]  # by group of test images; "images" is the number of images
    statistics: dict[str, float] = field(default_factory=dict)  # of the fusion at the last epoch
    seconds: float = 0.0  # of training
    commits: tuple[str, ...] = ()  # of the training code
    remarks: tuple[str, ...] = ()  # on the maps of the run, with the names of images


@dataclass(frozen=True)
class Summary:
    """Scores of a variant on a group of test images, over its seeds."""

    group: str
    variant: str
    seeds: tuple[int, ...]
    images: int
    mean: Scores  # over the seeds
    std: Scores  # sample standard deviation (n - 1); empty for a single seed


@dataclass(frozen=True)
class FusionTable:
    """Content of the table of a comparison."""

    trials: Sequence[Trial]
    meanings: dict[str, str]  # variant -> description, in the order of the rows
    costs: dict[str, dict[str, float]]  # by variant and `report.COSTS`; may be missing or None
    notes: Sequence[str]  # lines below the table
    images: ImageScores

    @property
    def groups(self) -> list[str]:
        """Return the groups of test images, in order of appearance."""
        return list(dict.fromkeys(group for trial in self.trials for group in trial.scores))

    @property
    def metrics(self) -> list[str]:
        """Return the metrics of the first variant in the first group."""
        return list(self.summary(self.groups[0], next(iter(self.meanings))).mean)

    @property
    def shown(self) -> list[str]:
        """Return the metrics of the printed tables."""
        return [name for name in _SHOWN if name in self.metrics]

    def exchange_ratios(self, variant: str) -> list[float]:
        """Return the exchange ratios at the last epoch, by seed; empty for most fusions."""
        return [t.statistics[EXCHANGE] for t in self.of(variant) if EXCHANGE in t.statistics]

    def of(self, variant: str) -> list[Trial]:
        """Return the trials of a variant."""
        return [trial for trial in self.trials if trial.variant == variant]

    def summary(self, group: str, variant: str) -> Summary:
        """Return mean and standard deviation over the seeds of a variant on a group of images."""
        trials = self.of(variant)
        scores = [trial.scores[group] for trial in trials]
        names = [name for name in COLUMNS if all(name in one for one in scores)]
        mean = {name: statistics.fmean(one[name] for one in scores) for name in names}
        std = {}
        if len(scores) > 1:
            std = {name: statistics.stdev(one[name] for one in scores) for name in names}
        seeds = tuple(trial.seed for trial in trials)
        return Summary(group, variant, seeds, int(scores[0]["images"]), mean, std)


def collect(output: Path) -> FusionTable:
    """Collect all finished runs; raise InputError if no run is finished or a file is damaged."""
    record = plan.read_plan(output)
    options, seeds = record["options"], record["seeds"]
    variants = parse_variants(list(seeds))
    runs = plan.runs_of(output, variants, max(seeds.values()))
    runs = [run for run in runs if run.seed < seeds[run.variant.name]]
    finished = [run for run in runs if run.finished]
    trials = [read_trial(run) for run in finished]
    if not trials:
        raise InputError(f"`output` {output}: no run is finished. Fix: start without `report`.")
    costs = _read_costs(output)
    data = plan.read_data(output)
    if data is None:
        raise InputError(f"{output / plan.DATA_FILE}: is missing. Fix: start without `report`.")
    images = image_scores.read_runs(finished, options["test_depth"], data["test"])
    notes = _notes(options, data, trials)
    if "how" in costs:
        notes.append(f"Images/s and GMACs: {costs['how']}, the variants in turn.")
    for remark in dict.fromkeys(remark for trial in trials for remark in trial.remarks):
        names = [f"{t.variant} seed {t.seed}" for t in trials if remark in t.remarks]
        notes.append(f"{remark} ({'all runs' if len(names) == len(trials) else ', '.join(names)})")
    if unfinished := [run.name for run in runs if run not in finished]:
        notes.append(f"NOT FINISHED: {', '.join(unfinished)}.")
    named = {trial.variant for trial in trials}
    meanings = {v.name: v.meaning for v in variants if v.name in named}
    return FusionTable(trials, meanings, costs["costs"], notes, images)


def write_image_scores(path: Path, table: FusionTable) -> None:
    """Write the scores of each image and the other data that `read_image_scores` needs."""
    trials = [dataclasses.asdict(trial) | {"scores": {}} for trial in table.trials]
    record = {"meanings": table.meanings, "costs": table.costs, "notes": list(table.notes)}
    image_scores.write_scores(path, table.images, record | {"trials": trials})


def read_image_scores(path: Path) -> FusionTable:
    """Read a table from a file of `write_image_scores`.

    The table has no metrics that are the maximum of a curve.

    Raises:
        InputError: the file is damaged.
    """
    images, record = image_scores.read_scores(path)
    try:
        groups, trials = images.by_group(), []
        for number, trial in enumerate(record["trials"]):
            scores = {}
            for group, values in groups.items():
                means = values[:, number].mean(axis=0)
                scores[group] = dict(zip(METRICS, means, strict=True)) | {"images": len(values)}
            trials.append(Trial(**trial | {"scores": scores}))
        return FusionTable(trials, record["meanings"], record["costs"], record["notes"], images)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error!r}). Fix: restore the file.") from None


def read_trial(run: plan.Run) -> Trial:
    """Read the results of a finished run; raise InputError if a file of the run is damaged."""
    try:
        results = Results.read(run.folder / plan.SCORES_FILE)
        text = (run.folder / _LOG_FILE).read_text(encoding="utf-8")
        log = [json.loads(line) for line in text.splitlines()]
        starts = json.loads((run.folder / _STARTS_FILE).read_text(encoding="utf-8"))
        return Trial(
            run.variant.name,
            run.seed,
            results.scores[run.variant.name],
            _statistics(log),
            sum(line["seconds"] for line in log),
            tuple(dict.fromkeys(_commit(start["code"]) for start in starts)),
            tuple(results.notes),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{run.folder}: damaged ({error!r}). Fix: remove the folder, and repeat the run."
        ) from None


def costs_are_known(output: Path, variants: Sequence[Variant]) -> bool:
    """Return whether the costs of all variants were measured."""
    return _read_costs(output)["costs"].keys() >= {variant.name for variant in variants}


def _statistics(log: list[dict[str, Any]]) -> dict[str, float]:
    """Return the plain numbers among the statistics of a fusion at the last epoch."""
    last = log[-1].get("statistics")
    items = last.items() if isinstance(last, dict) else ()
    return {name: float(value) for name, value in items if isinstance(value, int | float)}


def _read_costs(output: Path) -> dict[str, Any]:
    path = output / COSTS_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"costs": {}}
    except ValueError:
        raise InputError(f"{path}: damaged. Fix: remove the file, to measure again.") from None


def _commit(code: dict[str, Any]) -> str:
    commit = (code["commit"] or "unknown")[:12]
    return f"{commit} with changes" if code["dirty"] else commit


def describe_sources(options: dict[str, Any]) -> list[str]:
    """Describe the sources of the test images."""
    if not options["data"]:
        return ["generated scenes of two seeds"]
    is_apart = bool(options["test_data"])
    found = ["other folders"] if is_apart else []
    if ratio := options["holdout"] or (None if is_apart else HOLDOUT):
        whole = "each set with depth" if is_apart else "each set"
        sets = ", ".join(options["holdout_sets"] or [whole])
        found.append(f"split by scene, about {ratio:.0%} of {sets} for testing")
    return found


def _notes(options: dict[str, Any], data: Any, trials: Sequence[Trial]) -> list[str]:
    def images(part: str) -> str:
        counts = data[part]["images"]
        return f"{sum(counts.values())} ({', '.join(f'{n} {c}' for n, c in counts.items())})"

    size = f" at {options['size']} px" if options["size"] else ""
    recipe = [
        f"preset {options['preset']}{size}, encoder shared, {counted(options['epochs'], 'epoch')} "
        f"of batches of {options['batch_size']}, peak rate {options['lr']}, amp {options['amp']}"
    ]
    if options["fields"]:
        recipe.append(", ".join(f"{name}={value}" for name, value in options["fields"].items()))
    if options["init_weights"]:
        weights = "/".join(Path(options["init_weights"]).parts[-2:])
        recipe.append(f"encoders started from {weights}")
    source = "; ".join(describe_sources(options))
    commits = dict.fromkeys(commit for trial in trials for commit in trial.commits)
    return [
        f"Trained on {images('train')} images, tested on {images('test')}: {source}.",
        "All variants use one recipe, which was not tuned for any variant: "
        f"{'; '.join(recipe)}; last epoch's weights.",
        f"Code: {', '.join(commits)}.",
    ]
