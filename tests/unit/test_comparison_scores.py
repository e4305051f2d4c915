"""Comparison of fusions: scores of each image, their file, and differences between variants."""

import csv
import dataclasses
import gzip
from dataclasses import asdict, replace

import numpy as np
import pytest

from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments import collect, plan
from mutualformer_sod.experiments.collect import FusionTable, Trial
from mutualformer_sod.experiments.image_scores import (
    MEAN_OF_GROUPS,
    METRICS,
    ImageScores,
    differences,
    read_runs,
    read_scores,
    write_scores,
)
from mutualformer_sod.experiments.report import fusion_markdown
from mutualformer_sod.experiments.variants import parse_variants

SOURCES = {"sets": ["A", "B"], "folders": {"A": "one", "B": "two"}}


def scores_of(values, seeds=3, kinds=("right",)):
    """Scores with these S-measures, (images, variants); half of the images in each of two sets."""
    values = np.asarray(values, np.float64)
    images, variants = values.shape
    half = images // 2
    names = [(kind, "A" if i < half else "B", f"im{i}") for kind in kinds for i in range(images)]
    runs = [(f"v{v}", seed) for v in range(variants) for seed in range(seeds)]
    cells = np.zeros((len(names), len(runs), len(METRICS)))
    cells[..., 0] = np.tile(np.repeat(values, seeds, axis=1), (len(kinds), 1))
    return ImageScores(runs, names, cells, SOURCES)


def test_by_group_takes_the_images_of_a_kind():
    scores = scores_of([[0.1], [0.2], [0.3], [0.4]], 1, ("right", "noise"))
    scores.scores[4:] += 0.5
    assert scores.kinds == ["right", "noise"]
    found = {name: values[:, 0, 0].tolist() for name, values in scores.by_group("noise").items()}
    assert found == {"one": [0.6, 0.7], "two": pytest.approx([0.8, 0.9])}


def test_differences_of_equal_variants_are_zero():
    values = np.random.default_rng(0).random((40, 1)).repeat(2, axis=1)
    (found,) = differences(scores_of(values), "v0", draws=500)["one"]
    assert (found.variant, found.mean, found.low, found.high, found.p) == ("v1", 0, 0, 0, 1)


def test_differences_of_a_constant_gain_are_the_gain():
    values = np.random.default_rng(0).random((40, 1)) * [1, 1] + [0.1, 0]
    found = differences(scores_of(values), "v1", draws=500)
    assert set(found) == {"one", "two", MEAN_OF_GROUPS}
    for (item,) in found.values():
        assert (item.mean, item.low, item.high) == pytest.approx((-0.1, -0.1, -0.1))
        assert item.p < 0.05


def test_differences_of_groups_with_common_images_have_no_mean():
    scores = replace(
        scores_of(np.eye(4)[:, :2], kinds=("right", "noise")), sources={"sets": ["A", "B"]}
    )
    assert set(differences(scores, "v0", draws=100)) == {"all", "A", "B"}


def test_differences_draw_the_images_of_all_variants_together():
    images = np.random.default_rng(1).random((60, 1))  # images differ much, the methods little
    values = images + np.random.default_rng(2).normal([0.02, 0], 0.01, (60, 2))
    (item,) = differences(scores_of(values, 1), "v0", draws=500)["one"]
    assert item.high - item.low < 0.02
    assert item.p < 0.05


def test_differences_with_spread_over_seeds_have_the_spread_of_their_means():
    seeds = np.array([-0.03, 0.0, 0.03])
    scores = scores_of(np.full((40, 2), 0.5))
    scores.scores[..., 0] += np.tile(seeds, 2)
    (item,) = differences(scores, "v0", draws=20000)["one"]
    # The difference of two means of three seeds has the deviation sqrt(2 / 3) times one seed's.
    deviation = np.sqrt(2 / 3) * seeds.std(ddof=1)
    assert item.high - item.low == pytest.approx(2 * 1.96 * deviation, rel=0.08)
    assert item.p > 0.5


def test_differences_correct_p_for_the_number_of_variants():
    rng = np.random.default_rng(3)
    values = rng.normal([0.5, 0.47], 0.1, (60, 2))
    alone = differences(scores_of(values, 1), "v0", draws=4000)["two"][0].p
    more = np.concatenate([values, rng.normal(0.5, 0.1, (60, 3))], axis=1)
    (first, *_) = differences(scores_of(more, 1), "v0", draws=4000)["two"]
    assert alone < first.p <= 4 * alone + 0.01


def test_scores_file_holds_the_scores_and_the_record(tmp_path):
    scores = scores_of(np.random.default_rng(0).random((8, 3)), 2, ("right", "noise"))
    write_scores(tmp_path / "x.csv.gz", scores, {"notes": ["grün"]})
    found, record = read_scores(tmp_path / "x.csv.gz")
    assert (found.runs, found.images, found.sources) == (scores.runs, scores.images, SOURCES)
    assert record == {"notes": ["grün"]}
    np.testing.assert_allclose(found.scores, scores.scores, atol=5e-6)


def test_scores_file_is_the_same_for_the_same_scores(tmp_path):
    scores = scores_of(np.ones((4, 1)))
    for name in "ab":
        write_scores(tmp_path / f"{name}.csv.gz", scores, {})
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        gzip.compress(b"no json\nx", mtime=0),
        gzip.compress(b"# [1]\nx,y\n", mtime=0),
        gzip.compress(bytes(range(256)) * 9, mtime=0)[:20] + bytes(40),
    ],
    ids=["empty", "text", "no record", "list", "damaged"],
)
def test_read_scores_of_another_file_raises_one_line(tmp_path, content):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.csv\.gz: not the image scores"):
        read_scores(path)


def test_read_scores_of_a_missing_file_raises_one_line(tmp_path):
    with pytest.raises(InputError, match=r"x\.csv\.gz: no such file"):
        read_scores(tmp_path / "x.csv.gz")


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_read_scores_with_a_score_that_is_no_number_raises_one_line(tmp_path, value):
    path = tmp_path / "x.csv.gz"
    write_scores(path, scores_of(np.full((4, 1), 0.5)), {})
    text = gzip.decompress(path.read_bytes()).decode()
    head, _, last = text.rpartition("0.50000")
    path.write_bytes(gzip.compress(f"{head}{value}{last}".encode()))
    with pytest.raises(InputError, match="NaN or infinite"):
        read_scores(path)


def without_line(path, number):
    """Remove a line of a scores file."""
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    del lines[number]
    path.write_bytes(gzip.compress(b"".join(lines)))


@pytest.mark.parametrize(
    ("line", "missing"), [(2, "A 3 of 4 with right depth"), (-1, "B 3 of 4 with noise depth")]
)
def test_read_scores_without_an_image_of_the_runs_names_its_set(tmp_path, line, missing):
    path = tmp_path / "x.csv.gz"
    write_scores(path, scores_of(np.ones((8, 2)), kinds=("right", "noise")), {})
    without_line(path, line)
    with pytest.raises(InputError, match=rf"x\.csv\.gz: images are missing .*\({missing}\)"):
        read_scores(path)


def test_read_scores_with_an_image_twice_names_it(tmp_path):
    path = tmp_path / "x.csv.gz"
    write_scores(path, scores_of(np.ones((4, 1))), {})
    text = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(text + text.splitlines(keepends=True)[-1]))
    with pytest.raises(InputError, match="B/im3 occurs twice"):
        read_scores(path)


def run_with(folder, seed, stems, kinds):
    (run,) = plan.runs_of(folder, parse_variants(["sum"]), 1)
    run = plan.run_of(folder, run.variant, seed)
    for kind in kinds:
        run.per_image(kind).parent.mkdir(parents=True, exist_ok=True)
        with run.per_image(kind).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["set", "image", "method", *METRICS])
            writer.writerows(["A", stem, "sum", 0.1, 0.2, 0.3, 0.4, 0.5 + seed] for stem in stems)
    return run


def test_read_runs_takes_every_kind_and_run(tmp_path):
    runs = [run_with(tmp_path, seed, "ab", ("right", "noise")) for seed in (0, 1)]
    found = read_runs(runs, ["noise"], SOURCES)
    assert found.images == [(kind, "A", stem) for kind in ("right", "noise") for stem in "ab"]
    assert found.scores[0].tolist() == [[0.1, 0.2, 0.3, 0.4, 0.5 + seed] for seed in (0, 1)]


def test_read_runs_of_other_images_names_the_run(tmp_path):
    runs = [run_with(tmp_path, 0, "ab", ["right"]), run_with(tmp_path, 1, "ac", ["right"])]
    with pytest.raises(InputError, match=r"seed-1: its scored images differ"):
        read_runs(runs, [], SOURCES)


def test_read_runs_without_file_names_it(tmp_path):
    run = run_with(tmp_path, 0, "ab", ["right"])
    with pytest.raises(InputError, match=r"noise\.csv: unreadable"):
        read_runs([run], ["noise"], SOURCES)


@pytest.fixture
def table():
    values = np.random.default_rng(0).random((8, 2)).round(3)
    scores = scores_of(values, 2, ("right", "noise"))
    trials = [
        Trial(
            name,
            seed,
            {
                group: dict(zip(METRICS, values[:, number].mean(axis=0), strict=True))
                | {"images": len(values)}
                for group, values in scores.by_group().items()
            },
            {"exchange_ratio": 0.25},
            2.0,
            ("abc",),
        )
        for number, (name, seed) in enumerate(scores.runs)
    ]
    costs = {"v0": {"parameters": 1e6, "peak_memory": None}}
    return FusionTable(trials, {"v0": "first", "v1": ""}, costs, ["A note."], scores)


def test_image_scores_give_the_same_page(tmp_path, table):
    collect.write_image_scores(tmp_path / "x.csv.gz", table)
    again = collect.read_image_scores(tmp_path / "x.csv.gz")
    assert fusion_markdown(again) == fusion_markdown(table)


def test_fusion_markdown_has_differences_and_misleading_depth(table):
    table.images.scores[8:, :, 0] = 0.2  # with noise
    text = fusion_markdown(table)
    assert "### `v0` minus the others" in text
    assert "|  | Δ S one | Δ S two | Δ S mean |" in text
    right = table.images.by_group()["one"][:, :2, 0].mean()
    row = f"| `v0` | {right:.3f} | .200 | {0.2 - right:+.3f} |"
    assert "### one with misleading depth\n\n|  | S ↑ right | S ↑ noise | worst − right |" in text
    assert row.replace("0.", ".") in text


@pytest.mark.parametrize("seeds", [1, 2])
def test_fusion_markdown_notes_that_one_seed_shows_no_variation(table, seeds):
    kept = [trial for trial in table.trials if trial.variant == "v0" or trial.seed < seeds]
    text = fusion_markdown(dataclasses.replace(table, trials=kept))
    assert ("A variant with one seed" in text) == (seeds == 1)


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({"data": ("a",)}, ["split by scene, about 20% of each set for testing"]),
        ({"data": ("a",), "test_data": ("b",)}, ["other folders"]),
        (
            {"data": ("a",), "test_data": ("b",), "holdout": 0.1, "holdout_sets": ("X", "Y")},
            ["other folders", "split by scene, about 10% of X, Y for testing"],
        ),
    ],
)
def test_report_describes_the_sources_of_the_test_images(options, want):
    assert collect.describe_sources(asdict(plan.Options(**options))) == want
