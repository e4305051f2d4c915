"""Tests of the means over the sequences of a video set."""

import pytest

from mutualformer_sod.metrics.results import Results, scoring_protocol
from mutualformer_sod.metrics.sequences import add_sequence_means


@pytest.fixture
def results():
    return Results(scoring_protocol("0"))


def test_add_sequence_means_averages_the_sets_of_a_folder(results):
    results.add("ours", "V/a", {"images": 100, "mae": 0.1}, [])
    results.add("ours", "V/b", {"images": 2, "mae": 0.3}, [])
    results.add("ours", "SIP", {"images": 9, "mae": 0.9}, [])
    add_sequence_means(results)
    assert results.scores["ours"]["V (2 sequences)"] == {"images": 102, "mae": 0.2}
    assert len(results.scores["ours"]) == 4
    assert [row.set_name for row in results.rows()][-1] == "V (2 sequences)"


def test_add_sequence_means_sets_without_folder_are_one_group(results):
    for name, value in (("a", 0.25), ("b", 0.75)):
        results.add("ours", name, {"images": 1, "mae": value}, [])
    add_sequence_means(results)
    assert results.scores["ours"]["all (2 sequences)"]["mae"] == 0.5


def test_add_sequence_means_missing_sequence_gives_a_mark(results):
    results.add("ours", "V/a", {"images": 1, "mae": 0.1}, [])
    results.add("ours", "V/b", {}, ["no map"])
    add_sequence_means(results)
    assert "V (2 sequences)" not in results.scores["ours"]
    assert results.marks["ours"]["V (2 sequences)"] == ["1 of 2 sequences have scores"]
