"""Results of an evaluation, with the content of scores.json and the rows of the table."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.registry import COLUMNS

# Results are comparable if these entries agree. The other entries describe the maps.
SHARED_PROTOCOL = ("normalize", "thresholds", "aggregation", "resize", "version")

Scores = dict[str, float]
Curves = dict[str, dict[str, dict[str, np.ndarray]]]  # set -> method -> curve -> (256,)


def scoring_protocol(version: str, normalize: bool = True) -> dict:
    """Return the entries of `SHARED_PROTOCOL`, given the version of this package."""
    return {
        "normalize": normalize,
        "thresholds": 256,
        "aggregation": "curves averaged over the images, then maximum or mean",
        "resize": "8-bit maps to the ground truth's size, bilinear",
        "version": version,
    }


@dataclass(frozen=True)
class Row:
    """A row of a table, for one method on one set.

    Attributes:
        scores: metric -> value; empty if the set could not be scored.
        images: number of scored images.
        marks: footnotes of the row, e.g. "only 20 of 500 images of NJU2K".
        kind: "measured" here, "quoted" from a paper, or the "difference" of the two.
    """

    set_name: str
    method: str
    scores: dict[str, float]
    images: int
    marks: tuple[str, ...] = field(default=())
    kind: Literal["measured", "quoted", "difference"] = "measured"


@dataclass
class Results:
    """Scores by method and set, with their protocol and remarks.

    Attributes:
        protocol: entries of `SHARED_PROTOCOL`, and the entries "resized" and "training".
        scores: method -> set -> metric -> value, and "images" -> number of images.
        marks: method -> set -> footnotes of the row, with or without scores.
        notes: lines below the table.
        curves: set -> method -> curve -> (256,) float64, mean over the images at the thresholds
            255..0; not part of scores.json.
        incomplete: METHOD/SET with missing or unreadable maps; not part of scores.json.
    """

    protocol: dict
    scores: dict[str, dict[str, Scores]] = field(default_factory=dict)
    marks: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    curves: Curves = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("resized", "training"):  # older files lack these entries
            self.protocol.setdefault(name, {})

    def add(self, method: str, set_name: str, scores: Scores, marks: Iterable[str]) -> None:
        """Add the scores, which may be empty, and the marks of a method on a set."""
        if scores:
            self.scores.setdefault(method, {})[set_name] = scores
        self.marks.setdefault(method, {})[set_name] = list(marks)

    def rows(self) -> list[Row]:
        """Return the rows, set by set, with the methods in their order of appearance."""
        rows = []
        for set_name in dict.fromkeys(name for cells in self.marks.values() for name in cells):
            for method, cells in self.marks.items():
                if set_name in cells:
                    scores = self.scores.get(method, {}).get(set_name, {})
                    images, marks = int(scores.get("images", 0)), tuple(cells[set_name])
                    rows.append(Row(set_name, method, scores, images, marks))
        return rows

    def protocol_lines(self) -> list[str]:
        """Return the protocol as the lines below every table."""
        p = self.protocol
        maps = "stretched to their own min-max" if p["normalize"] else "scored as v/255"
        resized = sum(p["resized"].values())
        line = (
            f"protocol: maps {maps}; {p['thresholds']} thresholds; {p['aggregation']}; "
            f"{resized} maps resized ({p['resize']}); mutualformer_sod {p['version']}"
        )
        return [line, *(f"{m}: {training_line(t)}" for m, t in p["training"].items())]

    def to_json(self) -> str:
        """Return the text of scores.json."""
        content = {name: getattr(self, name) for name in ("protocol", "scores", "marks", "notes")}
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a scores.json of tools/evaluate.py, or raise InputError for an unusable file."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            marks, notes = content.get("marks", {}), list(content.get("notes", []))
            results = cls(content["protocol"], content["scores"], marks, notes)
            results._check()
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such file. Fix: pass a scores.json of tools/evaluate.py."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: not a scores.json of tools/evaluate.py ({error!r}). "
                "Fix: run tools/evaluate.py again."
            ) from None
        return results

    def _check(self) -> None:
        """Raise an error if the content is unusable, and add missing lists of marks."""
        if missing := [name for name in SHARED_PROTOCOL if name not in self.protocol]:
            raise ValueError(f"no {', '.join(missing)} in the protocol")
        sum(self.protocol["resized"].values())  # must be numbers
        self.protocol["training"].items()  # must be a dict
        marks = (mark for cells in self.marks.values() for row in cells.values() for mark in row)
        if not all(isinstance(text, str) for text in chain(self.notes, marks)):
            raise ValueError("marks or notes that are not text")
        for method, cells in self.scores.items():
            for set_name, scores in cells.items():
                wrong = [n for n, v in scores.items() if not math.isfinite(v)]
                if wrong or "images" not in scores or not set(scores) & set(COLUMNS):
                    raise ValueError(f"unusable scores of {method} on {set_name}")
                self.marks.setdefault(method, {}).setdefault(set_name, [])

    def merge(self, other: Results, source: str) -> None:
        """Add the results of another evaluation, named ``source`` in error messages.

        Raises:
            InputError: the protocols differ, the scores for the same method and set differ, or
                methods with different training have the same name.
        """
        if differing := [n for n in SHARED_PROTOCOL if self.protocol[n] != other.protocol[n]]:
            named = "; ".join(
                f"{n}: {self.protocol[n]!r} against {other.protocol[n]!r}" for n in differing
            )
            raise InputError(
                f"{source}: the protocol differs: {named}. Fix: evaluate with equal options."
            )
        for method, record in other.protocol["training"].items():
            if self.protocol["training"].get(method, record) != record:
                raise InputError(
                    f"{source}: two methods with different training have the name {method}. "
                    "Fix: rename one of them."
                )
        for method, cells in other.marks.items():
            for set_name, marks in cells.items():
                scores = other.scores.get(method, {}).get(set_name, {})
                known = self.scores.get(method, {}).get(set_name, {})
                if known and scores and known != scores:
                    raise InputError(
                        f"{source}: the scores of {method} on {set_name} differ from those of "
                        "another file. Fix: omit one file, or rename the method."
                    )
                if not known:
                    self.add(method, set_name, scores, marks)
        for name in ("resized", "training"):
            self.protocol[name] |= other.protocol[name]
        self.notes += [note for note in other.notes if note not in self.notes]


def format_score(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """Format a score without the leading zero, as in papers, or None as "-"."""
    if value is None:
        return "-"
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return re.sub(r"^([+-]?)0\.", r"\1.", text)


def training_line(record: object) -> str:
    """Describe the training of weights in one line, from the record that tools/test.py writes."""
    try:
        images = ", ".join(f"{name} {count}" for name, count in record["train_images"].items())
        line = (
            f"trained on {images} images (protocol {record['name']}); {record['choice']}: epoch "
            f"{record['epoch']} of {record['epochs']}; seed {record['seed']}, {record['size']} px"
        )
        for name, count in record.get("test_images_trained_on", {}).items():
            line += f"; TRAINED ON {count} IMAGES OF THE TEST SET {name}"
        return line
    except (TypeError, KeyError, AttributeError):
        return json.dumps(record)  # a record of another program
