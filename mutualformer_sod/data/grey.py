"""Encoding of maps without polarity, such as thermal images, and conversion to [0, 1]."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mutualformer_sod.data.depth.encoding import NO_INFORMATION, DepthRule, scale_to_unit
from mutualformer_sod.data.depth.holes import find_holes
from mutualformer_sod.data.depth.kind import DepthSample


@dataclass(frozen=True)
class GreyEncoding:
    """Encoding of the maps of one set whose modality has no polarity.

    The maps store brightness, and every finite value is valid.
    """

    kind: str  # name of the modality, such as "thermal"
    is_empty: bool = False  # whether every map is constant or empty, so that only colour is used

    # The record of a run stores these values as the polarity:
    near: ClassVar[str] = "none"
    side: ClassVar[str] = "none"
    zero_is_hole: ClassVar[bool] = False  # whether 0 means that a pixel has no value

    @classmethod
    def of(cls, samples: Sequence[DepthSample], kind: str) -> "GreyEncoding":
        """Return the encoding of a set from samples of all its maps."""
        return cls(kind, all(sample.levels[False] < 2 for sample in samples))

    def find_holes(self, raw: np.ndarray) -> np.ndarray:
        """Return (H, W) bool, true where a raw map (H, W) has no valid value."""
        return find_holes(raw, metric=False)

    def describe(self) -> str:
        """Return a one-line description of the encoding for the screen."""
        return NO_INFORMATION if self.is_empty else "brightness as stored"


def grey_to_unit(raw: np.ndarray, encoding: GreyEncoding, rule: DepthRule = "minmax") -> np.ndarray:
    """Scale raw brightness (H, W) to (H, W) float32 in [0, 1], see `scale_to_unit`.

    Invalid pixels get the value of the nearest valid pixel. Brightness is not inverted.
    """
    return scale_to_unit(raw, encoding.find_holes(raw), rule)
