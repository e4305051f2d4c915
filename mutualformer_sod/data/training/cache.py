"""Cache of decoded, shrunk images, in memory or in one file per set.

An image is decoded once and shrunk by area average, never enlarged. The size limit applies to each
side separately: a large 4:3 image becomes square in the cache, like the network input. The cache
stores colours as uint8, depth in [0, 1] (near = 1, holes filled) as uint16, and the ratio of
foreground in each pixel as uint8. Images from a cache are resized twice, so that they differ
slightly from images that are read from files.

A file begins with a magic number, the CRC of the index, the CRC of the block and the length of the
index, all little-endian. The index follows as JSON. The block of all images extends from the next
multiple of 64 bytes to the end of the file.
"""

import hashlib
import json
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mutualformer_sod.data.depth.encoding import DepthRule
from mutualformer_sod.data.discovery.fingerprint import data_fingerprint
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.sample import Sample, read_sample, shrink
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing
from mutualformer_sod.imaging.io import image_size
from mutualformer_sod.memory import free_memory, free_shared_memory
from mutualformer_sod.workers import in_threads

_MAGIC = b"SODcach1"  # change the digit when the layout changes
_HEAD = struct.Struct("<8sIIQ")
_ALIGNMENT = 64  # bytes; the depth of an image comes first and is read as uint16
_CHUNK = 1 << 24  # bytes of a checksum at once
_SPARE = 0.1  # ratio of the free memory that must remain


@dataclass(frozen=True)
class CacheOptions:
    """Place and size of a cache."""

    mode: str  # "ram" or "disk"
    side: int  # maximum side of a cached image in pixels
    folder: Path | None = None  # folder of the files, for "disk"
    copies: int = 1  # number of processes on this host, each with its own cache in mode "ram"
    shared: bool = False  # whether each process has loader workers that read its cache


class CachedImage(NamedTuple):
    """One cached image, with None for ``depth`` or ``gt`` if the set has no such files."""

    rgb: np.ndarray  # (h, w, 3) uint8, not writable
    depth: np.ndarray | None  # (h, w) float32 in [0, 1], near = 1
    gt: np.ndarray | None  # (h, w) float32 in [0, 1], ratio of foreground
    native_size: tuple[int, int]  # (H, W) of the image file in pixels


class SetCache:
    """The cached images of one set in one block of bytes.

    Colour images of the block are not writable. The block is a tensor, which torch moves to shared
    memory for other processes, or a file, which each process maps into its own memory.
    """

    def __init__(self, index: dict[str, Any], block: torch.Tensor | None, path: Path | None):
        self.index, self.path = index, path
        self._block = block
        self._rows = {stem: row for row, stem in enumerate(index["stems"])}
        self._mapped: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mapped": None}  # a pickled mapping would be a copy

    def read(self, stem: str) -> CachedImage:
        """Return the cached image with this file stem."""
        offset, height, width, *native_size = self.index["images"][self._rows[stem]]
        count = height * width
        part = self._bytes()[offset : offset + count * self.index["pixel"]]
        part.flags.writeable = False
        depth = gt = None
        if self.index["depth"]:
            stored, part = part[: 2 * count], part[2 * count :]
            depth = stored.view("<u2").reshape(height, width) / np.float32(65535)
        rgb = part[: 3 * count].reshape(height, width, 3)
        if self.index["gt"]:
            gt = part[3 * count :].reshape(height, width) / np.float32(255)
        return CachedImage(rgb, depth, gt, tuple(native_size))

    def _bytes(self) -> np.ndarray:
        if self._block is not None:
            # The array is not stored, because torch may move the tensor to shared memory.
            return self._block.numpy()
        if self._mapped is None:
            found = _open_file(self.path, self.index["key"], check=False)
            if found is None:
                raise InputError(f"{self.path}: the cache was removed or changed. Fix: start again")
            self._mapped = found[1]
        return self._mapped


def build_caches(
    sets: Sequence[SodSet],
    options: CacheOptions,
    *,
    depth_rule: DepthRule = "minmax",
    report: Callable[[str], None] = print,
) -> dict[str, SetCache]:
    """Return the cache of each set by name: a new cache, or the cache file of an earlier run.

    A cache file is used only if its checksums are correct, and the options and the source files
    (names, sizes, modification times) have not changed. Otherwise a new cache file is written.
    The sets must have colour images. Sets with maps must have an encoding. Each sample must occur
    only once. ``report`` gets one line per set about the size of the cache.

    Raises:
        InputError: an image is unreadable, or memory or disk space is insufficient.
    """
    caches: dict[str, SetCache] = {}
    missing: list[tuple[SodSet, Path | None, dict[str, Any]]] = []
    for sod_set in sets:
        key = _key(sod_set, options.side, depth_rule)
        path = found = None
        if options.mode == "disk":
            name = re.sub(r"[^A-Za-z0-9.-]+", "_", sod_set.name)
            path = options.folder / f"{name}-{key[:16]}.cache"
            found = _open_file(path, key)
        if found is None:
            missing.append((sod_set, path, _plan(sod_set, options.side, key)))
        else:
            caches[sod_set.name] = SetCache(found[0], None, path)
            report(f"cache: {sod_set.name}: {found[0]['bytes'] / 1e6:.0f} MB in {path}, reused")
    _check_room(sum(index["bytes"] for _, _, index in missing), options)
    for sod_set, path, index in missing:
        report(f"cache: {sod_set.name}: {index['bytes'] / 1e6:.0f} MB in {path or 'memory'}")
        fill = partial(_fill, sod_set, index["images"], depth_rule)
        block = None
        if path is not None:
            _write_file(path, index, fill)
        else:
            block = torch.empty(index["bytes"], dtype=torch.uint8)
            if options.shared:  # shared before filling: a filled block would be copied
                block.share_memory_()
            fill(block.numpy())
        caches[sod_set.name] = SetCache(index, block, path)
    return caches


def _key(sod_set: SodSet, side: int, depth_rule: DepthRule) -> str:
    """Hash the files, encoding, size limit and depth rule, on which the cached images depend."""
    times = [
        path.stat().st_mtime_ns
        for sample in sod_set.samples
        for path in (sample.rgb, sample.depth, sample.gt)
        if path is not None
    ]
    coding = sod_set.encoding and {
        name: getattr(sod_set.encoding, name, None) for name in ("kind", "near", "hole_code")
    }
    parts = [data_fingerprint([sod_set]), times, side, coding, depth_rule]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _plan(sod_set: SodSet, side: int, key: str) -> dict[str, Any]:
    """Return the index of a cache, with the position of each image in the block."""
    samples = sod_set.samples
    pixel = 3 + 2 * sod_set.has_depth + sod_set.has_gt
    sizes = in_threads(lambda sample: image_size(sample.rgb), samples, f"{sod_set.name}: sizes")
    images, end = [], 0
    for size in sizes:
        height, width = (min(length, side) for length in size)
        images.append([end, height, width, *size])
        end += _aligned(height * width * pixel)
    return {
        "key": key,
        "bytes": end,
        "pixel": pixel,
        "depth": sod_set.has_depth,
        "gt": sod_set.has_gt,
        "stems": [sample.stem for sample in samples],
        "images": images,
    }


def _fill(sod_set: SodSet, rows: list[list[int]], depth_rule: DepthRule, block: np.ndarray) -> None:
    """Write all samples of a set to their places in the block."""

    def keep(work: tuple[Sample, list[int]]) -> None:
        sample, (offset, height, width, *native_size) = work
        rgb, raw_depth, gt = read_sample(sample)
        if list(rgb.shape[:2]) != native_size:
            raise InputError(f"{sample.rgb}: the file changed during reading. Fix: start again")
        parts = [shrink(rgb, height, width)]
        if raw_depth is not None:
            unit = sample.modality.to_unit(raw_depth, sod_set.encoding, depth_rule)
            levels = np.rint(shrink(unit, height, width) * 65535).astype("<u2")
            parts.insert(0, levels.view(np.uint8))
        if gt is not None:
            parts.append(shrink(gt.astype(np.uint8) * 255, height, width))
        for part in parts:
            block[offset : offset + part.size] = part.reshape(-1)
            offset += part.size

    in_threads(keep, list(zip(sod_set.samples, rows, strict=True)), f"{sod_set.name}: caching")


def _check_room(wanted: int, options: CacheOptions) -> None:
    if options.mode == "disk":
        options.folder.mkdir(parents=True, exist_ok=True)
        free, what = shutil.disk_usage(options.folder).free, f"the disk of {options.folder}"
        remedy = "pass a smaller --cache-side, or another --cache-dir"
    else:
        free, what = free_memory(), "memory"
        shared = free_shared_memory() if options.shared else None
        if shared is not None and (free is None or shared < free):
            free, what = shared, "shared memory (/dev/shm), where loader processes read the cache,"
        wanted *= options.copies
        remedy = "pass a smaller --cache-side, or --cache disk"
    if free is not None and wanted > free * (1 - _SPARE):
        sizes = f"the images need {wanted / 1e6:.0f} MB, but {what} has {free / 1e6:.0f} MB free"
        raise InputError(f"--cache {options.mode}: {sizes}. Fix: {remedy}")


def _write_file(path: Path, index: dict[str, Any], fill: Callable[[np.ndarray], None]) -> None:
    """Write a cache file, whose block, (``index["bytes"]``,) uint8, is written by ``fill``."""
    text = json.dumps(index).encode()
    start = _aligned(_HEAD.size + len(text))
    with replacing(path, sync=True) as temporary:
        whole = np.memmap(temporary, np.uint8, "w+", shape=(start + index["bytes"],))
        fill(whole[start:])
        head = _HEAD.pack(_MAGIC, zlib.crc32(text), _checksum(whole[start:]), len(text)) + text
        whole[: len(head)] = np.frombuffer(head, np.uint8)
        whole.flush()


def _open_file(
    path: Path, key: str, check: bool = True
) -> tuple[dict[str, Any], np.ndarray] | None:
    """Return the index and the block, (bytes,) uint8, of a cache file as a read-only memory map.

    The result is None if the file is missing or damaged, or has another key. With ``check``, the
    checksum of the images is compared, too.
    """
    try:
        whole = np.memmap(path, np.uint8, "r")
        magic, index_crc, block_crc, length = _HEAD.unpack(whole[: _HEAD.size].tobytes())
        text = whole[_HEAD.size : _HEAD.size + length].tobytes()
        if magic != _MAGIC or zlib.crc32(text) != index_crc:
            return None
        index = json.loads(text)
        block = np.asarray(whole[_aligned(_HEAD.size + length) :])
        if index["key"] != key or len(block) != index["bytes"]:
            return None
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    return None if check and _checksum(block) != block_crc else (index, block)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _checksum(block: np.ndarray) -> int:
    crc = 0
    for begin in range(0, len(block), _CHUNK):
        crc = zlib.crc32(block[begin : begin + _CHUNK], crc)
    return crc
