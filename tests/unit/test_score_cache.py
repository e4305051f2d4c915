"""Tests of the score cache: equal files give equal scores, every change is noticed."""

import contextlib
import sqlite3

import numpy as np
import pytest

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics import cache as cache_module
from mutualformer_sod.metrics.cache import ScoreCache, cache_key
from mutualformer_sod.metrics.evaluator import score_image

IMAGE = score_image(np.arange(64, dtype=np.uint8).reshape(8, 8), np.eye(8, dtype=bool))


@pytest.fixture
def kept(tmp_path):
    """Path of a closed cache with one entry."""
    path = tmp_path / "cache.sqlite"
    cache = ScoreCache(path, writable=True)
    cache.put(cache_key(b"map", b"gt", True), IMAGE, "a note")
    cache.close()
    return path


def test_cache_get_gives_equal_scores(kept):
    image, note = ScoreCache(kept).get(cache_key(b"map", b"gt", True))
    assert image.scores == IMAGE.scores
    assert image.flags == IMAGE.flags
    assert note == "a note"
    np.testing.assert_array_equal(image.quantised, IMAGE.quantised)


@pytest.mark.parametrize(
    "pair",
    [(b"mop", b"gt", True), (b"map", b"gT", True), (b"map", b"gt", False), (b"p", b"gtma", True)],
)
def test_cache_key_differs_by_map_gt_and_protocol(kept, pair):
    assert ScoreCache(kept).get(cache_key(*pair)) is None


def test_cache_get_without_file_gives_none(tmp_path):
    assert ScoreCache(tmp_path / "absent").get(cache_key(b"map", b"gt", True)) is None


def test_cache_broken_file_is_replaced(kept):
    kept.write_bytes(b"this is no database at all, but long enough to be taken for one" * 20)
    cache = ScoreCache(kept, writable=True)
    cache.put(b"key", IMAGE, "")
    cache.close()
    assert ScoreCache(kept).get(b"key")[0].scores == IMAGE.scores


def test_cache_damaged_row_counts_as_absent(kept):
    with sqlite3.connect(kept) as table:
        table.execute("UPDATE images SET scores = replace(scores, '0.', '0.1')")
    assert ScoreCache(kept).get(cache_key(b"map", b"gt", True)) is None


def test_cache_two_writers_store_both(kept):
    first, second = ScoreCache(kept, writable=True), ScoreCache(kept, writable=True)
    first.put(b"one", IMAGE, "")
    second.put(b"two", IMAGE, "")
    second.close()
    first.close()
    assert not first.failure and not second.failure
    assert ScoreCache(kept).get(b"one") and ScoreCache(kept).get(b"two")


def test_cache_locked_file_is_refused_and_unchanged(kept, monkeypatch):
    monkeypatch.setattr(cache_module, "WAIT", 0.01)
    with contextlib.closing(sqlite3.connect(kept)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match=r"cache\.sqlite.*--no-cache"):
            ScoreCache(kept, writable=True)
    assert ScoreCache(kept).get(cache_key(b"map", b"gt", True)) is not None


def test_cache_failed_write_is_reported(kept, monkeypatch):
    monkeypatch.setattr(cache_module, "WAIT", 0.01)
    cache = ScoreCache(kept, writable=True)
    with contextlib.closing(sqlite3.connect(kept)) as other:
        other.execute("BEGIN EXCLUSIVE")
        cache.put(b"key", IMAGE, "")
        cache.close()
    assert "locked" in cache.failure
