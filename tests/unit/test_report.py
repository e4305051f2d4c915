"""Tests of tables, ranks, published rows, comparison and merging."""

import csv
import io
import json

import numpy as np
import pytest

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.per_image import per_image_file
from mutualformer_sod.metrics.results import Results
from mutualformer_sod.report.curves import plot_curves
from mutualformer_sod.report.formats import csv_table, escape_latex, latex_table, markdown_table
from mutualformer_sod.report.published import PUBLISHED, check_published, with_published
from mutualformer_sod.report.significance import compare
from mutualformer_sod.report.tables import (
    Row,
    check_columns,
    default_columns,
    format_score,
    rank_rows,
    text_table,
)

PROTOCOL = {
    "normalize": True,
    "thresholds": 256,
    "aggregation": "mean of curves",
    "resize": "bilinear",
    "version": "0",
}


def row(method: str, s: float, mae: float, set_name: str = "SIP", **more) -> Row:
    return Row(set_name, method, {"s_measure": s, "mae": mae}, 929, **more)


def results(**methods: float) -> Results:
    made = Results(dict(PROTOCOL))
    for method, s in methods.items():
        made.add(method, "SIP", {"images": 929, "s_measure": s}, [])
    return made


def test_default_columns_are_the_metrics_of_papers():
    f, e = (f"max_{name} mean_{name} adaptive_{name}" for name in "fe")
    names = f"s_measure {f} weighted_f {e} mae max_f_of_mean_pr"
    assert " ".join(default_columns()) == names


def test_rank_rows_uses_full_precision_and_direction():
    rows = [row("a", 0.9001, 0.04), row("b", 0.9002, 0.03), row("c", 0.9001, 0.05)]
    assert rank_rows(rows, "s_measure") == [2, 1, 2]
    assert rank_rows(rows, "mae") == [2, 1, 3]


def test_rank_rows_of_two_sets_ranks_within_each():
    rows = [row("a", 0.5, 0.1), row("a", 0.4, 0.1, "DES"), row("b", 0.3, 0.1, "DES")]
    assert rank_rows(rows, "s_measure") == [1, 1, 2]


def test_rank_rows_of_quoted_or_unscored_rows_gives_none():
    rows = [row("paper", 0.99, 0.01, kind="quoted"), row("a", 0.5, 0.1), Row("SIP", "b", {}, 0)]
    assert rank_rows(rows, "s_measure") == [None, 1, None]


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.92249, False, ".922"),
        (1.0, False, "1.000"),
        (None, False, "-"),
        (-0.0123, True, "-.012"),
        (0.5, True, "+.500"),
        (10.5, False, "10.500"),
    ],
)
def test_format_score_omits_the_leading_zero(value, signed, text):
    assert format_score(value, signed=signed) == text


def test_check_columns_unknown_is_refused():
    with pytest.raises(InputError, match=r"nonsense.*s_measure"):
        check_columns(["mae", "nonsense"])


def test_text_table_numbers_marks_as_footnotes():
    rows = [row("a", 0.5, 0.1, marks=("one",)), row("b", 0.4, 0.1, marks=("one", "two"))]
    text = text_table(rows, ["mae"])
    assert "929[1][2]" in text
    assert "[1] one\n[2] two" in text


def test_csv_table_has_full_precision_and_ranks():
    rows = [row("a", 0.123456789012345, 0.1), row("b,c", 0.2, 0.2)]
    lines = csv_table(rows, ["s_measure"], ["the protocol"]).splitlines()
    assert lines[-1] == "# the protocol"
    parsed = list(csv.DictReader(io.StringIO("\n".join(lines[:-1]))))
    assert float(parsed[0]["s_measure"]) == 0.123456789012345
    assert [line["s_measure_rank"] for line in parsed] == ["2", "1"]
    assert parsed[1]["method"] == "b,c"


def test_markdown_table_has_equal_cells_in_each_line():
    rows = [row("a|b", 0.9, 0.1, marks=("mark",)), row("c", 0.8, 0.2), row("d", 0.7, 0.3)]
    lines = markdown_table(rows, default_columns(), ["protocol"]).splitlines()
    table = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table} == {len(default_columns()) + 4}
    assert "**.900**" in table[2] and "<u>.800</u>" in table[3] and "*.700*" in table[4]


def test_latex_table_marks_ranks_and_defines_macros():
    rows = [row("a_b", 0.9, 0.3), row("c%", 0.8, 0.2), row("d", 0.7, 0.1)]
    text = latex_table(rows, ["s_measure", "mae"], ["100 % protocol"])
    assert r"a\_b & \sodbest{.900} & \sodthird{.300} \\" in text
    assert r"c\% & \sodsecond{.800} & \sodsecond{.200} \\" in text
    for macro in (r"\sodbest", r"\sodsecond", r"\sodthird", r"\sodup", r"\soddown"):
        assert rf"\providecommand{{{macro}}}" in text
    assert r"100 \% protocol" in text


def test_escape_latex_escapes_every_special_character():
    assert escape_latex("a&b_c#$%{}~^\\") == (
        r"a\&b\_c\#\$\%\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}"
    )


def test_latex_table_name_with_bracket_begins_no_option():
    rows = [row("a", 0.9, 0.3, "[x]"), row("b", 0.8, 0.2, "[x]")]
    assert r"\\" + "\n[" not in latex_table(rows, ["mae"], ["[y]: protocol"])


def test_markdown_table_escapes_formulas_and_deletions():
    assert r"\$x\$ \~\~y\~\~" in markdown_table([row("$x$ ~~y~~", 0.9, 0.3)], ["mae"], [])


def test_plot_curves_name_with_dollar_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    curve = dict.fromkeys(("precision", "recall", "f", "e"), np.linspace(0, 1, 256))
    plot_curves(tmp_path, {"a$b": {r"$\foo$": curve}}, "protocol")
    assert {path.name for path in tmp_path.iterdir()} == {"a$b.pdf", "a$b.png"}


def test_with_published_marks_rows_and_adds_differences():
    rows = with_published([row("ours", 0.9, 0.04)])
    assert [r.kind for r in rows] == ["measured", "quoted", "quoted", "quoted", "difference"]
    assert all("not measured here" in r.marks[0] for r in rows if r.kind == "quoted")
    assert rows[-1].scores["s_measure"] == pytest.approx(0.9 - 0.894)
    assert rows[-1].scores["mae"] == pytest.approx(0.04 - 0.043)


def test_with_published_chosen_method_names_the_paper_it_was_read_in():
    rows = with_published([row("ours", 0.9, 0.04)], check_published(["LSNet", "Samba"]))
    assert [r.method for r in rows] == ["ours", "LSNet†", "Samba†", "ours − LSNet†"]
    assert "quoted from SATNet, TIP 2025" in rows[1].marks[0]
    assert rows[1].scores == {"s_measure": 0.886, "mae": 0.049}
    assert rows[2].scores == {"s_measure": 0.931}


def test_check_published_all_has_every_method_once():
    assert len(check_published(["all"])) == len(set(PUBLISHED)) == 15


def test_check_published_unknown_method_is_refused():
    with pytest.raises(InputError, match=r"`published` U2Net: no scores .*DFormer-L"):
        check_published(["U2Net"])


def test_with_published_other_set_is_unchanged():
    assert len(with_published([row("ours", 0.9, 0.04, "HOTS")])) == 1


def test_compare_gives_mean_and_bootstrap_interval():
    rng = np.random.default_rng(0)
    second = rng.uniform(0.3, 0.9, 200)
    first = second + rng.normal(0.02, 0.05, 200)
    (found,) = compare({"s_measure": first}, {"s_measure": second})
    assert found.mean == pytest.approx((first - second).mean())
    error = (first - second).std(ddof=1) / np.sqrt(200)
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.2 * error)
    assert found.settled
    assert found.better == int((first > second).sum())


def test_compare_smaller_mae_counts_as_better():
    (found,) = compare({"mae": np.full(9, 0.1)}, {"mae": np.full(9, 0.2)})
    assert (found.better, found.worse) == (9, 0)


def test_results_read_equals_written(tmp_path):
    made = results(ours=0.9)
    made.add("theirs", "SIP", {}, ["3 of 929 images without a usable map"])
    (tmp_path / "scores.json").write_text(made.to_json())
    again = Results.read(tmp_path / "scores.json")
    assert again.rows() == made.rows()
    assert again.protocol_lines() == made.protocol_lines()


def test_merge_has_the_cells_of_both():
    merged = results(ours=0.9)
    merged.merge(results(theirs=0.8), "B.json")
    assert [r.method for r in merged.rows()] == ["ours", "theirs"]


def test_merge_other_protocol_is_refused_by_name():
    other = results(theirs=0.8)
    other.protocol["normalize"] = False
    with pytest.raises(InputError, match=r"B\.json.*normalize: True against False"):
        results(ours=0.9).merge(other, "B.json")


def test_merge_other_scores_of_a_cell_is_refused():
    with pytest.raises(InputError, match="ours on SIP"):
        results(ours=0.9).merge(results(ours=0.8), "B.json")


def test_merge_other_weights_of_a_method_is_refused():
    first, second = results(ours=0.9), Results(dict(PROTOCOL))
    second.add("ours", "DES", {"images": 135, "s_measure": 0.9}, [])
    first.protocol["training"] = {"ours": {"epoch": 1}}
    second.protocol["training"] = {"ours": {"epoch": 2}}
    with pytest.raises(InputError, match=r"B\.json.*ours"):
        first.merge(second, "B.json")


def test_protocol_lines_with_test_images_in_the_training_report_their_number():
    made = results(ours=0.9)
    record = {
        "train_images": {"NJU2K": 1485},
        "name": "custom",
        "choice": "last epoch",
        "epoch": 60,
        "epochs": 60,
        "seed": 0,
        "size": 384,
        "test_images_trained_on": {"SIP": 12},
    }
    made.protocol["training"] = {"ours": record}
    assert made.protocol_lines()[-1].endswith("; TRAINED ON 12 IMAGES OF THE TEST SET SIP")
    record["test_images_trained_on"] = {}
    assert made.protocol_lines()[-1].endswith("384 px")


def test_compare_one_image_is_not_settled():
    (found,) = compare({"mae": np.array([0.1])}, {"mae": np.array([0.2])})
    assert not found.settled


@pytest.mark.parametrize(
    "part",
    [
        {"marks": {"ours": {"SIP": 5}}},
        {"marks": {"ours": {"SIP": [5]}}},
        {"notes": [5]},
        {"protocol": PROTOCOL | {"resized": {"ours/SIP": "x"}}},
        {"protocol": PROTOCOL | {"resized": []}},
        {"protocol": PROTOCOL | {"training": []}},
    ],
)
def test_results_read_wrong_types_are_refused(tmp_path, part):
    content = json.loads(results(ours=0.9).to_json()) | part
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"other\.json"):
        Results.read(tmp_path / "other.json")


@pytest.mark.parametrize("text", ["", "[]", '{"protocol": {}}', '{"scores": 1, "protocol": {}}'])
def test_results_read_other_file_is_refused(tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(InputError, match=r"other\.json"):
        Results.read(tmp_path / "other.json")


def test_to_json_nan_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        results(ours=float("nan")).to_json()


def test_to_json_has_the_documented_form():
    content = json.loads(results(ours=0.9).to_json())
    assert content["scores"]["ours"]["SIP"] == {"images": 929, "s_measure": 0.9}


def test_per_image_file_interrupted_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), per_image_file(tmp_path / "per_image.csv"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
