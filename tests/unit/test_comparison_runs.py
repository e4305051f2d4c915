"""Comparison of fusions: runs and table."""

import csv
import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from mutualformer_sod.cli.compare_fusions import describe
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.synthetic.scenes import write_samples
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments import collect, plan, schedule
from mutualformer_sod.experiments.collect import FusionTable, Trial
from mutualformer_sod.experiments.image_scores import METRICS, ImageScores
from mutualformer_sod.experiments.plan import Options, Run
from mutualformer_sod.experiments.report import fusion_csv, fusion_markdown, runs_csv
from mutualformer_sod.experiments.runs import model_overrides, score_maps
from mutualformer_sod.experiments.variants import (
    CONTROLS,
    Variant,
    parse_variants,
)

MEASURES = ("s_measure", "max_f", "mean_f", "weighted_f", "max_e", "mean_e", "mae")


def finish(run: Run, statistics=None, s=0.9, remarks=()):
    """Leave what a finished run leaves."""
    (run.folder / "scores").mkdir(parents=True)
    protocol = dict.fromkeys(("normalize", "thresholds", "aggregation", "resize", "version"), "x")
    scores = {"all": dict.fromkeys(MEASURES, s) | {"images": 3}}
    results = {"protocol": protocol, "scores": {run.variant.name: scores}, "notes": [*remarks]}
    (run.folder / plan.SCORES_FILE).write_text(json.dumps(results))
    lines = [f"SAMPLES,{stem},x,{s},{s},{s},{s},{s}" for stem in "abc"]
    head = "set,image,method,s_measure,mean_f,weighted_f,mean_e,mae"
    run.per_image().write_text("\n".join([head, *lines]))
    line = {"seconds": 2.0, "statistics": statistics} if statistics else {"seconds": 2.0}
    (run.folder / "log.jsonl").write_text(json.dumps({"seconds": 1.0}) + "\n" + json.dumps(line))
    start = {"code": {"commit": "0123456789abcdef", "dirty": False}}
    (run.folder / "starts.json").write_text(json.dumps([start, start]))


def test_random_exchange_takes_over_the_ratio_of_the_same_seed(tmp_path):
    finish(plan.run_of(tmp_path, Variant("token_fusion"), 1), {"exchange_ratio": 0.31237})
    runs = [plan.run_of(tmp_path, CONTROLS["random_exchange"], seed) for seed in (0, 1)]
    ratios = [model_overrides(tmp_path, run, Options())["exchange_ratio"] for run in runs]
    assert ratios == [0.4, 0.3124]


def test_started_random_exchange_keeps_its_ratio(tmp_path):
    run = plan.run_of(tmp_path, CONTROLS["random_exchange"], 0)
    run.folder.mkdir(parents=True)
    (run.folder / "config.json").write_text('{"model_overrides": {"exchange_ratio": 0.4}}')
    finish(plan.run_of(tmp_path, Variant("token_fusion"), 0), {"exchange_ratio": 0.1})
    assert model_overrides(tmp_path, run, Options())["exchange_ratio"] == 0.4


class Ended:
    """Stands for a process that has ended."""

    def __init__(self, problem):
        self._reader, writer = os.pipe()
        os.close(writer)  # the end of the file makes the other end ready
        self._problem = problem

    @property
    def sentinel(self):
        return self._reader

    def problem(self):
        os.close(self._reader)
        return self._problem


def do_runs(runs, at_once=1, problems=()):
    """Return the order in which runs are started, and the failed ones."""
    started = []

    def start(run):
        started.append(run.name)
        return Ended(dict(problems).get(run.name))

    failed = schedule.do_runs(runs, start, at_once=at_once, describe=lambda run, _: run.name)
    return started, failed


def test_do_runs_with_failed_run_does_the_others(tmp_path):
    runs = plan.runs_of(tmp_path, parse_variants(["sum", "concat"]), 2)
    started, failed = do_runs(runs, 2, {"sum seed 0": "error: broken"})
    assert len(started) == 4
    assert failed == {"sum seed 0": "error: broken"}


def test_do_runs_skips_finished_runs(tmp_path):
    runs = plan.runs_of(tmp_path, parse_variants(["sum", "concat"]), 1)
    finish(runs[0])
    assert do_runs(runs)[0] == ["concat seed 0"]


def test_do_runs_skips_runs_that_match_a_failed_run(tmp_path):
    runs = plan.runs_of(tmp_path, parse_variants(["token_fusion", "random_exchange"]), 2)
    started, failed = do_runs(runs, 4, {"token_fusion seed 0": "killed"})
    assert "random_exchange seed 0" not in started
    assert "token_fusion seed 0, which failed" in failed["random_exchange seed 0"]
    assert started.index("random_exchange seed 1") > started.index("token_fusion seed 1")


@pytest.mark.parametrize(
    ("function", "arguments", "problem"),
    [
        ("plan.run_of", ("x", Variant("sum"), 0), "TypeError: unsupported .*"),
        ("plan.read_plan", (Path("/none"),), "error: --output /none: the folder has no .*"),
    ],
)
def test_logged_process_that_fails_returns_its_problem(tmp_path, function, arguments, problem):
    found = schedule.LoggedProcess(function, arguments, tmp_path / "log", 1).problem()
    assert re.fullmatch(rf"{problem} \(see .*log\)", found)


def test_logged_process_that_succeeds_has_no_problem(tmp_path):
    assert (
        schedule.LoggedProcess("plan.runs_of", (tmp_path, [], 0), tmp_path / "log", 1).problem()
        is None
    )


def test_logged_process_that_is_killed_names_the_signal(tmp_path):
    process = schedule.LoggedProcess("schedule.wait", ([], 60), tmp_path / "log", 1)
    process.terminate()
    assert process.problem().startswith("ended by SIGTERM (see ")


# The table.


def claim(output, variants, seeds):
    """A comparison whose data are known and of which no run is finished."""
    plan.claim_folder(output, Options(), variants, seeds)
    sources = {"images": {"SAMPLES": 3}, "sets": ["SAMPLES"]}
    text = json.dumps({"train": sources, "test": sources, "fingerprint": "x"})
    (output / plan.DATA_FILE).write_text(text)


def test_collect_reads_finished_runs_and_names_the_others(tmp_path):
    variants = parse_variants(["sum", "token_fusion"])
    claim(tmp_path, variants, 2)
    finish(plan.run_of(tmp_path, variants[1], 0), {"exchange_ratio": 0.25, "note": "x"})
    table = collect.collect(tmp_path)
    (trial,) = table.trials
    assert (trial.variant, trial.seed, trial.seconds) == ("token_fusion", 0, 3.0)
    assert trial.statistics == {"exchange_ratio": 0.25}
    assert trial.commits == ("0123456789ab",)
    assert "NOT FINISHED: sum seed 0, sum seed 1, token_fusion seed 1." in table.notes


def test_collect_notes_each_remark_once_with_its_runs(tmp_path):
    variants = parse_variants(["sum", "concat"])
    claim(tmp_path, variants, 1)
    runs = plan.runs_of(tmp_path, variants, 1)
    finish(runs[0], remarks=["A: empty", "A: map all black: x"])
    finish(runs[1], remarks=["A: empty"])
    notes = collect.collect(tmp_path).notes
    assert {"A: empty (all runs)", "A: map all black: x (sum seed 0)"} <= set(notes)


def test_score_maps_of_odd_maps_writes_a_remark(tmp_path):
    write_samples(tmp_path / "data", 3, 5, size=(64, 80))
    sets = discover_sets([tmp_path / "data"])
    run = plan.run_of(tmp_path, Variant("sum"), 0)
    maps = run.folder / "maps" / "SAMPLES"
    maps.mkdir(parents=True)
    for number, sample in enumerate(sets[0].samples):
        gt = cv2.imread(str(sample.gt), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(maps / f"{sample.stem}.png"), 0 * gt if number == 1 else gt)
    results = score_maps(run, sets, {"sets": ["SAMPLES"]}, {})
    assert results.notes == [f"SAMPLES: map all black: {sets[0].samples[1].stem}"]


def test_describe_prints_the_remarks_of_a_run(tmp_path):
    run = plan.run_of(tmp_path, Variant("sum"), 0)
    finish(run, remarks=["A: map all black: x"])
    assert describe(run, 4.0).splitlines()[1:] == ["  A: map all black: x"]


def test_collect_without_finished_run_raises(tmp_path):
    plan.claim_folder(tmp_path, Options(), parse_variants(["sum"]), 1)
    with pytest.raises(InputError, match="no run is finished"):
        collect.collect(tmp_path)


def test_collect_without_record_of_the_images_raises_one_line(tmp_path):
    plan.claim_folder(tmp_path, Options(), parse_variants(["sum"]), 1)
    finish(plan.run_of(tmp_path, Variant("sum"), 0))
    with pytest.raises(InputError, match=r"data\.json: is missing"):
        collect.collect(tmp_path)


def test_read_trial_with_damaged_scores_names_the_folder(tmp_path):
    run = plan.run_of(tmp_path, Variant("sum"), 0)
    finish(run)
    (run.folder / plan.SCORES_FILE).write_text("trash")
    with pytest.raises(InputError, match="remove the folder"):
        collect.read_trial(run)


def table_of(**values):
    """A table with these S of all images, by variant and seed."""
    trials = [
        Trial(
            name,
            seed,
            {"all": dict.fromkeys(MEASURES, s) | {"images": 5}},
            {"exchange_ratio": 0.3 + 0.1 * seed} if name == "token_fusion" else {},
        )
        for name, seeds in values.items()
        for seed, s in enumerate(seeds)
    ]
    costs = {"sum": {"parameters": 1.5e6, "macs": 2e8, "images_per_second": 50.0}}
    runs = [(trial.variant, trial.seed) for trial in trials]
    levels = [trial.scores["all"]["s_measure"] for trial in trials]
    cells = np.broadcast_to(np.array(levels)[:, None], (5, len(runs), len(METRICS)))
    names = [("right", "A", stem) for stem in "abcde"]
    images = ImageScores(runs, names, cells, {"sets": ["A"]})
    return FusionTable(trials, dict.fromkeys(values, ""), costs, ["Trained somehow."], images)


def test_summary_has_the_sample_standard_deviation():
    summary = table_of(sum=[0.7, 0.8, 0.9]).summary("all", "sum")
    assert summary.mean["s_measure"] == pytest.approx(0.8)
    assert summary.std["s_measure"] == pytest.approx(0.1)
    assert (summary.seeds, summary.images) == ((0, 1, 2), 5)


def test_fusion_markdown_has_deviations_costs_and_ratios():
    text = fusion_markdown(table_of(sum=[0.7, 0.8, 0.9], token_fusion=[0.5, 0.6, 0.7]))
    assert "| `sum` | 3 | .800 ± .100 | .800 ± .100 | 1.50 | 0.2 | 50 | - |  |" in text
    assert (
        "| `token_fusion` | 3 | .600 ± .100 | .600 ± .100 | - | - | - | - | 40.0 ± 10.0 % |" in text
    )
    assert "over 3 seeds" in text
    assert "between 0.52 and 6.3 times this value" in text
    assert "Trained somehow." in text


def test_fusion_markdown_of_one_seed_has_no_deviation():
    text = fusion_markdown(table_of(sum=[0.7]))
    assert "±" not in text
    assert "One seed" in text


def test_csv_files_have_means_and_every_run():
    table = table_of(sum=[0.7, 0.8], token_fusion=[0.5, 0.7])
    lines = [line for line in fusion_csv(table).splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    assert [row["variant"] for row in rows] == ["sum", "token_fusion"]
    assert float(rows[0]["s_measure_mean"]) == pytest.approx(0.75)
    assert float(rows[1]["exchange_ratio"]) == pytest.approx(0.35)
    runs = list(csv.DictReader(runs_csv(table).splitlines()))
    assert [(row["variant"], row["seed"], row["s_measure"]) for row in runs] == [
        *(("sum", "0", "0.7"), ("sum", "1", "0.8")),
        *(("token_fusion", "0", "0.5"), ("token_fusion", "1", "0.7")),
    ]
