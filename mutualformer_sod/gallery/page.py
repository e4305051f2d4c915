"""Write the page of a gallery with images, ground truths, maps and scores of several methods.

The page is one file and needs neither internet nor server. The pictures are separate files.
"""

import csv
import html
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from string import Template

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import write_text
from mutualformer_sod.gallery.pictures import FALSE_POSITIVE, MISS, Picture
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.metrics.results import Scores


def gallery_columns() -> tuple[str, ...]:
    """Return the names of the scores that a gallery shows."""
    return tuple(name for name, column in COLUMNS.items() if column.in_gallery)


@dataclass
class MapCard:
    """The map of one method for one image, with the error map and scores."""

    map: Picture | None = None  # None if the map is absent
    error: Picture | None = None  # `pictures.error_map`; None without map or ground truth
    scores: Scores = field(default_factory=dict)  # `gallery_columns`; empty without error map
    note: str = ""  # e.g. "missing", "unreadable" or "resized from 320 x 240"


@dataclass
class ImageCard:
    """An image and its maps."""

    set_name: str
    stem: str
    rgb: Picture | None = None
    depth: Picture | None = None  # near depth is bright
    gt: Picture | None = None
    maps: list[MapCard] = field(default_factory=list)  # in the order of the methods
    disagreement: float | None = None  # of the maps, see `pictures.disagreement`
    problems: list[str] = field(default_factory=list)  # one line for each unreadable file
    gt_note: str = ""  # interpretation of a ground truth whose values are not 0 and 255
    map_name: str = "depth"  # name and title of the modality of `depth`
    map_label: str = "depth (near = bright)"

    def pictures(self) -> list[Picture]:
        """Return all pictures of the card."""
        own = [self.rgb, self.depth, self.gt]
        own += [picture for card in self.maps for picture in (card.map, card.error)]
        return [picture for picture in own if picture is not None]

    def mean_s(self) -> float | None:
        """Return the mean S-measure of the methods, or None if a method has no score."""
        scores = [card.scores.get("s_measure") for card in self.maps]
        return None if None in scores or not scores else statistics.fmean(scores)


def pick(
    cards: Sequence[ImageCard],
    *,
    stems: Sequence[str] = (),
    worst: int = 0,
    best: int = 0,
    disagreement: int = 0,
) -> list[ImageCard]:
    """Choose images for a figure by name, by S-measure or by disagreement.

    Args:
        stems: names of the images, as STEM, or as SET/STEM if several sets have the stem.
        worst, best: number of images with the lowest or highest mean S-measure of the methods.
        disagreement: number of images whose maps differ most between the methods.

    Raises:
        InputError: an image does not exist, a name is ambiguous, or no image can be ranked.
    """
    if stems:
        return [_named(cards, stem) for stem in stems]
    if disagreement:
        ranked = [(-card.disagreement, card) for card in cards if card.disagreement is not None]
        flag, count, need = "--disagreement", disagreement, "two methods with a map"
    else:
        flag, count = ("--best", best) if best else ("--worst", worst)
        sign, need = (-1 if best else 1), "a ground truth and every method's map"
        ranked = [(sign * s, card) for card in cards if (s := card.mean_s()) is not None]
    if not ranked:
        raise InputError(f"{flag}: no image has {need}. Fix: choose images with --figure STEM.")
    return [card for _, card in sorted(ranked, key=lambda pair: pair[0])[:count]]


def _named(cards: Sequence[ImageCard], name: str) -> ImageCard:
    found = [card for card in cards if name in (card.stem, f"{card.set_name}/{card.stem}")]
    if not found:
        raise InputError(f"--figure {name}: no such image. Fix: pass a known STEM or SET/STEM.")
    if len(found) > 1:
        sets = " or ".join(f"{card.set_name}/{name}" for card in found[:4])
        raise InputError(f"--figure {name}: several sets have this image. Fix: pass {sets}.")
    return found[0]


def read_scores(folder: Path) -> tuple[dict[tuple[str, str, str], Scores], bool]:
    """Read per_image.csv and the normalisation from the output folder of tools/evaluate.py.

    Returns:
        (set, stem, method) -> metric -> value, and whether each map was stretched to its own
        minimum and maximum.

    Raises:
        InputError: a file is missing, or was not written by tools/evaluate.py.
    """
    path, summary, names = folder / "per_image.csv", folder / "scores.json", gallery_columns()
    try:
        normalize = bool(json.loads(summary.read_text(encoding="utf-8"))["protocol"]["normalize"])
        with path.open(newline="", encoding="utf-8") as file:
            scores = {
                (line["set"], line["image"], line["method"]): {m: float(line[m]) for m in names}
                for line in csv.DictReader(file)
            }
    except FileNotFoundError as error:
        raise InputError(
            f"--scores {folder}: no {Path(error.filename).name}. "
            "Fix: pass the --output of tools/evaluate.py."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--scores {folder}: not written by tools/evaluate.py ({error!r}). "
            "Fix: run tools/evaluate.py again."
        ) from None
    return scores, normalize


def write_page(
    path: Path, title: str, methods: Sequence[str], cards: Sequence[ImageCard], note: str = ""
) -> None:
    """Write the page of a gallery, which shows the pictures in ``thumbs/`` and ``full/``.

    ``methods`` are in the order of the maps of the cards, and ``cards`` in the initial order of the
    page. ``note`` is the protocol of the scores, shown at the end.
    """
    content = {
        "methods": list(methods),
        "measures": [
            {"key": m, "title": COLUMNS[m].title, "larger": COLUMNS[m].larger_is_better}
            for m in gallery_columns()
        ],
        "sets": list(dict.fromkeys(card.set_name for card in cards)),
        "images": [_image_entry(card) for card in cards],
    }
    parts = {
        "TITLE": html.escape(title),
        "NOTE": html.escape(note),
        "COLOURS": f"--false-positive: rgb{FALSE_POSITIVE}; --miss: rgb{MISS};",
        "STYLE": _part("page.css"),
        "DATA": _json_in_html(content),
        "SCRIPT": _part("page.js") + _part("zoom.js") + "start();",
    }
    write_text(path, Template(_part("page.html")).substitute(parts))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _json_in_html(content: object) -> str:
    """Return JSON with escaped ``<``, ``>`` and ``&``, so that no name can open a tag."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, default=asdict)  # ASCII
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _image_entry(card: ImageCard) -> dict:
    s = [c.scores["s_measure"] for c in card.maps if "s_measure" in c.scores]
    return {
        "set": card.set_name,
        "stem": card.stem,
        "rgb": card.rgb,
        "depth": card.depth,
        "map_name": card.map_name,
        "map_label": card.map_label,
        "gt": card.gt,
        "disagreement": card.disagreement,
        "spread": statistics.pstdev(s) if len(s) > 1 else None,
        "problems": card.problems,
        "maps": [
            {
                "map": c.map,
                "error": c.error,
                "scores": [c.scores[m] for m in gallery_columns()] if c.scores else None,
                "note": c.note,
            }
            for c in card.maps
        ],
    }
