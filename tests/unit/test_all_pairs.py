"""Tests of the comparison of all methods: sets, missing images, tables, files and diagrams."""

import json

import numpy as np
import pytest

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.per_image import CommonScores, per_image_file, read_common
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.report.all_pairs import compare_all, default_draws, metrics_per_image
from mutualformer_sod.report.all_pairs_tables import latex, markdown, p_text, text, to_json
from mutualformer_sod.report.hypothesis_tests import friedman, nemenyi_cd, paired_bootstrap
from mutualformer_sod.report.rank_plot import plot_ranks

METRICS = ("s_measure", "mae")
KINDS = ("pdf", "png")


def make_table(methods="abc", images=60, gain=0.03, seed=0, total=None) -> CommonScores:
    """Return scores that improve from the first method to the last."""
    rng = np.random.default_rng(seed)
    better = np.linspace(0, gain * (len(methods) - 1), len(methods))
    s = rng.uniform(0.5, 0.8, (images, 1)) + better + rng.normal(0, 0.05, (images, len(methods)))
    return CommonScores(tuple(methods), total or images, {"s_measure": s, "mae": 1 - s})


def compare(tables, metrics=METRICS, draws=500, **more):
    return compare_all(tables, metrics, draws, **more)


def test_compare_all_of_one_set_has_the_values_of_the_tests():
    table = make_table()
    first, second = compare({"SIP": table}).comparisons
    assert (first.metric, second.metric) == METRICS
    scores = table.scores["mae"]
    assert second.ranks.p == friedman(scores, larger_is_better=False).p
    assert second.ranks.ranks == pytest.approx(first.ranks.ranks)  # mae is 1 - s
    assert second.critical_difference == nemenyi_cd(3, 60)
    expected = paired_bootstrap([scores], 500)
    assert second.pairs.p.tolist() == expected.p.tolist()
    assert second.pairs.low == pytest.approx(expected.low, abs=1e-12)
    assert second.means == pytest.approx(scores.mean(axis=0))


def test_compare_all_counts_better_and_worse_in_the_direction_of_the_metric():
    for item in compare({"SIP": make_table(gain=0.2)}).comparisons:
        assert item.better_and_worse() == ([0, 1, 2], [2, 1, 0])
        assert item.groups == []


def test_compare_all_of_identical_methods_finds_no_difference():
    table = make_table()
    same = {name: np.repeat(s[:, :1], 3, axis=1) for name, s in table.scores.items()}
    for item in compare({"SIP": CommonScores(tuple("abc"), 60, same)}).comparisons:
        assert item.pairs.p_holm.tolist() == [1, 1, 1]
        assert item.ranks.p == 1
        assert item.better_and_worse() == ([0, 0, 0], [0, 0, 0])
        assert item.groups == [[0, 1, 2]]


def test_compare_all_without_a_significant_friedman_test_has_one_group():
    scores = np.random.default_rng(10).uniform(size=(20, 10))
    scores[:, :2] += 0.17, -0.17
    table = CommonScores(tuple("abcdefghij"), 20, {"s_measure": scores})
    item = compare({"SIP": table}, ("s_measure",)).comparisons[0]
    assert np.ptp(item.ranks.ranks) > item.critical_difference
    assert item.ranks.p > 0.05 and [sorted(group) for group in item.groups] == [[*range(10)]]


def test_compare_all_over_sets_weighs_sets_equally_and_ranks_over_sets():
    tables = {"A": make_table(images=50), "B": make_table(images=200, seed=1, gain=0.1)}
    found = compare(tables)
    over_all = found.comparisons[4]
    assert (over_all.set_name, over_all.images, over_all.sets) == ("mean of 2 sets", 250, 2)
    means = [table.scores["s_measure"].mean(axis=0) for table in tables.values()]
    assert over_all.means == pytest.approx(np.mean(means, axis=0))
    assert over_all.ranks.blocks == 2
    assert over_all.ranks.ranks.tolist() == friedman(np.array(means)).ranks.tolist()
    groups = [table.scores["s_measure"] for table in tables.values()]
    assert over_all.pairs.high == pytest.approx(paired_bootstrap(groups, 500).high, abs=1e-12)


def test_compare_all_method_of_one_set_alone_is_named_and_left_out_over_sets():
    found = compare({"A": make_table("abc"), "B": make_table("cb")})
    assert found.by_set()["mean of 2 sets"][0].methods == ("b", "c")
    assert "mean of 2 sets: without a, not scored on every set" in found.notes


def test_compare_all_without_a_shared_pair_has_no_row_over_sets():
    found = compare({"A": make_table("ab"), "B": make_table("bc")})
    assert list(found.by_set()) == ["A", "B"]
    assert "mean of 2 sets: not compared: no two methods are scored on every set" in found.notes


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (make_table("a"), "fewer than two methods have scores"),
        (make_table("ab", images=0, total=5), "no image has scores of all methods"),
    ],
    ids=["one method", "no image"],
)
def test_compare_all_set_that_cannot_be_compared_is_noted(table, reason):
    found = compare({"A": table, "B": make_table()})
    assert list(found.by_set()) == ["B"]
    assert found.notes == [f"A: not compared: {reason}"]
    alone = compare({"A": table})
    assert text(alone) == "\n".join(alone.notes)
    assert json.loads(to_json(alone))["comparisons"] == []
    assert markdown(alone) and latex(alone)


@pytest.mark.parametrize(
    ("table", "draws", "note"),
    [
        (
            make_table(images=29),
            500,
            "SIP: fewer than 30 images: p of the bootstrap is not",
        ),
        (make_table(total=64), 500, "SIP: 4 images not compared: some method has no map"),
        (make_table("abcdef"), 500, "SIP: 500 draws are too few for 15 pairs: no pair can be"),
    ],
)
def test_compare_all_weak_comparison_is_noted(table, draws, note):
    (found,) = compare({"SIP": table}, draws=draws).notes
    assert found.startswith(note)


def test_default_draws_let_holm_reject():
    for methods in (2, 15, 30):
        pairs = methods * (methods - 1) / 2
        assert 2 * pairs / (default_draws(methods) + 1) < 0.05


def test_compare_all_calls_each_once_a_comparison():
    calls = []
    compare({"A": make_table(), "B": make_table(seed=1)}, each=lambda: calls.append(1))
    assert len(calls) == 3 * len(METRICS)


def test_metrics_per_image_leaves_out_scores_of_sets():
    assert metrics_per_image(["max_f_of_mean_pr", "mae"]) == ("mae",)
    with pytest.raises(InputError, match=r"`columns` max_f_of_mean_pr.*s_measure"):
        metrics_per_image(["max_f_of_mean_pr"])


def test_p_text_has_three_decimals():
    assert [p_text(p) for p in (1.0, 0.05, 0.001, 0.0009)] == ["1.000", ".050", ".001", "<.001"]


@pytest.fixture(scope="module")
def found():
    return compare({"SIP": make_table(("ours", "b_|%", "c"), gain=0.02)})


def test_text_has_ranks_wins_pairs_draws_and_seed(found):
    shown = text(found)
    item = found.comparisons[0]
    better, worse = item.better_and_worse()
    rows = [line for line in shown.splitlines() if " ours  " in line]
    assert f"  {item.ranks.ranks[0]:.2f} +{better[0]} −{worse[0]}" in rows[0]
    (limits,) = (line for line in shown.splitlines() if "critical difference  " in line)
    assert limits.split()[-2:] == [f"{nemenyi_cd(3, 60):.2f}"] * 2
    t = item.pairs.pairs.tolist().index([0, 2])
    cell = f"{item.pairs.mean[t]:+.4f} ({p_text(item.pairs.p_holm[t])})".replace("0.", ".")
    assert item.significant[t] and f"{cell}*" in shown
    assert "500 draws, seed 0" in shown and "Holm" in shown


def test_text_of_many_pairs_leaves_them_to_the_files():
    many = compare({"SIP": make_table("abcdef")})
    assert "a − b" not in text(many)
    assert "a − b" in markdown(many) and "a $-$ b" in latex(many)


def test_markdown_has_equal_cells_in_each_line_and_bold_significant_pairs(found):
    lines = [line.replace("\\|", "") for line in markdown(found).splitlines() if line[:1] == "|"]
    assert {line.count("|") for line in lines} == {len(METRICS) + 4}
    bold = sum(line.count("**") for line in lines) / 2
    assert bold == sum(item.significant.sum() for item in found.comparisons) > 0


def test_latex_escapes_names_and_marks_significant_pairs(found):
    made = latex(found)
    assert r"b\_\textbar{}\%" in made
    assert r"\providecommand{\sodsignificant}" in made
    marked = made.count(r"\sodsignificant{+") + made.count(r"\sodsignificant{-")
    assert marked == sum(item.significant.sum() for item in found.comparisons)
    rows = [line for line in made.splitlines() if line.endswith(r" \\")]
    assert {line.count(" & ") for line in rows} == {len(METRICS) + 2}
    for name in ("tabular", "longtable"):
        assert made.count(rf"\begin{{{name}}}") == made.count(rf"\end{{{name}}}") == 1


def test_to_json_has_every_pair_at_full_precision(found):
    content = json.loads(to_json(found))
    assert (content["draws"], content["seed"], content["alpha"]) == (500, 0, 0.05)
    entry, item = content["comparisons"][1], found.comparisons[1]
    assert (entry["set"], entry["metric"], entry["images"]) == ("SIP", "mae", 60)
    assert entry["ranks"] == dict(zip(item.methods, item.ranks.ranks, strict=True))
    assert [(p["first"], p["second"]) for p in entry["pairs"]] == [
        *(("ours", "b_|%"), ("ours", "c"), ("b_|%", "c"))
    ]
    assert [p["p_holm"] for p in entry["pairs"]] == item.pairs.p_holm.tolist()


def test_plot_ranks_draws_each_set_and_the_mean(tmp_path):
    pytest.importorskip("matplotlib")
    tables = {"v/A": make_table(("a", "$\\foo$", "c")), "$B$": make_table(("a", "$\\foo$"), 1)}
    plot_ranks(tmp_path, compare(tables, ("mae",), 100))
    names = {f"{name}_ranks.{kind}" for name in ("v_A", "$B$", "mean_of_2_sets") for kind in KINDS}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_draw_ranks_joins_exactly_the_groups_by_bars():
    plt = pytest.importorskip("matplotlib.pyplot")
    from mutualformer_sod.report.rank_plot import BAR_COLOUR, draw_ranks

    item = compare({"SIP": make_table("abcd", gain=0.02, seed=3)}, METRICS[:1]).comparisons[0]
    assert 1 < len(item.groups) < 4
    figure, axes = plt.subplots()
    draw_ranks(axes, item)
    bars = [line.get_xdata() for line in axes.lines if line.get_color() == BAR_COLOUR]
    ranks = item.ranks.ranks
    for (left, right), group in zip(bars, item.groups, strict=True):
        assert left < ranks[group[0]] <= ranks[group[-1]] < right
        others = [r for i, r in enumerate(ranks) if i not in group]
        assert not any(left <= r <= right for r in others)
    labels = {text.get_text() for text in axes.texts}
    assert {f"{m} {r:.2f}" for m, r in zip("abcd", ranks, strict=True)} <= labels
    plt.close(figure)


def test_read_common_takes_the_images_of_all_wanted_methods(tmp_path):
    path = tmp_path / "per_image.csv"
    scores = dict.fromkeys(COLUMNS, 0.5)
    with per_image_file(path) as file:
        for stem, methods in (("1", "abc"), ("2", "ab"), ("3", "a"), ("4", "ba")):
            for method in methods:
                file.write("SIP", stem, method, scores | {"mae": ord(method) + int(stem)}, ())
        file.write("DES", "1", "a", scores, ())
    (table,) = read_common(path, {"SIP": ["b", "a"]}).values()
    assert table.methods == ("b", "a") and (table.images, table.total) == (3, 4)
    assert table.scores["mae"].tolist() == [[99, 98], [100, 99], [102, 101]]
    assert read_common(path, {"DES": ["a"], "NONE": ["a"]}).keys() == {"DES"}
    assert table.of(["a"]).scores["mae"].tolist() == [[98], [99], [101]]
