"""Cache scores by the protocol and the content of an image's files."""

import hashlib
import json
import logging
import sqlite3
from pathlib import Path

import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.evaluator import SCORES_VERSION, ImageScores
from mutualformer_sod.metrics.registry import of_kind, per_image_columns

_BATCH = 200  # new scores between two commits
WAIT = 60.0  # seconds to wait for another process; a write takes milliseconds
_TABLE = (
    "CREATE TABLE IF NOT EXISTS images"
    " (key BLOB PRIMARY KEY, scores TEXT, quantised BLOB, gt_note TEXT, checksum BLOB)"
    " WITHOUT ROWID"
)
_COLUMNS = "scores, quantised, gt_note, checksum"
_log = logging.getLogger(__name__)


def cache_key(
    map_content: bytes, gt_content: bytes, normalize: bool, rgb_content: bytes = b""
) -> bytes:
    """Return the key, 32 bytes, of a map and a ground truth under a protocol.

    ``rgb_content`` is empty unless a metric reads the colour image.
    """
    key = hashlib.blake2b(digest_size=32)
    key.update(f"{SCORES_VERSION} normalize={normalize} {len(gt_content)} ".encode())
    key.update(gt_content)
    if rgb_content:
        key.update(f"{len(rgb_content)} ".encode() + rgb_content)
    key.update(map_content)
    return key.digest()


class ScoreCache:
    """Score file that any number of processes may read and write at the same time.

    Opening for writing creates a missing file and replaces an unusable file. A row with a wrong
    checksum, or without the scores of a registered metric, counts as missing.

    Attributes:
        failure: reason why scores were not stored, or "". The evaluation continues after a failure.

    Raises:
        InputError: another process locks the file, or the file cannot be created.
    """

    def __init__(self, path: Path, writable: bool = False) -> None:
        self.path = path
        self.failure = ""
        # Scores are written in one short transaction: an open transaction blocks other runs.
        self._pending: list[tuple[bytes, str, bytes, str, bytes]] = []
        self._connection: sqlite3.Connection | None = None
        if writable:
            self._connection = _open_for_writing(path)
        elif path.is_file():
            address = f"{path.resolve().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(address, uri=True, timeout=WAIT)

    def get(self, key: bytes) -> tuple[ImageScores, str] | None:
        """Return the scores and the note on the ground truth, or None if they are absent."""
        if self._connection is None:
            return None
        query = f"SELECT {_COLUMNS} FROM images WHERE key = ?"
        try:
            row = self._connection.execute(query, (key,)).fetchone()
            if row is None or row[3] != _checksum(key, *row[:3]):
                return None
            content = json.loads(row[0])
            curves = {name: np.array(c) for name, c in content.get("map_curves", {}).items()}
            wanted = {metric.name for metric in of_kind("map_curve")}
            if not (content["scores"].keys() >= {*per_image_columns()} and curves.keys() >= wanted):
                return None
            quantised = np.frombuffer(row[1], "<u4").astype(np.int64).reshape(2, 256)
            flags = tuple(content["flags"])
            return ImageScores(content["scores"], quantised, flags, curves), row[2]
        except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError):
            return None  # the scores are computed again

    def put(self, key: bytes, image: ImageScores, gt_note: str) -> None:
        """Store the scores of a pair until `flush` or a full batch writes them to the file."""
        content = {"scores": image.scores, "flags": image.flags}
        if image.map_curves:
            content["map_curves"] = {name: c.tolist() for name, c in image.map_curves.items()}
        row = json.dumps(content), image.quantised.astype("<u4").tobytes(), gt_note
        self._pending.append((key, *row, _checksum(key, *row)))
        if len(self._pending) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write the pending scores, or store the reason for a failure in `failure`."""
        rows, self._pending = self._pending, []
        if not rows or self.failure:
            return
        try:
            with self._connection:
                insert = "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?)"
                self._connection.executemany(insert, rows)
        except sqlite3.Error as error:
            self.failure = f"{self.path}: scores were not stored: {error}. Fix: delete the file."

    def close(self) -> None:
        """Write the pending scores, close the file, and log the reason for a failure."""
        if self._connection is not None:
            self.flush()
            self._connection.close()
            self._connection = None
            if self.failure:
                _log.warning("%s", self.failure)


def _checksum(key: bytes, scores: str, quantised: bytes, gt_note: str) -> bytes:
    """Return the checksum of a row, which reveals a wrong digit in a damaged file."""
    content = key + scores.encode() + quantised + gt_note.encode()
    return hashlib.blake2b(content, digest_size=8).digest()


def _open_for_writing(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise InputError(
                f"{path}: is locked by another program. Fix: end that program, or pass --no-cache."
            ) from error
    # The file is not a cache, is damaged or was written by an older version. Lost scores can be
    # computed again.
    for name in (path.name, f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)
    try:
        return _connect(path)
    except sqlite3.Error as error:
        raise InputError(f"{path}: cannot be written: {error}. Fix: pass --no-cache.") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT)
    try:
        connection.execute(_TABLE)
        connection.execute(f"SELECT key, {_COLUMNS} FROM images LIMIT 1").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
