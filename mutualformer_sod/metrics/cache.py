"""Scores of maps seen before, found by the content of the two files and the protocol."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import numpy as np

from mutualformer_sod.metrics.evaluator import MEASURES_VERSION, ImageScores

_BATCH = 200  # new scores between two commits
_WAIT = 60.0  # seconds that a reader waits for a writer
_TABLE = (
    "CREATE TABLE IF NOT EXISTS images"
    " (key BLOB PRIMARY KEY, scores TEXT, quantised BLOB, gt_note TEXT) WITHOUT ROWID"
)


def cache_key(map_content: bytes, gt_content: bytes, normalize: bool) -> bytes:
    """Return the key of a pair of files under a protocol: 32 bytes."""
    key = hashlib.blake2b(digest_size=32)
    key.update(f"{MEASURES_VERSION} normalize={normalize} {len(gt_content)} ".encode())
    key.update(gt_content)
    key.update(map_content)
    return key.digest()


class ScoreCache:
    """A file of scores by key. One process writes; any number may read at the same time.

    A file that cannot be used as a cache is replaced by a new one when opened for writing.

    Args:
        path: the file; made when the first score is kept.
        writable: open for writing.
    """

    def __init__(self, path: Path, writable: bool = False) -> None:
        self.path = path
        self._pending = 0
        self._connection = _open_for_writing(path) if writable else _open_for_reading(path)

    def get(self, key: bytes) -> tuple[ImageScores, str] | None:
        """Return the scores and the note on the ground truth, or None where there are none."""
        if self._connection is None:
            return None
        query = "SELECT scores, quantised, gt_note FROM images WHERE key = ?"
        try:
            row = self._connection.execute(query, (key,)).fetchone()
            if row is None:
                return None
            content = json.loads(row[0])
            quantised = np.frombuffer(row[1], "<u4").astype(np.int64).reshape(2, 256)
            return ImageScores(content["scores"], quantised, tuple(content["flags"])), row[2]
        except (sqlite3.Error, ValueError, KeyError, TypeError):
            return None  # computing anew is always right

    def put(self, key: bytes, image: ImageScores, gt_note: str) -> None:
        """Keep the scores of a pair; they reach the file with the next `flush` or batch."""
        content = json.dumps({"scores": image.scores, "flags": image.flags})
        row = (key, content, image.quantised.astype("<u4").tobytes(), gt_note)
        self._connection.execute("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?)", row)
        self._pending += 1
        if self._pending >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        self._connection.commit()
        self._pending = 0

    def close(self) -> None:
        """Write what is pending and let go of the file."""
        if self._connection is not None:
            self._connection.commit()
            self._connection.close()
            self._connection = None


def _open_for_writing(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError:
        path.unlink()  # not a cache, or a broken one; nothing in it is worth a question
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT)
    try:
        connection.execute(_TABLE)
        connection.execute("SELECT key, scores, quantised, gt_note FROM images LIMIT 1").fetchone()
        connection.commit()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _open_for_reading(path: Path) -> sqlite3.Connection | None:
    if not path.is_file():
        return None
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_WAIT)
