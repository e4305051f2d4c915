"""Generate the sample scenes of the page."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.data.synthetic.scenes import KINDS, make_scene, scene_stem

SEED = 2027
"""Seed of scenes outside every training set."""

_TITLES = {"depth": "depth", "colour": "colour", "either": "both"}
_THUMBNAIL = (160, 120)  # (W, H) of one half


@dataclass(frozen=True)
class Sample:
    """One scene.

    Attributes:
        title: the modality in which its object is salient: depth, colour or both.
        rgb: file of the picture.
        depth: file of its depth map.
        thumbnail: file with the depth map below the picture.
    """

    title: str
    rgb: Path
    depth: Path
    thumbnail: Path


def make_samples(folder: Path, count: int = 6) -> list[Sample]:
    """Make a folder and write ``count`` scenes into it."""
    folder.mkdir(parents=True)
    return [_write(folder, index) for index in range(count)]


def _write(folder: Path, index: int) -> Sample:
    scene = make_scene(SEED, index)
    stem = scene_stem(index)
    bgr = scene.rgb[..., ::-1]
    grey = np.dstack([scene.depth] * 3)
    halves = [cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA) for image in (bgr, grey)]
    files = [folder / f"{stem}{suffix}" for suffix in (".png", "_depth.png", "_both.png")]
    for file, image in zip(files, (bgr, scene.depth, np.vstack(halves)), strict=True):
        file.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return Sample(_TITLES[KINDS[index % len(KINDS)]], *files)
