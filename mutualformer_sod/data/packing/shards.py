"""Write tar files of limited size with checksums, and unpack them only below one folder."""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from mutualformer_sod.data.discovery.pairing import DEPTH_SUFFIXES
from mutualformer_sod.errors import InputError, name_list
from mutualformer_sod.files import file_sha256, replacing

File = tuple[str, bytes]  # path of an unpacked file below the root, and its content


def write_shards(
    images: Iterable[Sequence[File]], folder: Path, limit: int
) -> list[dict[str, Any]]:
    """Write the files of images to tar files ``shard_NNNN.tar`` of at most ``limit`` bytes.

    All files of an image are in one shard. A shard appears only when it is complete.

    Returns:
        The name, size in bytes, sha256 and number of files of each shard.

    Raises:
        InputError: the files of an image exceed the limit.
    """
    written, members, size = [], [], 0
    for files in images:
        added, room = [], 0
        for name, data in files:
            member = tarfile.TarInfo(name)  # time 0, so that equal packs have equal sha256
            member.size = len(data)
            added.append((member, data))
            room += len(member.tobuf(tarfile.PAX_FORMAT)) + _whole(len(data), tarfile.BLOCKSIZE)
        if members and _closed_size(size + room) > limit:
            written.append(_write_shard(folder, len(written), members))
            members, size = [], 0
        if _closed_size(room) > limit:
            problem = f"{files[0][0]}: the image is larger than a shard"
            raise InputError(f"{problem}. Fix: pass a larger --shard-mb")
        members += added
        size += room
    return [*written, _write_shard(folder, len(written), members)]


def _write_shard(
    folder: Path, number: int, members: Sequence[tuple[tarfile.TarInfo, bytes]]
) -> dict[str, Any]:
    path = folder / f"shard_{number:04d}.tar"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    data = buffer.getvalue()
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return {"file": path.name, "bytes": len(data), "sha256": sha256, "files": len(members)}


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
