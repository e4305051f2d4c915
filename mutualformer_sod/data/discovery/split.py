"""Seeded hold-out of a training set, by scene."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from mutualformer_sod.data.sample import Sample

_LAST_NUMBER = re.compile(r"\d+$")


def hold_out(
    samples: Sequence[Sample], share: float, seed: int, by: str = "scene"
) -> tuple[list[Sample], list[Sample]]:
    """Split samples into a part to train on and a part to validate on.

    Frames of one scene look alike, so a frame-wise split validates on what was trained on. With
    ``by="scene"`` the images whose stems differ only in their last number form a scene and stay
    together; where that makes the whole set one scene, its images are split one by one.

    Args:
        samples: of one set.
        share: of the images to hold out, in [0, 1); at least one scene if it is not 0.
        seed: decides which.
        by: "scene" or "image".

    Returns:
        The training part and the held-out part, each in the order given.
    """
    scenes: dict[str, list[Sample]] = {}
    for sample in samples:
        key = _LAST_NUMBER.sub("", sample.stem) if by == "scene" else sample.stem
        scenes.setdefault(key, []).append(sample)
    if len(scenes) == 1:
        scenes = {sample.stem: [sample] for sample in samples}
    if share <= 0 or len(scenes) < 2:
        return list(samples), []
    order = sorted(scenes)
    random.Random(seed).shuffle(order)
    quota = share * len(samples)
    held: set[str] = set()
    count = 0
    for key in order:
        most = min(1.5 * quota, len(samples) - 1)  # something must be left to train on
        if count < quota and count + len(scenes[key]) <= most:
            held.add(key)
            count += len(scenes[key])
    if not held:  # every scene is larger than the quota
        held = {min(order, key=lambda key: len(scenes[key]))}
    stems = {sample.stem for key in held for sample in scenes[key]}
    return (
        [sample for sample in samples if sample.stem not in stems],
        [sample for sample in samples if sample.stem in stems],
    )
