"""Tar files of bounded size: written whole with a checksum, unpacked only below one folder."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from mutualformer_sod.data.discovery.pairing import DEPTH_SUFFIXES
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing

File = tuple[str, bytes]
"""Path below the root that a file is unpacked to, and its content."""


class ShardWriter:
    """Deals images out to tar files ``shard_NNNN.tar``, each of which appears whole or not at all.

    Args:
        folder: of the shards.
        limit: most bytes of one.

    Attributes:
        written: file, bytes, sha256 and number of files of each shard.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.written: list[dict[str, Any]] = []
        self._folder, self._limit = folder, limit
        self._begin()

    def _begin(self) -> None:
        self._files = 0
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(self, files: Sequence[File]) -> None:
        """Put the files of one image into one shard; InputError if they do not fit into any."""
        members = []
        for name, data in files:
            member = tarfile.TarInfo(name)  # its time stays 0: the same pack, the same sha256
            member.size = len(data)
            members.append((member, data))
        room = sum(
            len(member.tobuf(tarfile.PAX_FORMAT)) + _whole(member.size, tarfile.BLOCKSIZE)
            for member, _ in members
        )
        if self._files and self._closed_size(room) > self._limit:
            self.flush()
        if self._closed_size(room) > self._limit:
            raise InputError(
                f"{files[0][0]}: the image takes more than a shard: give a larger --shard-mb"
            )
        for member, data in members:
            self._tar.addfile(member, io.BytesIO(data))
        self._files += len(members)

    def _closed_size(self, more: int) -> int:
        return _whole(self._tar.offset + more + 2 * tarfile.BLOCKSIZE, tarfile.RECORDSIZE)

    def flush(self) -> None:
        """Write the shard that is open, if anything is in it, and begin the next."""
        self._tar.close()
        if not self._files:
            return
        data = self._buffer.getvalue()
        path = self._folder / f"shard_{len(self.written):04d}.tar"
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        entry = {"file": path.name, "bytes": len(data), "sha256": sha256, "files": self._files}
        self.written.append(entry)
        self._begin()


def checked_shards(folder: Path, shards: Sequence[dict[str, Any]]) -> list[Path]:
    """Paths of the shards that a `ShardWriter` wrote; InputError names all that do not agree."""
    paths, bad = [], []
    for shard in tqdm(shards, "checking", unit="shard", leave=False, disable=None):
        path = folder / shard["file"]
        paths.append(path)
        if not path.is_file():
            bad.append(f"{path.name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != shard["sha256"]:
            bad.append(f"{path.name} is damaged (wrong sha256)")
    if bad:
        more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise InputError(f"{folder}: {', '.join(bad[:10])}{more}; copy these shards again")
    return paths


def unpack_shard(path: Path, root: Path, *, overwrite: bool = False) -> int:
    """Write the files of a shard below ``root``; those there with the same content are kept.

    Returns:
        Number of files in the shard.

    Raises:
        InputError: a file of other content is there and ``overwrite`` is not given; the shard holds
            anything but images of sets, or would write outside ``root``.
    """
    count = 0
    try:
        with tarfile.open(path, "r:") as tar:
            for count, member in enumerate(tar, 1):  # noqa: B007
                target = _target(path, member, root)
                _write(target, tar.extractfile(member).read(), overwrite)
    except tarfile.TarError as error:
        raise InputError(f"{path}: not a shard ({error}); copy it again") from None
    return count


def _write(target: Path, data: bytes, overwrite: bool) -> None:
    if target.is_file() and target.read_bytes() == data:
        return
    if os.path.lexists(target) and not overwrite:
        raise InputError(
            f"{target}: there already, with other content; give --overwrite or another --output"
        )
    with replacing(target) as temporary:
        temporary.write_bytes(data)


def _target(shard: Path, member: tarfile.TarInfo, root: Path) -> Path:
    """Where a member belongs; whoever made the shard must not choose a place outside the root."""
    parts = PurePosixPath(member.name).parts
    target = root.joinpath(*parts)
    is_image = (
        member.isreg()
        and len(parts) >= 3
        and not any(part.startswith((".", "/")) for part in parts)
        and target.suffix.lower() in DEPTH_SUFFIXES
    )
    # Resolved, since a link below the root could still lead elsewhere.
    if not is_image or not target.parent.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"{shard}: {member.name!r} is no image of a set below {root}; do not trust this pack"
        )
    return target


def _whole(size: int, block: int) -> int:
    return -(-size // block) * block
