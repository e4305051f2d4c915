"""Second modalities besides colour: depth, thermal images, and other registered modalities.

`SodSet.modality` is the second modality of a set. `ModelConfig.second_modality` is the modality
that a network was trained on. This module defines all differences between modalities.
Names such as ``has_depth`` and ``depth`` refer to the second input, whatever its modality.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.data.depth.encoding import DepthRule, Encoding, depth_to_unit
from mutualformer_sod.data.discovery.benchmarks import name_key
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_depth
from mutualformer_sod.imaging.thermal import read_thermal


@dataclass(frozen=True)
class Modality:
    """Properties of a second modality.

    ``read`` and ``to_unit`` must not be lambdas, because they are pickled for worker processes.
    """

    name: str  # in messages, flags and the configuration of weights
    one_map: str  # singular noun for a map of this modality; an added "s" forms the plural
    folders: tuple[str, ...]  # lower-case names that identify the folder of the maps in a set
    folder: str  # name of the folder of the maps in sets that this package writes
    # Read a file as a raw map (H, W) uint8, uint16 or float32; raise InputError if it is unusable.
    read: Callable[[Path | str], np.ndarray]
    # Convert a raw map to (H, W) float32 in [0, 1] by a set's encoding.
    to_unit: Callable[[np.ndarray, Encoding, DepthRule], np.ndarray]
    # Whether the maps have a polarity, units and holes, as depth maps do. Without polarity the
    # encoding of a set is a `GreyEncoding`.
    has_polarity: bool
    # cv2 flag for resizing a map to the size of its colour image. The default is nearest
    # neighbour: other methods would create false depths at object borders.
    interpolation: int = cv2.INTER_NEAREST_EXACT
    degradations: tuple[str, ...] = ()  # functions of `training.degradations` for training
    # Names, or prefixes of names, of known sets whose maps have this modality even if their folder
    # has another name.
    sets: tuple[str, ...] = ()
    label: str = ""  # title of the maps on a page; if it is "", ``name`` is the title

    @property
    def title(self) -> str:
        """Title of the maps on a page."""
        return self.label or self.name

    @property
    def maps(self) -> str:
        """Plural noun for the maps, for messages."""
        return f"{self.one_map}s"


MODALITIES: dict[str, Modality] = {}
"""The registered modalities by name."""


def register_modality(modality: Modality) -> Modality:
    """Register a modality of this or another package, so that its folder names are recognised.

    Raises:
        ValueError: the name or a folder name of the modality is registered already.
    """
    for other in MODALITIES.values():
        shared = set(modality.folders) & set(other.folders)
        if modality.name == other.name or shared:
            taken = f"folder {min(shared)!r}" if shared else f"name {other.name!r}"
            text = f"modality {modality.name!r}: the {taken} is registered already."
            raise ValueError(f"{text} Fix: choose another name.")
    MODALITIES[modality.name] = modality
    return modality


def find_modality(name: str) -> Modality:
    """Return the registered modality with this name; raise InputError if there is none."""
    if name not in MODALITIES:
        known = f"the known ones are {', '.join(MODALITIES)}"
        remedy = "Fix: import the package that registers it"
        raise InputError(f"the modality {name!r} is unknown here; {known}. {remedy}")
    return MODALITIES[name]


def modality_of_set(name: str) -> Modality | None:
    """Return the modality of a set with a known name; return None for other names."""
    known = {m: tuple(map(name_key, m.sets)) for m in MODALITIES.values()}
    return next((m for m, own in known.items() if name_key(name).startswith(own)), None)


def modality_of(folders: Iterable[str], set_name: str) -> Modality:
    """Return the modality of a set from the names of its map folders and from its own name.

    The name of a known set has priority: copies of thermal sets may call their map folder "depth".
    """
    names = {folder.casefold() for folder in folders}
    by_folder = (m for m in MODALITIES.values() if names & set(m.folders))
    return modality_of_set(set_name) or next(by_folder, DEPTH)


def refuse_named_otherwise(folder: Path, modality: Modality) -> None:
    """Raise InputError if the name of a map folder, or of its set, indicates another modality."""
    folder = folder.absolute()
    # The name "t" alone does not identify thermal images: the folder may be temporary.
    by_folder = (m for m in MODALITIES.values() if folder.name in (m.folder, *m.folders[1:]))
    named = modality_of_set(folder.parent.name) or next(by_folder, modality)
    if named != modality:
        problem = f"the name of the folder, or of its set, indicates {named.maps}"
        remedy = f"pass the folder as `{named.name}`, with weights for such maps, or rename it."
        raise InputError(f"`{modality.name}` {folder}: {problem}. Fix: {remedy}")


DEPTH = register_modality(
    Modality(
        name="depth",
        one_map="depth map",
        folders=("depth", "depths"),
        folder="depth",
        read=read_depth,
        to_unit=depth_to_unit,
        has_polarity=True,
        degradations=("noise", "levels", "holes"),
        label="depth (near = bright)",
    )
)
THERMAL = register_modality(
    Modality(
        name="thermal",
        one_map="thermal image",
        folders=("t", "thermal"),
        folder="T",
        read=read_thermal,
        to_unit=depth_to_unit,
        has_polarity=False,
        interpolation=cv2.INTER_LINEAR,
        degradations=("noise", "levels", "gain"),
        sets=("VT821", "VT1000", "VT5000"),
    )
)
