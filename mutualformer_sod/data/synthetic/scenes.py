"""Generated scenes whose salient object is visible in colour only, in depth only, or in both.

Each scene has three to five regions from one distribution of shapes, sizes and places. A region
chosen at random is the salient object. The kind of the scene decides how this object differs from
the other regions:

==========  ==============================================  =====================================
kind        colour                                          depth
==========  ==============================================  =====================================
``depth``   no cue: regions are hidden in the background    the object is nearer than the others
            or have strong colours at random
``colour``  one region has a strong colour, the others are  no cue: flat regions and small
            like the background                             differences at random
``either``  as in ``colour``                                as in ``depth``
==========  ==============================================  =====================================

A model that sees one modality can therefore only guess on a third of the scenes.

With the modality "thermal" a thermal image replaces the depth map: the object is warmer or colder
than the other regions. Colour and ground truth equal those of the depth scene of the same seed.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mutualformer_sod.data.modality import DEPTH, THERMAL
from mutualformer_sod.data.synthetic import drawing
from mutualformer_sod.data.synthetic.drawing import FAMILIES, OCCLUDING_HEIGHT, Appearance
from mutualformer_sod.data.synthetic.shapes import Random, place_regions
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import write_image
from mutualformer_sod.output_folder import OutputFolder

KINDS = ("depth", "colour", "either")
SET_NAME = "SAMPLES"
DEFAULT_SIZE = (240, 320)
SENSORS = {
    "depth": (DEPTH, SET_NAME, drawing.sense),
    "thermal": (THERMAL, f"{SET_NAME}-T", drawing.sense_heat),
}
"""Modality, name of the set and sensor function for each name of a second modality."""

GENERATOR_VERSION = 1  # increased when the scenes of a seed change
_STRONG_HEIGHT = (OCCLUDING_HEIGHT, 75.0)  # grey levels of the object above the background
_MILD_HEIGHT = 16.0  # maximum absolute height of any other region
_STRONG_COLOUR = 190.0  # minimum L1 distance (RGB levels) from the background's mean colour
_MUTED_COLOUR = 22.0  # maximum difference per channel from the background's colours


@dataclass(frozen=True)
class Scene:
    """One generated scene."""

    rgb: np.ndarray  # (H, W, 3) uint8, RGB order
    depth: np.ndarray  # (H, W) uint8, of `drawing.sense` or `drawing.sense_heat`
    gt: np.ndarray  # (H, W) bool, the salient object, 3 to 35 % of the image
    # (H, W) uint8, the number of the object or distractor at each pixel in the order of placement,
    # not of salience; 0 for the background.
    regions: np.ndarray
    kind: str  # the modality that shows the object: "depth" (or "thermal"), "colour" or "either"


def make_scene(
    seed: int, index: int, size: tuple[int, int] = DEFAULT_SIZE, modality: str = "depth"
) -> Scene:
    """Draw scene ``index`` of the series ``seed``, of the kind ``KINDS[index % 3]``.

    Scenes are independent of each other. Two series with seeds below 2^32 share no scene.

    Args:
        size: (H, W) in pixels, each at least 64.
        modality: a key of ``SENSORS``; this name replaces "depth" in the kind of the scene.

    Raises:
        InputError: a negative seed or index, a side below 64, or an unknown modality.
    """
    if modality not in SENSORS:
        problem = f"`modality` {modality!r} has no generated scenes"
        raise InputError(f"{problem}. Fix: pass one of {', '.join(SENSORS)}.")
    if seed < 0 or index < 0:
        raise InputError(f"seed {seed} or index {index} is negative. Fix: pass 0 or more")
    if min(size) < 64:
        problem = f"size {size[0]}x{size[1]} is too small for a scene"
        raise InputError(f"{problem}. Fix: pass at least 64x64")
    random = Random(seed, index)
    kind = KINDS[index % len(KINDS)]
    regions, count = place_regions(random, size)
    salient = random.integer(count)
    gt = regions == salient + 1
    rgb = drawing.paint(random, regions, *_appearances(random, kind, count, salient))
    _, _, sense = SENSORS[modality]
    depth = sense(random, regions, _heights(random, kind, count, salient))
    return Scene(rgb, depth, gt, regions, _kind(index, modality))


def scene_stem(index: int, modality: str = "depth") -> str:
    """Return the file stem of scene ``index``, such as ``scene_00012_depth``."""
    return f"scene_{index:05d}_{_kind(index, modality)}"


def write_samples(
    output_dir: Path | str,
    count: int,
    seed: int,
    *,
    size: tuple[int, int] = DEFAULT_SIZE,
    overwrite: bool = False,
    modality: str = "depth",
) -> Path:
    """Write scenes as ``<output_dir>/SAMPLES/{RGB,depth,GT}/<stem>.png``; return ``SAMPLES``.

    Thermal scenes are written to ``SAMPLES-T/{RGB,T,GT}``. Existing scenes of the same seed, count
    and size are not written again, so that an interrupted run continues. The seed, count and size
    are recorded beside the folders, in ``samples.json``.

    Raises:
        InputError: the count is below 1, `make_scene` refuses an argument, or another set exists
            and ``overwrite`` is false.
    """
    if count < 1:
        raise InputError(f"`count` {count} is too small. Fix: pass 1 or more")
    make_scene(seed, 0, size, modality)  # refuses illegal arguments before the first file
    second, set_name, _ = SENSORS[modality]
    root, folders = Path(output_dir) / set_name, ("RGB", second.folder, "GT")
    recipe = {"generator": GENERATOR_VERSION, "seed": seed, "count": count, "size": list(size)}
    if second != DEPTH:
        recipe["modality"] = modality
    _claim(root, folders, recipe, overwrite)
    for index in tqdm(range(count), desc=str(root), unit="scene", disable=None):
        files = [root / folder / f"{scene_stem(index, modality)}.png" for folder in folders]
        if all(file.exists() for file in files):
            continue
        scene = make_scene(seed, index, size, modality)
        gt = scene.gt.astype(np.uint8) * 255
        for file, image in zip(files, (scene.rgb[..., ::-1], scene.depth, gt), strict=True):
            write_image(file, image, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return root


def _kind(index: int, modality: str) -> str:
    kind = KINDS[index % len(KINDS)]
    return modality if kind == "depth" else kind


def _claim(root: Path, folders: tuple[str, ...], recipe: dict, overwrite: bool) -> None:
    """Create the folders; refuse scenes of another set, or delete these scenes if ``overwrite``."""
    output = OutputFolder(root, "samples.json", "generated scenes")
    if root.exists() and any(root.iterdir()):
        if output.read() == recipe:
            return
        if not overwrite:
            problem = f"{root} contains another set"
            raise InputError(f"{problem}. Fix: pass `overwrite` or another `output`")
        for folder in folders:
            for file in (root / folder).glob("scene_*.png"):  # other files are not deleted
                file.unlink()
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    output.write(recipe)


def _appearances(
    random: Random, kind: str, count: int, salient: int
) -> tuple[Appearance, list[Appearance | None]]:
    """Choose the appearances of the background and of the regions; None hides a region."""
    first = random.uniform(50, 205, 3)
    colours = np.stack([first, first + random.uniform(-50, 50, 3)])
    background = Appearance(random.choice(FAMILIES), colours)
    mean = colours.mean(axis=0)

    def muted() -> Appearance:
        family = random.choice(FAMILIES)
        return Appearance(family, colours + random.uniform(-_MUTED_COLOUR, _MUTED_COLOUR, 3))

    def strong() -> Appearance:
        colour = random.uniform(20, 235, 3)
        while np.abs(colour - mean).sum() < _STRONG_COLOUR:
            colour = random.uniform(20, 235, 3)
        texture = np.stack([colour, colour + random.uniform(-40, 40, 3)])
        return Appearance(random.choice(FAMILIES), texture)

    if kind != "depth":
        hidden = [random.uniform() < 0.5 for _ in range(count)]
        regions = [None if hide else muted() for hide in hidden]
        regions[salient] = strong()
        return background, regions
    # Colour must not be a cue, so the visible regions do not depend on the object. At least two
    # regions are visible: a single region of strong colour is the object in the other kinds.
    style = random.choice(("none", "muted", "shared", "own", "own"))
    visible = random.subset(2 + random.integer(count - 1), count)
    shared = strong()
    makers = {"none": lambda: None, "muted": muted, "shared": lambda: shared, "own": strong}
    return background, [makers[style]() if i in visible else None for i in range(count)]


def _heights(random: Random, kind: str, count: int, salient: int) -> list[float]:
    """Choose the heights of all regions in grey levels; only the object may have a large height."""
    heights = []
    for _ in range(count):
        height = random.uniform(-_MILD_HEIGHT, _MILD_HEIGHT)
        heights.append(height if random.uniform() < 0.6 else 0.0)
    if kind != "colour":
        heights[salient] = random.uniform(*_STRONG_HEIGHT)
    return heights
