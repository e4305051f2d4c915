"""Write tar files of limited size with checksums, and unpack them only below one folder."""

import hashlib
import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from mutualformer_sod.data.discovery.pairing import DEPTH_SUFFIXES
from mutualformer_sod.errors import InputError, name_list
from mutualformer_sod.files import file_sha256, replacing

File = tuple[str, bytes]  # path of an unpacked file below the root, and its content


class ShardWriter:
    """Write images to tar files ``shard_NNNN.tar`` of at most ``limit`` bytes.

    A shard appears only when it is complete.
    ``written`` has the name, size in bytes, sha256 and number of files of each written shard.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.written: list[dict[str, Any]] = []
        self._folder, self._limit = folder, limit
        self._members: list[tuple[tarfile.TarInfo, bytes]] = []  # of the open shard
        self._size = 0  # bytes of these members

    def add(self, files: Sequence[File]) -> None:
        """Add the files of one image to a shard; raise InputError if the files exceed the limit."""
        members, room = [], 0
        for name, data in files:
            member = tarfile.TarInfo(name)  # time 0, so that equal packs have equal sha256
            member.size = len(data)
            members.append((member, data))
            room += len(member.tobuf(tarfile.PAX_FORMAT)) + _whole(len(data), tarfile.BLOCKSIZE)
        if _closed_size(self._size + room) > self._limit:
            self.flush()
        if _closed_size(room) > self._limit:
            problem = f"{files[0][0]}: the image is larger than a shard"
            raise InputError(f"{problem}. Fix: pass a larger --shard-mb")
        self._members += members
        self._size += room

    def flush(self) -> None:
        """Write the open shard and begin the next shard; do nothing if the open shard is empty."""
        if not self._members:
            return
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for member, content in self._members:
                tar.addfile(member, io.BytesIO(content))
        data = buffer.getvalue()
        path = self._folder / f"shard_{len(self.written):04d}.tar"
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        sha256, files = hashlib.sha256(data).hexdigest(), len(self._members)
        self.written.append(
            {"file": path.name, "bytes": len(data), "sha256": sha256, "files": files}
        )
        self._members, self._size = [], 0


def check_shards(folder: Path, shards: Sequence[dict[str, Any]]) -> None:
    """Raise an InputError that lists missing or damaged shards."""
    bad = []
    for shard in tqdm(shards, "checking", unit="shard", leave=False, disable=None):
        path = folder / shard["file"]
        if not path.is_file():
            bad.append(f"{path.name} is missing")
        elif file_sha256(path) != shard["sha256"]:
            bad.append(f"{path.name} is damaged (wrong sha256)")
    if bad:
        raise InputError(f"{folder}: {name_list(bad)}. Fix: copy these shards again")


def unpack_shard(path: Path, root: Path, overwrite: bool) -> None:
    """Write the files of a shard below ``root``, except files that exist with equal content.

    Raises:
        InputError: an existing file has other content and ``overwrite`` is false, or a member of
            the shard is outside ``root`` or is not an image of a set.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                target = _target(path, member, root)
                data = tar.extractfile(member).read()
                if target.is_file() and target.read_bytes() == data:
                    continue
                if os.path.lexists(target) and not overwrite:
                    problem = f"{target}: the file exists with other content"
                    raise InputError(f"{problem}. Fix: pass `overwrite` or another `output`")
                with replacing(target) as temporary:
                    temporary.write_bytes(data)
    except tarfile.TarError as error:
        raise InputError(f"{path} is not a shard ({error}). Fix: copy the shard again") from None


def _target(shard: Path, member: tarfile.TarInfo, root: Path) -> Path:
    """Return the target path of a member, and refuse paths outside the root."""
    parts = PurePosixPath(member.name).parts
    target = root.joinpath(*parts)
    is_image = (
        member.isreg()
        and len(parts) >= 3
        and not any(part.startswith((".", "/")) for part in parts)
        and target.suffix.lower() in DEPTH_SUFFIXES
    )
    # The target is resolved, because a link below the root may lead outside.
    if not is_image or not target.parent.resolve().is_relative_to(root.resolve()):
        problem = f"{shard}: {member.name!r} is not an image of a set below {root}"
        raise InputError(f"{problem}. Fix: do not use this pack")
    return target


def _closed_size(size: int) -> int:
    """Return the size of a tar file with members of ``size`` bytes in all."""
    return _whole(size + 2 * tarfile.BLOCKSIZE, tarfile.RECORDSIZE)


def _whole(size: int, block: int) -> int:
    return -(-size // block) * block
