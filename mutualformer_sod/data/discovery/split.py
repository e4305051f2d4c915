"""Seeded hold-out of a training set, by scene."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from mutualformer_sod.data.discovery.layout import Triplet

_LAST_NUMBER = re.compile(r"\d+$")


def hold_out(
    triplets: Sequence[Triplet], share: float, seed: int, by: str = "scene"
) -> tuple[list[Triplet], list[Triplet]]:
    """Split triplets into a part to train on and a part to validate on.

    Frames of one scene look alike, so a frame-wise split validates on what was trained on. With
    ``by="scene"`` the images whose stems differ only in their last number form a scene and stay
    together; where that makes the whole set one scene, its images are split one by one.

    Args:
        triplets: of one set.
        share: of the images to hold out, in [0, 1); at least one scene if it is not 0.
        seed: decides which.
        by: "scene" or "image".

    Returns:
        The training part and the held-out part, each in the order given.
    """
    scenes: dict[str, list[Triplet]] = {}
    for triplet in triplets:
        key = _LAST_NUMBER.sub("", triplet.stem) if by == "scene" else triplet.stem
        scenes.setdefault(key, []).append(triplet)
    if len(scenes) == 1:
        scenes = {triplet.stem: [triplet] for triplet in triplets}
    if share <= 0 or len(scenes) < 2:
        return list(triplets), []
    order = sorted(scenes)
    random.Random(seed).shuffle(order)
    quota = share * len(triplets)
    held: set[str] = set()
    count = 0
    for key in order:
        most = min(1.5 * quota, len(triplets) - 1)  # something must be left to train on
        if count < quota and count + len(scenes[key]) <= most:
            held.add(key)
            count += len(scenes[key])
    if not held:  # every scene is larger than the quota
        held = {min(order, key=lambda key: len(scenes[key]))}
    stems = {triplet.stem for key in held for triplet in scenes[key]}
    return (
        [triplet for triplet in triplets if triplet.stem not in stems],
        [triplet for triplet in triplets if triplet.stem in stems],
    )
