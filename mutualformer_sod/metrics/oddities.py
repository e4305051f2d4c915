"""Maps and ground truths that give an ordinary row of scores, but hardly what was meant."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mutualformer_sod.metrics.evaluator import CONSTANT_MAP, EMPTY_GT, FULL_GT, ImageScores

_LEVELS = np.arange(256)


@dataclass
class Oddities:
    """Stems of the odd images of one method on one set.

    Attributes:
        black: all-black maps of images that have foreground.
        constant: other maps of one value.
        zero_one: maps of the values 0 and 1, taken as v/255.
        inverted: maps whose background is brighter than their foreground, on the average.
        empty_gt, full_gt: images without foreground, and without background.
        brightest: highest level of all maps, 0 to 255, as scored.
    """

    black: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)
    zero_one: list[str] = field(default_factory=list)
    inverted: list[str] = field(default_factory=list)
    empty_gt: list[str] = field(default_factory=list)
    full_gt: list[str] = field(default_factory=list)
    brightest: int = 0

    def add(self, stem: str, image: ImageScores) -> None:
        """Note what is odd about one image, from its scores."""
        background, foreground = image.quantised
        brightest = int(np.flatnonzero(image.quantised.any(axis=0))[-1])
        self.brightest = max(self.brightest, brightest)
        flags = set(image.flags)
        if EMPTY_GT in flags:
            self.empty_gt.append(stem)
        if FULL_GT in flags:
            self.full_gt.append(stem)
        if CONSTANT_MAP in flags:
            if brightest > 0:
                self.constant.append(stem)
            elif EMPTY_GT not in flags:
                self.black.append(stem)
        elif brightest <= 1:
            self.zero_one.append(stem)
        if not flags & {EMPTY_GT, FULL_GT, CONSTANT_MAP}:
            means = (float(_LEVELS @ part / part.sum()) for part in (background, foreground))
            if next(means) > next(means):
                self.inverted.append(stem)
