"""Sample scenes: synthetic RGB-D triplets in which colour, depth, or either shows the object.

Every scene holds three to five regions drawn from one distribution of shapes, sizes and places; one
of them, picked at random, is the salient object. What sets it apart depends on the kind of scene:

==========  ==============================================  =====================================
kind        colour                                          depth
==========  ==============================================  =====================================
``depth``   says nothing: regions hidden in the background  the object stands out to the camera
            or in strong colours, whichever the object is
``colour``  one region in a strong colour, the others as    says nothing: flat regions and mild
            the background or nearly so                     bumps, whichever the object is
``either``  as in ``colour``                                as in ``depth``
==========  ==============================================  =====================================

A model that sees one modality can therefore only guess on a third of the scenes.

Scenes are the same on every machine: random numbers come from PCG64's raw stream, arithmetic is
elementwise IEEE float64 (matrix products get exactly representable factors), blurs are in integers,
and cv2 only fills polygons with integer corners and takes minima.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mutualformer_sod.errors import InputError

KINDS = ("depth", "colour", "either")
SET_NAME = "SAMPLES"
DEFAULT_SIZE = (240, 320)
GENERATOR_VERSION = 1  # raised when the same seed begins to give other scenes

_MIN_AREA, _MAX_AREA = 0.03, 0.35  # of the image, for objects and distractors alike
_STRONG_HEIGHT = (55.0, 75.0)  # grey levels by which an object stands out in depth
_MILD_HEIGHT = 16.0  # the most that any other region does, either way
_STRONG_COLOUR = 190.0  # least L1 distance (RGB levels) from the background's mean colour
_MUTED_COLOUR = 22.0  # most, per channel


@dataclass(frozen=True)
class Scene:
    """One triplet.

    Attributes:
        rgb: (H, W, 3) uint8, RGB order.
        depth: (H, W) uint8, near = white, with a sensor's noise, quantisation and holes. As in
            published 8-bit maps a hole has no code of its own: it is 0 (black) in half of the
            scenes and filled with the farthest depth around it in the others.
        gt: (H, W) bool, the salient object, 3 to 35 % of the image.
        regions: (H, W) uint8, 0 for the background, otherwise the number of the object or
            distractor there. Numbers follow the order of placement, not salience.
        kind: which modality shows the object: "depth", "colour" or "either".
    """

    rgb: np.ndarray
    depth: np.ndarray
    gt: np.ndarray
    regions: np.ndarray
    kind: str


def make_scene(seed: int, index: int, size: tuple[int, int] = DEFAULT_SIZE) -> Scene:
    """Draw scene ``index`` of the series ``seed``; its kind is ``KINDS[index % 3]``.

    Args:
        seed: the series, at least 0. Two series share no scene.
        index: the scene's place in it, at least 0; scenes are independent of each other.
        size: (H, W) in pixels, each at least 64.

    Raises:
        InputError: a negative seed or index, or a size below 64.
    """
    if seed < 0 or index < 0:
        raise InputError(f"seed and index must not be negative, got {seed} and {index}")
    if min(size) < 64:
        raise InputError(f"size {size[0]}x{size[1]} is too small for a scene; give at least 64x64")
    random = _Random(seed, index)
    kind = KINDS[index % len(KINDS)]
    regions, count = _place_regions(random, size)
    salient = random.integer(count)
    gt = regions == salient + 1
    rgb = _paint(random, regions, _appearances(random, kind, count, salient))
    depth = _sense(random, regions, _heights(random, kind, count, salient), gt)
    return Scene(rgb, depth, gt, regions, kind)


def scene_stem(index: int) -> str:
    """Give the file stem of scene ``index``, such as ``scene_00012_depth``: it ends in the kind."""
    return f"scene_{index:05d}_{KINDS[index % len(KINDS)]}"


def write_samples(
    output_dir: Path | str,
    count: int,
    seed: int,
    *,
    size: tuple[int, int] = DEFAULT_SIZE,
    overwrite: bool = False,
) -> Path:
    """Write ``count`` scenes as ``<output_dir>/SAMPLES/{RGB,depth,GT}/<stem>.png``; return SAMPLES.

    Scenes already there from the same seed, count and size are kept, so that an interrupted run
    continues. The set's recipe lies beside the folders, in ``samples.json``.

    Raises:
        InputError: no positive count, or a folder there which holds anything else and
            ``overwrite`` is not given.
    """
    if count < 1:
        raise InputError(f"--count {count}: give at least one scene")
    root = Path(output_dir) / SET_NAME
    recipe = {"generator": GENERATOR_VERSION, "seed": seed, "count": count, "size": list(size)}
    make_scene(seed, 0, size)  # refuse bad arguments before the first file
    _claim(root, recipe, overwrite)
    for index in tqdm(range(count), desc=str(root), unit="scene", disable=None):
        files = [root / folder / f"{scene_stem(index)}.png" for folder in ("RGB", "depth", "GT")]
        if all(file.exists() for file in files):
            continue
        scene = make_scene(seed, index, size)
        gt = scene.gt.astype(np.uint8) * 255
        for file, image in zip(files, (scene.rgb[..., ::-1], scene.depth, gt), strict=True):
            _write_png(file, image)
    return root


def _claim(root: Path, recipe: dict, overwrite: bool) -> None:
    """Make the set's folders, or refuse (or empty, with ``overwrite``) those of another recipe."""
    recipe_file = root / "samples.json"
    text = json.dumps(recipe) + "\n"
    if root.exists() and any(root.iterdir()):
        if recipe_file.is_file() and recipe_file.read_text() == text:
            return
        if not overwrite:
            raise InputError(f"{root} holds another set; give --overwrite or another --output")
        for folder in ("RGB", "depth", "GT"):
            for file in (root / folder).glob("scene_*.png"):  # ours only: other files are kept
                file.unlink()
    for folder in ("RGB", "depth", "GT"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    recipe_file.write_text(text)


def _write_png(path: Path, image: np.ndarray) -> None:
    encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    partial = path.with_suffix(".partial")
    partial.write_bytes(encoded.tobytes())
    partial.replace(path)


class _Random:
    """Random numbers from PCG64's raw stream, which numpy promises never to change."""

    def __init__(self, seed: int, index: int):
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, index]))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: int | None = None):
        raw = self._bits.random_raw(size)
        return low + (high - low) * ((raw >> 11) * 2.0**-53)

    def integer(self, end: int) -> int:
        return int(self.uniform() * end)

    def choice(self, options: Sequence):
        return options[self.integer(len(options))]

    def subset(self, count: int, total: int) -> set[int]:
        return set(np.argsort(self.uniform(size=total), kind="stable")[:count].tolist())

    def noise(self, shape: tuple[int, ...]) -> np.ndarray:
        """Nearly normal noise of unit variance: sums of four bytes."""
        count = math.prod(shape)
        raw = self._bits.random_raw(math.ceil(count / 2)).astype("<u8").view(np.uint8)
        first, *others = raw[: 4 * count].reshape(4, *shape)
        total = first.astype(np.int16)
        for term in others:
            total += term
        return (total - 510) / 147.8


# ------------------------------------------------------------------------------------------ shapes


def _place_regions(random: _Random, size: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Number 3 to 5 regions whose boxes are apart; give the map (H, W) uint8 and their number."""
    wanted = 3 + random.integer(3)
    largest = (0.30, 0.20, 0.13)[wanted - 3]
    pixels = size[0] * size[1]
    while True:  # large first regions may leave no room: then all are drawn anew
        regions, boxes = np.zeros(size, np.uint8), []
        for _ in range(4 * wanted):
            area = 0.037 * (largest / 0.037) ** random.uniform()
            parts = _outline(random, area * pixels)
            box = _free_box(random, np.concatenate(parts), boxes, size)
            if box is None:
                continue
            drawn = np.zeros(size, np.uint8)
            for part in parts:
                cv2.fillPoly(drawn, [(part + box[:2]).astype(np.int32)], 1)
            if not _MIN_AREA * pixels <= cv2.countNonZero(drawn) <= _MAX_AREA * pixels:
                continue
            boxes.append(box)
            regions += drawn * np.uint8(len(boxes))
            if len(boxes) == wanted:
                return regions, wanted


def _free_box(
    random: _Random, corners: np.ndarray, boxes: list[np.ndarray], size: tuple[int, int]
) -> np.ndarray | None:
    """Find room for an outline whose least corner is 0, 0: its box (left, top, right, bottom)."""
    extent = corners.max(axis=0)
    room = np.array([size[1], size[0]]) - 5 - extent
    if room.min() <= 0:
        return None
    for _ in range(16):
        place = 2 + np.floor(random.uniform(size=2) * room)
        box = np.concatenate([place, place + extent])
        if not any((box[:2] <= b[2:] + 4).all() and (b[:2] <= box[2:] + 4).all() for b in boxes):
            return box
    return None


def _outline(random: _Random, area: float) -> list[np.ndarray]:
    """Draw an ellipse, polygon, blob, rounded rectangle or two-part shape as integer polygons.

    Returns:
        One or two (n, 2) arrays of x, y from 0, 0 up, of about ``area`` pixels together.
    """
    family = random.choice(("ellipse", "polygon", "blob", "rectangle", "two-part"))
    upright = family == "two-part"
    if family == "polygon":
        count = 4 + random.integer(5)
        turns = (np.arange(count) + random.uniform(-0.25, 0.25, count)) / count
        parts = [_circle(turns) * random.uniform(0.7, 1.0, count)[:, None]]
    elif family == "blob":
        turns = np.arange(64) / 64
        radius = np.ones(64)
        for order in (2, 3, 4):
            radius += random.uniform(0.0, 0.16) * _circle(order * turns + random.uniform())[:, 0]
        parts = [_circle(turns) * radius[:, None]]
    elif family == "rectangle":
        circle = _circle(np.arange(64) / 64)
        parts = [np.sign(circle) * np.sqrt(np.sqrt(np.abs(circle)))]  # a superellipse of power 8
    else:
        parts = [_circle(np.arange(48) / 48)]
        if upright:
            head = parts[0] * random.uniform(0.4, 0.6) + [random.uniform(-0.3, 0.3), -1.15]
            parts.append(head)
    stretch = 2.0 ** random.uniform(-0.4, 0.4)
    ((cos, sin),) = _circle(
        np.array([random.uniform(-0.06, 0.06) if upright else random.uniform()])
    )
    parts = [part * [stretch, 1 / stretch] @ [[cos, sin], [-sin, cos]] for part in parts]
    scale = math.sqrt(area / sum(_polygon_area(part) for part in parts))
    least = np.concatenate(parts).min(axis=0)
    return [np.round((part - least) * scale) for part in parts]


def _circle(turns: np.ndarray) -> np.ndarray:
    """Points (n, 2) on the unit circle, rounded so that no machine's libm shows."""
    angles = 2 * math.pi * turns
    return np.round(np.stack([np.cos(angles), np.sin(angles)], axis=1) * 65536) / 65536


def _polygon_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return abs(math.fsum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


# ------------------------------------------------------------------------------------------ colour


@dataclass(frozen=True)
class _Appearance:
    """A texture family and the two colours that it mixes."""

    family: str
    colours: np.ndarray  # (2, 3)


_FAMILIES = ("gradient", "noise", "stripes", "checkers", "blotches")


def _appearances(
    random: _Random, kind: str, count: int, salient: int
) -> tuple[_Appearance, list[_Appearance | None]]:
    """Choose the background's appearance and each region's; None looks like the background."""
    first = random.uniform(50, 205, 3)
    colours = np.stack([first, first + random.uniform(-50, 50, 3)])
    background = _Appearance(random.choice(_FAMILIES), colours)
    mean = colours.mean(axis=0)

    def muted() -> _Appearance:
        return _Appearance(
            random.choice(_FAMILIES), colours + random.uniform(-_MUTED_COLOUR, _MUTED_COLOUR, 3)
        )

    def strong() -> _Appearance:
        colour = random.uniform(20, 235, 3)
        while np.abs(colour - mean).sum() < _STRONG_COLOUR:
            colour = random.uniform(20, 235, 3)
        texture = np.stack([colour, colour + random.uniform(-40, 40, 3)])
        return _Appearance(random.choice(_FAMILIES), texture)

    if kind != "depth":
        hidden = [random.uniform() < 0.5 for _ in range(count)]
        regions = [None if hide else muted() for hide in hidden]
        regions[salient] = strong()
        return background, regions
    # Colour must not give the object away: which regions show is drawn without regard to it, and
    # a single strong one, the rule of the other kinds, does not occur.
    style = random.choice(("none", "muted", "shared", "own", "own"))
    visible = random.subset(2 + random.integer(count - 1), count)
    shared = strong()
    makers = {"none": lambda: None, "muted": muted, "shared": lambda: shared, "own": strong}
    return background, [makers[style]() if i in visible else None for i in range(count)]


def _paint(
    random: _Random,
    regions: np.ndarray,
    appearances: tuple[_Appearance, list[_Appearance | None]],
) -> np.ndarray:
    """Render the colour image (H, W, 3) uint8. Depth does not enter it, nor does it enter depth."""
    background, looks = appearances
    image = _texture(random, regions.shape, background)
    for number, look in enumerate(looks, start=1):
        if look is None:
            continue
        window, x, y = _window(regions, number)
        patch = _texture(random, x.shape, look)
        ((tilt_x, tilt_y),) = _circle(np.array([random.uniform()]))
        patch *= (1.0 + 0.12 * (tilt_x * x + tilt_y * y) - 0.12 * (x * x + y * y))[..., None]
        alpha = _blur((regions[window] == number) * 16)[..., None] / 256.0
        image[window] += alpha * (patch - image[window])
    light = random.uniform(-0.15, 0.15, 2)
    rows, columns = (np.linspace(-1, 1, n) for n in regions.shape)
    image *= (1.0 + light[0] * rows[:, None] + light[1] * columns)[..., None]
    image += random.noise(image.shape) * random.uniform(1.0, 5.0)
    return _to_uint8(image)


def _texture(random: _Random, shape: tuple[int, int], look: _Appearance) -> np.ndarray:
    """Render one texture (H, W, 3) float64."""
    height, width = shape
    ((cos, sin),) = _circle(np.array([random.uniform()]))
    along = np.arange(width) * cos + np.arange(height)[:, None] * sin
    across = np.arange(width) * -sin + np.arange(height)[:, None] * cos
    period = random.uniform(10, 32)
    if look.family == "gradient":
        mix = (along - along.min()) / (along.max() - along.min())
    elif look.family == "noise":
        mix = 0.6 * _smooth_noise(random, shape, 24) + 0.4 * _smooth_noise(random, shape, 6)
    elif look.family == "stripes":
        bend = _smooth_noise(random, shape, 64) * random.uniform(0, 2)
        mix = np.clip(_wave(along / period + bend) * 2 - 0.5, 0, 1)
    elif look.family == "checkers":
        a, b = (np.clip(_wave(axis / (1.5 * period)) * 4 - 1.5, 0, 1) for axis in (along, across))
        mix = a + b - 2 * a * b
    else:
        mix = np.clip((_smooth_noise(random, shape, 18) - 0.5) * 8 + 0.5, 0, 1)
    first, second = look.colours
    return first + mix[..., None] * (second - first)


def _wave(phase: np.ndarray) -> np.ndarray:
    """A triangle wave of period 1 in [0, 1]."""
    return np.abs((phase - np.floor(phase)) * 2 - 1)


def _smooth_noise(random: _Random, shape: tuple[int, int], cell: int) -> np.ndarray:
    """Noise (H, W) in [0, 1] without detail below about ``cell`` pixels."""
    rows, columns = (_weights(length, cell) for length in shape)
    grid = np.floor(random.uniform(0, 256, rows.shape[1] * columns.shape[1]))
    # Weights are multiples of 1/256 and the grid is integer: exact in any order of summation.
    return rows @ grid.reshape(rows.shape[1], columns.shape[1]) @ columns.T / 255


def _weights(length: int, cell: int) -> np.ndarray:
    position = np.arange(length) / cell
    left = np.floor(position).astype(int)
    step = position - left
    step = np.round(step * step * (3 - 2 * step) * 256) / 256
    weights = np.zeros((length, length // cell + 2))
    weights[np.arange(length), left] = 1 - step
    weights[np.arange(length), left + 1] += step
    return weights


# ------------------------------------------------------------------------------------------- depth


def _heights(random: _Random, kind: str, count: int, salient: int) -> list[float]:
    """Choose by how many grey levels each region stands out, by one law but for a salient one."""
    heights = []
    for _ in range(count):
        height = random.uniform(-_MILD_HEIGHT, _MILD_HEIGHT)
        heights.append(height if random.uniform() < 0.6 else 0.0)
    if kind != "colour":
        heights[salient] = random.uniform(*_STRONG_HEIGHT)
    return heights


def _sense(
    random: _Random, regions: np.ndarray, heights: list[float], gt: np.ndarray
) -> np.ndarray:
    """Render the depth map (H, W) uint8 as a sensor would give it, near = white."""
    depth = _background_depth(random, regions.shape)
    for number, height in enumerate(heights, start=1):
        if height == 0:
            continue
        window, x, y = _window(regions, number)
        mask = regions[window] == number
        behind = depth[window]
        tilt = 0.5 * random.uniform() * min(1.0, abs(height) / _STRONG_HEIGHT[0])
        level = math.fsum(behind[mask]) / np.count_nonzero(mask)
        surface = behind + tilt * (level - behind) + height * (1 - 0.15 * (x * x + y * y))
        depth[window] = np.where(mask, surface, behind)
    depth += random.noise(depth.shape) * random.uniform(0.5, 3.0)
    step = random.choice((1, 2, 4))
    depth = _to_uint8(np.floor(depth / step) * step)
    if random.uniform() < 0.5:
        depth = (_blur(depth.astype(np.int32)) // 16).astype(np.uint8)
    holes = _holes(random, regions.shape)
    if max(heights) >= _STRONG_HEIGHT[0]:  # beside an object that hides what is behind it
        holes |= _shadow(gt, random.integer(6), leftward=random.uniform() < 0.5)
    fill = cv2.erode(depth, np.ones((13, 13), np.uint8)) if random.uniform() < 0.5 else 0
    return np.where(holes, fill, depth).astype(np.uint8)


def _background_depth(random: _Random, size: tuple[int, int]) -> np.ndarray:
    """A ground plane, slanted wall or room (H, W) float64; wide, so that min-max changes little."""
    down = np.linspace(0, 1, size[0])[:, None] + np.zeros(size)
    right = np.linspace(-1, 1, size[1]) + np.zeros(size)
    family = random.choice(("ground", "ground", "wall", "room"))
    if family == "ground":
        horizon = random.uniform(0.15, 0.45)
        depth = np.maximum(down - horizon, 0) + random.uniform(0, 0.1) * right
    elif family == "wall":
        depth = down + random.uniform(-0.8, 0.8) * right
    else:
        side = np.maximum(np.abs(right + random.uniform(-0.3, 0.3)) - random.uniform(0.3, 0.6), 0)
        depth = np.maximum(side, np.maximum(down - random.uniform(0.4, 0.6), 0) * 1.6)
    depth = (depth - depth.min()) / (depth.max() - depth.min())
    far, near = random.uniform(6, 25), random.uniform(160, 182)
    waves = (_smooth_noise(random, size, 48) - 0.5) * random.uniform(0, 12)
    return far + (near - far) * depth + waves


def _shadow(mask: np.ndarray, width: int, *, leftward: bool) -> np.ndarray:
    """Give the pixels beside an object (H, W) bool that one eye of a stereo sensor cannot see."""
    if leftward:
        return _shadow(mask[:, ::-1], width, leftward=False)[:, ::-1]
    shadow = np.zeros_like(mask)
    shadow[:, width:] = mask[:, : mask.shape[1] - width]
    return shadow & ~mask


def _holes(random: _Random, size: tuple[int, int]) -> np.ndarray:
    """Scatter a few small holes (H, W) bool over the image, wherever its regions are."""
    holes = np.zeros(size, np.uint8)
    for _ in range(random.integer(8)):
        blob = np.round(_circle(np.arange(12) / 12) * random.uniform(1.5, 5.0, 2))
        place = np.floor([random.uniform() * size[1], random.uniform() * size[0]])
        cv2.fillPoly(holes, [(blob + place).astype(np.int32)], 1)
    return holes > 0


# ------------------------------------------------------------------------------------------- helps


def _window(regions: np.ndarray, number: int) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Give the box around a region with its coordinates x, y (h, w) in [-1, 1]."""
    x, y, width, height = cv2.boundingRect((regions == number).astype(np.uint8))
    rows = slice(max(y - 1, 0), y + height + 1)
    columns = slice(max(x - 1, 0), x + width + 1)
    shape = regions[rows, columns].shape
    down, right = (np.linspace(-1, 1, length) for length in shape)
    return (rows, columns), right + np.zeros(shape), down[:, None] + np.zeros(shape)


def _blur(image: np.ndarray) -> np.ndarray:
    """Blur integers with the 3 x 3 binomial kernel; the result is 16 times as large, and exact."""
    padded = np.pad(image, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(image + 0.5), 0, 255).astype(np.uint8)
