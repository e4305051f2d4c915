"""Hold out a part of a training set for validation, by scene and with a seed."""

import random
import re
from collections.abc import Sequence

from mutualformer_sod.data.sample import Sample

_LAST_NUMBER = re.compile(r"\d+$")


def hold_out(
    samples: Sequence[Sample], ratio: float, seed: int, by: str = "scene"
) -> tuple[list[Sample], list[Sample]]:
    """Split samples into a training part and a held-out part, each in the order of ``samples``.

    Frames of one scene are similar, so a split by image would validate on scenes of the training
    part. With ``by="scene"`` the images whose stems differ only in their last number form a scene
    and stay together. If all images form one scene, the set is split by image.

    Args:
        ratio: ratio of images to hold out, in [0, 1). A ratio above 0 holds out at least one of
            several images.
        by: "scene" or "image".
    """
    scenes: dict[str, list[str]] = {}
    for sample in samples:
        key = _LAST_NUMBER.sub("", sample.stem) if by == "scene" else sample.stem
        scenes.setdefault(key, []).append(sample.stem)
    if len(scenes) == 1:
        scenes = {sample.stem: [sample.stem] for sample in samples}
    if ratio <= 0 or len(scenes) < 2:
        return list(samples), []
    order = sorted(scenes)
    random.Random(seed).shuffle(order)
    quota = ratio * len(samples)
    most = min(1.5 * quota, len(samples) - 1)  # the training part must not be empty
    held: set[str] = set()
    for key in order:
        if len(held) < quota and len(held) + len(scenes[key]) <= most:
            held.update(scenes[key])
    if not held:  # every scene is larger than the quota
        held.update(min((scenes[key] for key in order), key=len))
    return (
        [sample for sample in samples if sample.stem not in held],
        [sample for sample in samples if sample.stem in held],
    )
