"""Benchmark sets: names, aliases, numbers of images, training protocols."""

import re
from collections.abc import Iterable
from typing import Literal

Split = Literal["train", "test"]

TRAINING_PROTOCOLS: dict[str, dict[str, int]] = {
    "2185": {"NJU2K": 1485, "NLPR": 700},
    "2985": {"NJU2K": 1485, "NLPR": 700, "DUT-RGBD": 800},
    "dut800": {"DUT-RGBD": 800},
    "come15k": {"COME15K": 8025},
    "vt2500": {"VT5000": 2500},
}
"""Training sets of each published protocol with their numbers of images."""

_USUAL_COUNTS: dict[Split, dict[str, int]] = {
    "test": {
        "NJU2K": 500,
        "NLPR": 300,
        "STERE": 1000,
        "STERE797": 797,
        "SIP": 929,
        "DES": 135,
        "LFSD": 100,
        "SSD": 80,
        "DUT-RGBD": 400,
        "VT821": 821,
        "VT1000": 1000,
        "VT5000": 2500,
        # colour images alone
        "ECSSD": 1000,
        "PASCAL-S": 850,
        "HKU-IS": 4447,
        "DUT-OMRON": 5168,
        "DUTS-TE": 5019,
        "SOD": 300,
    },
    "train": {name: n for sets in TRAINING_PROTOCOLS.values() for name, n in sets.items()},
}
_OTHER_VERSIONS = {
    ("NJU2K", 485): "the 1985 images without 1500 for training",
    ("NJU2K", 498): "a variant that circulates",
    ("NJU2K", 503): "a variant that circulates",
    ("STERE", 797): "the subset STERE797, not STERE",
}
"""Known versions of test sets whose number of images differs from that in papers."""

_ALIASES: dict[str, tuple[str, ...]] = {
    "NJU2K": ("NJUD", "NJU2000", "NJUD2K"),
    "STERE": ("STEREO", "STEREO1000", "STERE1000"),
    "STERE797": ("STEREO797",),
    "DES": ("RGBD135",),
    "SSD": ("SSD80", "SSD100"),
    "DUT-RGBD": ("DUT", "DUTLF-Depth", "DUTLF-D"),
    "ReDWeb-S": (),
    "COME15K-E": ("COME-E", "COME15K-Easy"),
    "COME15K-H": ("COME-H", "COME15K-Hard"),
    "VT5000": ("VT5000-clear", "VT5000-Train", "VT5000-Test"),
    "DUT-OMRON": ("OMRON", "DUTO"),
}


def name_key(name: str) -> str:
    """Return the ASCII letters and digits of a name in lower case, as the key of a set."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


_CANONICAL = {
    name_key(alias): name
    for name in (*_USUAL_COUNTS["test"], *_USUAL_COUNTS["train"], *_ALIASES)
    for alias in (name, *_ALIASES.get(name, ()))
}


def canonical_name(name: str) -> str:
    """Return the usual name of a set, such as "NJU2K" for "NJUD".

    Case, hyphens and underscores are ignored. An unknown name is returned unchanged.
    """
    return _CANONICAL.get(name_key(name), name)


def last_part(name: str) -> str:
    """Return the name of a set without the names of the folders above."""
    return name.rsplit("/", 1)[-1]


def matching_names(name: str, names: Iterable[str]) -> list[str]:
    """Return the names equal to ``name``, or else the names with the same last part or alias."""
    names, usual = list(names), canonical_name(last_part(name))
    return [name] if name in names else [n for n in names if canonical_name(last_part(n)) == usual]


def is_known(name: str) -> bool:
    """Return whether the last part of ``name`` is the name or an alias of a benchmark set."""
    return name_key(last_part(name)) in _CANONICAL


def usual_count(name: str, split: Split) -> int | None:
    """Return the number of images that papers report for a set and split, or None."""
    return _USUAL_COUNTS[split].get(canonical_name(last_part(name)))


def other_version(name: str, split: Split, count: int) -> str:
    """Return the description of the version with ``count`` images; return "" if none is known."""
    key = canonical_name(last_part(name)), count
    return _OTHER_VERSIONS.get(key, "") if split == "test" else ""
