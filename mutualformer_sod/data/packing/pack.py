"""Pack shrunk sets into a few tar files, and unpack these files on another machine."""

import json
import os
import random
import shlex
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mutualformer_sod.data.depth.disparity import DISPARITY
from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.discovery.fingerprint import data_fingerprint
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets
from mutualformer_sod.data.modality import Encoding
from mutualformer_sod.data.packing.images import encode_sample
from mutualformer_sod.data.packing.shards import File, check_shards, unpack_shard, write_shards
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.files import write_json

STAGING = ".packing"
INDEX_FILE = "index.json"
FORMAT = 1  # version of the index, increased when older code cannot unpack new packs

_AT_ONCE = 64  # number of images encoded before writing, which limits the memory
_MIB = 1 << 20


@dataclass(frozen=True)
class PackOptions:
    """Options of a pack."""

    side: int  # maximum length of the longer side in pixels, 32 or more; images are not enlarged
    quality: int = 85  # JPEG quality, 1 to 100
    share: float = 1.0  # ratio of packed images in each set, in (0, 1]; they are evenly spaced
    seed: int = 0  # seed that decides the first of the evenly spaced images
    shard_mb: float = 15.0  # maximum size of a shard in MiB

    def __post_init__(self) -> None:
        for name, value, good, want in (
            ("side", self.side, self.side >= 32, "32 pixels or more"),
            ("quality", self.quality, 1 <= self.quality <= 100, "1 to 100"),
            ("share", self.share, 0 < self.share <= 1, "a ratio above 0, at most 1"),
            ("shard_mb", self.shard_mb, 0 < self.shard_mb < float("inf"), "a number above 0"),
        ):
            if not good:
                raise InputError(f"`{name}` {value} is out of range. Fix: pass {want}")


def pack_sets(
    roots: Sequence[Path | str],
    names: Sequence[str] | None,
    options: PackOptions,
    output: Path,
    *,
    near: Sequence[str] = (),
    overwrite: bool = False,
    workers: int | None = None,
) -> dict[str, Any]:
    """Write the shards ``output/shard_NNNN.tar``, and then their index ``output/index.json``.

    Members of a shard are ``<path of the set below its root>/<folder>/<stem>.<ext>``. All files of
    a sample are in one shard. Equal images and options give equal bytes with the same version of
    OpenCV. Values of depth are stored unchanged.

    Args:
        names: sets by name or path; None for all sets with colour images, except test sets.
        near: values of ``--near``, see `near.parse_near`.
        workers: number of threads; None uses one thread per core.

    Returns:
        The index: options, sets (name, numbers of packed and of all images, depth encoding),
        fingerprint of the packed originals, shards with sizes and sha256.

    Raises:
        InputError: a set or image is unusable, ``output`` contains a pack and ``overwrite`` is
            false, an image is larger than a shard, or depth may be disparity.
    """
    sets = discover_sets(roots, names, need_rgb=names is not None, split="train")
    by_path = _by_path([item for item in sets if item.has_rgb], roots)
    if _old_files(output) and not overwrite:
        raise InputError(f"{output} contains a pack. Fix: pass `overwrite` or another `output`")
    # All maps decide the encoding, not only the packed maps; `unpack_sets` checks the encoding.
    decided = with_encodings(by_path.values(), near, quiet=True, ask_disparity=True)
    chosen = {
        path: replace(item, samples=_every_kth(item.samples, options, path))
        for path, item in zip(by_path, decided, strict=True)
    }
    work = [(path, sample) for path, item in chosen.items() for sample in item.samples]
    shards = _write_shards(work, options, output, workers or os.cpu_count() or 1)
    index = {
        "format": FORMAT,
        "options": asdict(options),
        "fingerprint": data_fingerprint(chosen.values()),
        "sets": {
            path: {
                "name": item.name,
                "images": len(item.samples),
                "of": len(by_path[path].samples),
                "depth": _coding(item.encoding),
            }
            for path, item in chosen.items()
        },
        "shards": shards,
    }
    write_json(output / INDEX_FILE, index)
    return index


def unpack_sets(
    folder: Path, root: Path, *, overwrite: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Write the files of a pack below ``root``, and compare the sets with the packed sets.

    The checksums of all shards are compared before the first file is written. Existing files of
    equal content are not written again, so that an interrupted run continues.
    ``folder`` has the shards and their index; ``root`` is created if missing.

    Returns:
        The index, and one line for each set whose depth encoding differs from the packed encoding.

    Raises:
        InputError: the folder has no pack; shards are missing, damaged or have paths outside
            ``root``; existing files differ and ``overwrite`` is false; or a set has
            images that are not in the pack.
    """
    index = _read_index(folder)
    check_shards(folder, index["shards"])
    root.mkdir(parents=True, exist_ok=True)
    total = sum(shard["files"] for shard in index["shards"])
    with tqdm(total=total, desc="unpacking", unit="file", disable=None) as bar:
        for shard in index["shards"]:
            unpack_shard(folder / shard["file"], root, overwrite)
            bar.update(shard["files"])
    return index, _compare(index, root)


def _by_path(sets: Sequence[SodSet], roots: Sequence[Path | str]) -> dict[str, SodSet]:
    """Return the sets by their path in the pack; recipes name sets by this path."""
    found: dict[str, SodSet] = {}
    for item in sets:
        root = next(Path(root) for root in roots if item.root.is_relative_to(root))
        path = item.root.relative_to(root).as_posix()
        path = item.name if path == "." else path
        other = found.setdefault(path, item)
        if other is not item:
            problem = f"{other.root} and {item.root} would both be unpacked to {path}"
            raise InputError(f"{problem}. Fix: pack them separately")
    if not found:
        problem = f"--data {' '.join(map(str, roots))}: no set with colour images"
        raise InputError(f"{problem}. Fix: pass a folder of such sets")
    return found


def _write_shards(
    work: Sequence[tuple[str, Sample]], options: PackOptions, output: Path, workers: int
) -> list[dict[str, Any]]:
    """Write all shards, then replace an existing pack; return the index entries of the shards."""

    def encode(item: tuple[str, Sample]) -> list[File]:
        return encode_sample(*item, options.side, options.quality)

    staging = output / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    parts = [work[start : start + _AT_ONCE] for start in range(0, len(work), _AT_ONCE)]
    try:
        with ThreadPoolExecutor(workers) as pool:
            images = chain.from_iterable(pool.map(encode, part) for part in parts)
            bar = tqdm(images, "packing", len(work), unit="image", disable=None)
            shards = write_shards(bar, staging, int(options.shard_mb * _MIB))
        for path in _old_files(output):
            path.unlink()
        for shard in shards:
            (staging / shard["file"]).replace(output / shard["file"])
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return shards


def _old_files(output: Path) -> list[Path]:
    """List the files of a pack, the index first, so that a partly deleted pack is not used."""
    return [*output.glob(INDEX_FILE), *output.glob("shard_*.tar")]


def _every_kth(samples: Sequence[Sample], options: PackOptions, path: str) -> tuple[Sample, ...]:
    """Choose the ratio ``share`` of the images, evenly spaced from a seeded start."""
    count = max(1, round(options.share * len(samples)))
    if count == len(samples):
        return tuple(samples)
    start = random.Random(f"{options.seed} {path}").random()
    return tuple(samples[int((k + start) * len(samples) / count)] for k in range(count))


def _coding(encoding: Encoding | None) -> dict[str, str] | None:
    return None if encoding is None else {"kind": encoding.kind, "near": encoding.near}


def _shown(coding: dict[str, str] | None) -> str:
    return "missing" if coding is None else f"{coding['kind']} with near = {coding['near']}"


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX_FILE
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        good = (
            index["format"] == FORMAT
            and all({"images", "depth"} <= item.keys() for item in index["sets"].values())
            and all({"sha256", "files"} <= shard.keys() for shard in index["shards"])
            and all(Path(shard["file"]).name == shard["file"] for shard in index["shards"])
        )
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Fix: pass --unpack PACK_FOLDER") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        problem = f"{path}: the file is not a pack index of format {FORMAT}"
        raise InputError(f"{problem}. Fix: pack the sets again")
    return index


def _compare(index: dict[str, Any], root: Path) -> list[str]:
    """Find the sets as a training run does, and return a line for each changed depth encoding."""
    paths = list(index["sets"])
    sets = with_encodings(discover_sets([root], paths, need_rgb=True, split="train"), quiet=True)
    remarks = []
    for path, item in zip(paths, sets, strict=True):
        packed = index["sets"][path]
        if len(item.samples) != packed["images"]:
            raise InputError(
                f"{item.root} has {counted(len(item.samples), 'image')}, but the pack has "
                f"{packed['images']}. Fix: move the other images away, or pass another `output`"
            )
        now, before = _coding(item.encoding), packed["depth"]
        noun = item.modality.name if item.modality else "depth"
        if now == before:
            continue
        remedy = f"compare the folder of {noun} with that of the originals"
        if now and before:
            side = DISPARITY if before["kind"] == DISPARITY else before["near"]
            remedy = f"train with --near {shlex.quote(item.name)}={side}"
        problem = f"{path}: {noun} is {_shown(now)}, but {_shown(before)} in the originals"
        remarks.append(f"{problem}. Fix: {remedy}")
    return remarks
