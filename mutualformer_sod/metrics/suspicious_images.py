"""Find maps and ground truths that are probably wrong although they can be scored."""

from dataclasses import dataclass, field

import numpy as np

from mutualformer_sod.metrics.evaluator import ImageScores
from mutualformer_sod.metrics.f_measure import f_measure
from mutualformer_sod.metrics.pair import CONSTANT_MAP, EMPTY_GT, FULL_GT, Counts

_LEVELS = np.arange(256)
_GAIN = 0.1  # minimum gain in max F of 1 - map over the map; inverted maps gain far more


@dataclass
class SuspiciousImages:
    """Stems of the suspicious images of one method on one set.

    Attributes:
        black: all-black maps of images that have foreground.
        constant: constant maps that are not black.
        zero_one: maps with only the values 0 and 1, scored as v/255.
        inverted: maps whose mean is higher on the background than on the foreground.
        empty_gt, full_gt: images without foreground, and without background.
        brightest: highest level of all maps, 0 to 255, as scored.
        inverted_f: (2, 256) sums of the F curves of the inverted maps, as stored and as 1 - map.
    """

    black: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)
    zero_one: list[str] = field(default_factory=list)
    inverted: list[str] = field(default_factory=list)
    empty_gt: list[str] = field(default_factory=list)
    full_gt: list[str] = field(default_factory=list)
    brightest: int = 0
    inverted_f: np.ndarray = field(default_factory=lambda: np.zeros((2, 256)))

    @property
    def inverse_is_better(self) -> bool:
        """Whether the maps in `inverted` have a far higher max F as 1 - map.

        If a map is poor but not inverted, neither its max F nor that of 1 - map is far above the F
        of an all-foreground map.
        """
        own, inverse = self.inverted_f.max(axis=1)
        return bool(inverse - own > _GAIN * len(self.inverted))

    def add(self, stem: str, image: ImageScores) -> None:
        """Classify one image by its scores, and add the stem to the matching lists."""
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
        if flags & {EMPTY_GT, FULL_GT, CONSTANT_MAP}:
            return
        on_background, on_foreground = image.quantised @ _LEVELS / image.quantised.sum(axis=1)
        if on_background > on_foreground:
            self.inverted.append(stem)
            inverse = Counts.of_thresholds(image.quantised[:, ::-1])
            self.inverted_f += image.curves["f"], f_measure(inverse)
