"""Generate the sample scenes of the page."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mutualformer_sod.data.synthetic.scenes import KINDS, make_scene, scene_stem
from mutualformer_sod.imaging.io import write_image

_SEED = 2027  # seed of scenes outside every training set
_TITLES = {"depth": "depth", "colour": "colour", "either": "both"}
_THUMBNAIL = (160, 120)  # (W, H) of one half


class Sample(NamedTuple):
    """Title and files of one scene."""

    title: str  # modality in which the object is salient
    rgb: Path
    depth: Path
    thumbnail: Path  # shows the depth map below the picture


def make_samples(folder: Path, count: int = 6) -> list[Sample]:
    """Create the folder, and write ``count`` scenes to this folder."""
    folder.mkdir(parents=True)
    return [_write(folder, index) for index in range(count)]


def _write(folder: Path, index: int) -> Sample:
    scene = make_scene(_SEED, index)
    bgr = scene.rgb[..., ::-1]
    grey = np.dstack([scene.depth] * 3)
    halves = [cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA) for image in (bgr, grey)]
    files = []
    for suffix, image in (("", bgr), ("_depth", scene.depth), ("_both", np.vstack(halves))):
        files.append(folder / f"{scene_stem(index)}{suffix}.png")
        write_image(files[-1], image)
    return Sample(_TITLES[KINDS[index % len(KINDS)]], *files)
