"""The results of an evaluation: what scores.json holds, read, merged and turned into rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.report.tables import Row

# Results are comparable where these agree; what else a protocol says belongs to its maps.
SHARED_PROTOCOL = ("normalize", "thresholds", "aggregation", "resize", "version")

Scores = dict[str, float]


def scoring_protocol(version: str, normalize: bool = True) -> dict:
    """How scores are computed here: what `SHARED_PROTOCOL` names.

    Args:
        version: of this package.
        normalize: whether each map is stretched to its own minimum and maximum.
    """
    return {
        "normalize": normalize,
        "thresholds": 256,
        "aggregation": "curves averaged over the images, then maximum or mean",
        "resize": "8-bit maps to the ground truth's size, bilinear",
        "version": version,
    }


@dataclass
class Results:
    """Scores by method and set, how they were computed, and what has to be said about them.

    Attributes:
        protocol: how the scores were computed; `SHARED_PROTOCOL`, "resized" and "training".
        scores: method -> set -> measure -> value, with "images" among the measures.
        marks: method -> set -> footnotes of the row, for scored and unscored cells alike.
        notes: lines that stand below the table.
    """

    protocol: dict
    scores: dict[str, dict[str, Scores]] = field(default_factory=dict)
    marks: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, method: str, set_name: str, scores: Scores, marks: Iterable[str]) -> None:
        """Add a cell; without scores it is shown as not scored."""
        if scores:
            self.scores.setdefault(method, {})[set_name] = scores
        self.marks.setdefault(method, {})[set_name] = list(marks)

    def rows(self) -> list[Row]:
        """One row a cell, set by set, the methods in their order of appearance."""
        sets = dict.fromkeys(name for cells in self.marks.values() for name in cells)
        return [
            self._row(method, set_name)
            for set_name in sets
            for method in self.marks
            if set_name in self.marks[method]
        ]

    def _row(self, method: str, set_name: str) -> Row:
        scores = self.scores.get(method, {}).get(set_name, {})
        images = int(scores.get("images", 0))
        return Row(set_name, method, scores, images, tuple(self.marks[method][set_name]))

    def protocol_lines(self) -> list[str]:
        """The protocol as it stands under every table."""
        p = self.protocol
        maps = "stretched to their own min-max" if p["normalize"] else "taken as v/255"
        resized = sum(p.get("resized", {}).values())
        lines = [
            f"protocol: maps {maps}; {p['thresholds']} thresholds; {p['aggregation']}; "
            f"{resized} maps resized ({p['resize']}); mutualformer_sod {p['version']}"
        ]
        training = p.get("training", {})
        lines += [f"{method}: {training_line(record)}" for method, record in training.items()]
        return lines

    def to_json(self) -> str:
        """The text of scores.json."""
        content = {
            "protocol": self.protocol,
            "scores": self.scores,
            "marks": self.marks,
            "notes": self.notes,
        }
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a scores.json.

        Raises:
            InputError: missing, or not written by tools/evaluate.py.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            results = cls(content["protocol"], content["scores"], content.get("marks", {}), [])
            results.notes = list(content.get("notes", []))
            results._check()
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; give a scores.json of evaluate.py") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: not a scores.json of tools/evaluate.py ({error!r}); run it again"
            ) from None
        return results

    def _check(self) -> None:
        """Refuse content that is not of this form; complete what older files leave out."""
        missing = [name for name in SHARED_PROTOCOL if name not in self.protocol]
        if missing:
            raise ValueError(f"no {', '.join(missing)} in the protocol")
        for name in ("resized", "training"):
            self.protocol.setdefault(name, {}).items()  # has to be a dict
        sum(self.protocol["resized"].values())  # of numbers
        if not all(isinstance(text, str) for text in self._texts()):
            raise ValueError("marks or notes that are not text")
        for method, cells in self.scores.items():
            for set_name, scores in cells.items():
                wrong = [n for n, v in scores.items() if not math.isfinite(v)]
                if wrong or "images" not in scores or not set(scores) & set(COLUMNS):
                    raise ValueError(f"scores of {method} on {set_name}")
                self.marks.setdefault(method, {}).setdefault(set_name, [])

    def _texts(self) -> Iterator[object]:
        """All notes and marks."""
        yield from self.notes
        for cells in self.marks.values():
            for marks in cells.values():
                yield from marks

    def merge(self, other: Results, source: str) -> None:
        """Add another run's results.

        Args:
            other: results of the same protocol.
            source: what to call the other in messages.

        Raises:
            InputError: another protocol, other scores for the same cell, or maps of other weights
                under the same name.
        """
        differing = [n for n in SHARED_PROTOCOL if self.protocol[n] != other.protocol[n]]
        if differing:
            named = "; ".join(
                f"{n}: {self.protocol[n]!r} against {other.protocol[n]!r}" for n in differing
            )
            raise InputError(f"{source}: another protocol ({named}); evaluate all maps alike")
        for method, record in other.protocol.get("training", {}).items():
            if self.protocol.get("training", {}).get(method, record) != record:
                raise InputError(
                    f"{source}: {method} was trained otherwise than the {method} before; rename one"
                )
        for method, cells in other.marks.items():
            for set_name, marks in cells.items():
                scores = other.scores.get(method, {}).get(set_name, {})
                known = self.scores.get(method, {}).get(set_name, {})
                if known and scores and known != scores:
                    raise InputError(
                        f"{source}: other scores for {method} on {set_name}; leave one file out, "
                        "or rename the method"
                    )
                if not known:
                    self.add(method, set_name, scores, marks)
        for name in ("resized", "training"):
            self.protocol[name] = self.protocol.get(name, {}) | other.protocol.get(name, {})
        self.notes += [note for note in other.notes if note not in self.notes]


def training_line(record: object) -> str:
    """How weights were trained, in one line, from what tools/test.py recorded beside the maps."""
    try:
        images = ", ".join(f"{name} {count}" for name, count in record["train_images"].items())
        return (
            f"trained on {images} images (protocol {record['name']}); {record['choice']}: epoch "
            f"{record['epoch']} of {record['epochs']}; seed {record['seed']}, {record['size']} px"
        )
    except (TypeError, KeyError, AttributeError):
        return json.dumps(record)  # another program's record, as it is


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all; names that are not Unicode are escaped."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
