"""The output folder of a command, with a check of its files, a record of settings and a lock."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import write_json


class OutputFolder:
    """An output folder with a record of the settings on which the other files depend.

    Args:
        path: the folder; it need not exist.
        record_file: name of the JSON record in the folder.
        content: name of the folder's content in messages, for example "run".
    """

    def __init__(self, path: Path, record_file: str, content: str) -> None:
        self.path, self.content = path, content
        self.record_file = path / record_file

    @property
    def is_begun(self) -> bool:
        """Whether the folder has a record."""
        return self.record_file.exists()

    def refuse_foreign(self) -> None:
        """Raise InputError if the path is a file, or a folder with files but no record.

        Hidden files are ignored: the lock, and incomplete files of a process that was killed.
        """
        if not self.path.exists() or self.is_begun:
            return
        is_folder = self.path.is_dir()
        if not is_folder or any(not item.name.startswith(".") for item in self.path.iterdir()):
            raise InputError(
                f"`output` {self.path}: is not an empty folder, and has no {self.content} in it. "
                "Fix: pass a new folder."
            )

    def read(self, **entries: type) -> dict[str, Any] | None:
        """Return the record, or None if it is missing or damaged.

        A record without one of ``entries``, or with an entry of another type, counts as damaged.
        """
        try:
            record = json.loads(self.record_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # ValueError: not UTF-8, or not JSON
            return None
        is_whole = isinstance(record, dict) and all(
            isinstance(record.get(name), kind) for name, kind in entries.items()
        )
        return record if is_whole else None

    def write(self, record: dict[str, Any]) -> None:
        """Write the record, in place of an earlier record."""
        write_json(self.record_file, record)

    def claim(self, settings: dict[str, Any]) -> None:
        """Write the settings to the record; raise InputError if the folder has other settings."""
        self.refuse_foreign()
        if self.is_begun and (different := changed(self.read() or {}, settings)):
            raise InputError(
                f"`output` {self.path}: the value of {different[0]} differs "
                f"from the value in the existing {self.content}. "
                "Fix: pass another folder, or delete this folder."
            )
        self.write(settings)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Context that creates and locks the folder.

        Raises:
            InputError: another process has the lock.
        """
        from filelock import FileLock, Timeout  # imported here, because few commands lock a folder

        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.path / ".lock", timeout=0).acquire()
        except Timeout:
            raise InputError(
                f"`output` {self.path}: is in use by another process. Fix: wait, or "
                "pass another folder."
            ) from None
        with lock:
            yield


def changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the names of the settings in ``now`` that differ from a record read from JSON."""
    plain = json.loads(json.dumps(now))  # tuples become lists
    return [name for name, value in plain.items() if before.get(name) != value]
