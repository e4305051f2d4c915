"""A generated clip with known motion, and the flicker of its maps."""

import numpy as np

from mutualformer_sod.data.synthetic.scenes import make_scene

STEP = 3  # pixels to the right a frame


class MovingScene:
    """An object that moves over a still background, with noise and changing exposure.

    Args:
        seed: of the scene.
        count: number of frames.
        contrast: of the object to the background, a ratio of that of its scene.

    Attributes:
        frames: (H, W, 3) uint8 each.
        masks: (H, W) bool each, the object.
    """

    def __init__(self, seed, count, contrast=0.3):
        rng = np.random.default_rng(seed)
        scene, behind = make_scene(seed, 1), make_scene(seed + 1000, 1)
        rows, columns = np.where(scene.gt)
        box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        shape, colours = scene.gt[box], scene.rgb[box]
        # Far from its own object, the other scene is a background.
        ground = np.where(behind.gt[..., None], behind.rgb.mean((0, 1)), behind.rgb)
        height, width = shape.shape
        self.frames, self.masks = [], []
        first = (ground.shape[1] - width - STEP * (count - 1)) // 2
        assert first >= 0, "the object leaves the frame"
        for number in range(count):
            left, top = first + STEP * number, box[0].start
            picture, mask = ground.copy(), np.zeros(ground.shape[:2], bool)
            mask[top : top + height, left : left + width] = shape
            picture[mask] = contrast * colours[shape] + (1 - contrast) * ground[mask]
            picture = picture * rng.uniform(0.85, 1.1) + rng.normal(0, 8, picture.shape)
            self.frames.append(picture.clip(0, 255).astype(np.uint8))
            self.masks.append(mask)

    def flicker(self, maps):
        """Mean change of a map from frame to frame, along the motion; 0 for perfect maps."""
        changes = []
        for last, now, before, mask in zip(
            maps, maps[1:], self.masks, self.masks[1:], strict=False
        ):
            along = np.where(mask, np.roll(last, STEP, 1), last)
            changes.append(np.abs(now - along)[mask | ~before].mean())
        return float(np.mean(changes))

    def error(self, maps):
        """MAE of the maps."""
        pairs = zip(maps, self.masks, strict=True)
        return float(np.mean([np.abs(saliency - mask).mean() for saliency, mask in pairs]))
