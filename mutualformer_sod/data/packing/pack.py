"""Packs sets, shrunk, into a few tar files that another machine unpacks.

A packed image is what ``--cache ram`` would keep, in the files' own types: colours shrunk by area
average and stored as JPEG; ground truth by area average, then foreground where the average is at
least one half (soft masks may be refused by `imaging.masks`, which thresholds there anyway); depth
by picking pixels, never averaged, in the dtype and values of the original, so that units, holes
and polarity are told from it as before.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from mutualformer_sod.data.depth.units import DepthEncoding, with_encodings
from mutualformer_sod.data.discovery.fingerprint import data_fingerprint
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets
from mutualformer_sod.data.packing.shards import File, ShardWriter, checked_shards, unpack_shard
from mutualformer_sod.data.sample import Sample, read_sample
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import write_json

STAGING = ".packing"
INDEX_FILE = "index.json"
FORMAT = 1  # of the index; raised when an older unpacker would go wrong

_AT_ONCE = 64  # images encoded before they are written: bounds the memory
_MIB = 1 << 20


@dataclass(frozen=True)
class PackOptions:
    """How images are packed.

    Attributes:
        side: pixels of the longer side, at least 32; a smaller image keeps its size.
        quality: of the JPEGs, 1 to 100.
        share: of each set's images that is packed, in (0, 1], evenly spaced in their order.
        seed: decides which image is the first.
        shard_mb: most MiB of one shard.
    """

    side: int
    quality: int = 85
    share: float = 1.0
    seed: int = 0
    shard_mb: float = 15.0

    def __post_init__(self) -> None:
        for flag, value, good, want in (
            ("--side", self.side, self.side >= 32, "32 pixels or more"),
            ("--quality", self.quality, 1 <= self.quality <= 100, "1 to 100"),
            ("--share", self.share, 0 < self.share <= 1, "a share above 0, at most 1"),
            ("--shard-mb", self.shard_mb, 0 < self.shard_mb < float("inf"), "a number of MiB"),
        ):
            if not good:
                raise InputError(f"{flag} {value} is not usable: give {want}")


def pack_sets(
    roots: Sequence[Path | str],
    names: Sequence[str] | None,
    options: PackOptions,
    output: Path,
    *,
    overwrite: bool = False,
    workers: int | None = None,
) -> dict[str, Any]:
    """Write ``output/shard_NNNN.tar`` and, last, ``output/index.json``.

    A shard holds ``<path of the set below its root>/<part>/<stem>.<ext>``, all parts of an image in
    one shard. The same images and options give the same bytes with the same version of OpenCV.

    Args:
        roots: folders of sets.
        names: sets by name or path; None: all that have colour images and are no test sets.
        options: size, quality and share.
        output: folder of the pack.
        overwrite: replace the pack that is there.
        workers: threads; None: one a core.

    Returns:
        The index: options, sets (name, images, of how many, how depth is stored), the fingerprint
        of the packed originals, shards with sizes and sha256.

    Raises:
        InputError: unusable sets or images, a pack there already, an image larger than a shard.
    """
    sets = discover_sets(roots, names, need_rgb=names is not None, split="train")
    by_path = _by_path([item for item in sets if item.has_rgb], roots)
    _claim(output, overwrite)
    # Decided from all maps: the reference for `unpack_sets`.
    decided = with_encodings(by_path.values(), quiet=True)
    by_path = dict(zip(by_path, decided, strict=True))
    chosen = {
        path: replace(item, samples=_every_kth(item.samples, options, path))
        for path, item in by_path.items()
    }
    work = [(path, sample) for path, item in chosen.items() for sample in item.samples]
    # Beside the pack that is there, if any: it goes when the new one is whole.
    staging = output / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    shards = ShardWriter(staging, int(options.shard_mb * _MIB))
    try:
        with (
            ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool,
            tqdm(total=len(work), desc="packing", unit="image", disable=None) as bar,
        ):
            for start in range(0, len(work), _AT_ONCE):
                part = work[start : start + _AT_ONCE]
                for files in pool.map(lambda item: _encode(*item, options), part):
                    shards.add(files)
                    bar.update()
        shards.flush()
        for path in _old_files(output):
            path.unlink()
        for shard in shards.written:
            (staging / shard["file"]).replace(output / shard["file"])
    finally:
        shutil.rmtree(staging, ignore_errors=True)
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
        "shards": shards.written,
    }
    write_json(output / INDEX_FILE, index)
    return index


def unpack_sets(
    folder: Path, root: Path, *, overwrite: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Write the files of a pack below ``root``, and look whether the sets are those packed.

    The checksums of all shards are compared before anything is written. Files that are there
    already with the same content are kept, so that an interrupted run goes on.

    Args:
        folder: of the shards and their index.
        root: folder that gets the sets; made if missing.
        overwrite: replace files of other content.

    Returns:
        The index, and one line for each set whose depth would now be understood otherwise.

    Raises:
        InputError: no pack; shards that are missing, damaged or would write outside ``root``;
            files there of other content or beside those of the pack.
    """
    index = _read_index(folder)
    paths = checked_shards(folder, index["shards"])
    root.mkdir(parents=True, exist_ok=True)
    total = sum(shard["files"] for shard in index["shards"])
    with tqdm(total=total, desc="unpacking", unit="file", disable=None) as bar:
        for path in paths:
            bar.update(unpack_shard(path, root, overwrite=overwrite))
    return index, _compare(index, root)


def _by_path(sets: Sequence[SodSet], roots: Sequence[Path | str]) -> dict[str, SodSet]:
    """The sets by where their files go, which is what recipes name them by."""
    found: dict[str, SodSet] = {}
    for item in sets:
        root = next(Path(root) for root in roots if item.root.is_relative_to(root))
        path = item.root.relative_to(root).as_posix()
        path = item.name if path == "." else path
        other = found.setdefault(path, item)
        if other is not item:
            raise InputError(
                f"{other.root} and {item.root} would both be unpacked to {path}; pack them apart"
            )
    if not found:
        raise InputError(f"--data {' '.join(map(str, roots))}: no set with colour images to pack")
    return found


def _claim(output: Path, overwrite: bool) -> None:
    if _old_files(output) and not overwrite:
        raise InputError(f"{output}: holds a pack: give --overwrite or another --output")


def _old_files(output: Path) -> list[Path]:
    """The index first: shards without one are no pack."""
    return [*output.glob(INDEX_FILE), *output.glob("shard_*.tar")]


def _every_kth(samples: Sequence[Sample], options: PackOptions, path: str) -> tuple[Sample, ...]:
    """A share of the images, evenly spaced, from a seeded start."""
    count = max(1, round(options.share * len(samples)))
    if count == len(samples):
        return tuple(samples)
    start = random.Random(f"{options.seed} {path}").random()
    return tuple(samples[int((k + start) * len(samples) / count)] for k in range(count))


def _encode(path: str, sample: Sample, options: PackOptions) -> list[File]:
    """The files of one image; folders keep the names they have, which may tell the split."""
    rgb, depth, gt = read_sample(sample)
    scale = min(1.0, options.side / max(rgb.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in rgb.shape[:2])
    small = _shrink(rgb, height, width)
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, options.quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    files = [(sample.rgb, ".jpg", _image(".jpg", small[..., ::-1], jpeg))]
    if depth is not None:
        picked = depth
        if depth.shape != (height, width):
            picked = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        if depth.dtype == np.float32:
            buffer = io.BytesIO()
            np.save(buffer, picked, allow_pickle=False)
            files.append((sample.depth, ".npy", buffer.getvalue()))
        else:
            png = _image(".png", picked, [cv2.IMWRITE_PNG_COMPRESSION, 9])
            files.append((sample.depth, ".png", png))
    if gt is not None:
        files.append((sample.gt, ".png", _mask(gt, height, width)))
    return [
        (f"{path}/{source.parent.name}/{sample.stem}{suffix}", data)
        for source, suffix, data in files
    ]


def _mask(gt: np.ndarray, height: int, width: int) -> bytes:
    """A PNG of one bit a pixel."""
    share = _shrink(gt.astype(np.float32), height, width)
    # A hair on a large picture covers half of no pixel; it must not vanish altogether.
    least = min(0.5, float(share.max()))
    binary = (share >= least) & (share > 0)
    flags = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 9]
    return _image(".png", binary.astype(np.uint8) * 255, flags)


def _shrink(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    if plane.shape[:2] == (height, width):
        return plane
    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)


def _image(suffix: str, pixels: np.ndarray, flags: Sequence[int]) -> bytes:
    return cv2.imencode(suffix, np.ascontiguousarray(pixels), flags)[1].tobytes()


def _coding(encoding: DepthEncoding | None) -> dict[str, str] | None:
    return None if encoding is None else {"kind": encoding.kind, "near": encoding.near}


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX_FILE
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        good = index["format"] == FORMAT and all(
            Path(shard["file"]).name == shard["file"] and {"sha256", "files"} <= shard.keys()
            for shard in index["shards"]
        )
        good = good and all({"images", "depth"} <= item.keys() for item in index["sets"].values())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; --unpack wants the folder of a pack") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise InputError(f"{path}: not the index of a pack of format {FORMAT}; pack the sets anew")
    return index


def _compare(index: dict[str, Any], root: Path) -> list[str]:
    """Find the sets as a training run will; say where depth would be understood otherwise."""
    paths = list(index["sets"])
    sets = with_encodings(discover_sets([root], paths, need_rgb=True, split="train"), quiet=True)
    remarks = []
    for path, item in zip(paths, sets, strict=True):
        packed = index["sets"][path]
        if len(item.samples) != packed["images"]:
            raise InputError(
                f"{item.root}: holds {len(item.samples)} images, the pack {packed['images']};"
                " move those of other origin away, or give another --output"
            )
        now = _coding(item.encoding)
        if now != packed["depth"]:
            remarks.append(
                f"{path}: depth is understood as {now}, in the originals as {packed['depth']};"
                " train with --near"
            )
    return remarks
