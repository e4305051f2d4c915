"""Format the results of a check as a table and as JSON."""

import re
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from mutualformer_sod.data.audit.check import Check, CheckedSet
from mutualformer_sod.data.audit.inspection import Inspected

_HEADS = ("set", "part", "images", "usual", "RGB", "depth", "near", "margin", "holes", "GT", "!")


def check_table(check: Check) -> str:
    """Return a table with one line per set; "!" is the number of its problems."""
    kinds = {"thermal" if s.thermal else "depth" for s in check.sets if s.depth is not None}
    noun = " / ".join(sorted(kinds)) or "depth"
    heads = tuple(noun if head == "depth" else head for head in _HEADS)
    rows = [heads, *(_row(checked, check) for checked in check.sets)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def layout_line(checked: CheckedSet) -> str:
    """Return the folders of a set and its alias in one line."""
    folders = ", ".join(f"{role} in {names}" for role, names in checked.layout.items())
    alias = checked.path.rsplit("/", 1)[-1]
    own = checked.label.split(" ")[0].rsplit("/", 1)[-1]
    known_as = f", found as {alias}" if alias and alias != own else ""
    return f"{checked.label}: {checked.folder} ({folders}){known_as}"


def check_json(check: Check) -> dict[str, Any]:
    """Return all results as JSON values; the findings list all their files."""
    return {
        "sets": [_set_json(checked) for checked in check.sets],
        "findings": [asdict(finding) for finding in check.findings],
        "problems": len(check.problems),
    }


def _row(checked: CheckedSet, check: Check) -> tuple[str, ...]:
    problems = sum(checked.label in finding.set.split(" / ") for finding in check.problems)
    shares = [image.gt_share for image in checked.images if image.gt_share is not None]
    depth = ("-", "-", "-", "-")
    if checked.depth is not None:
        encoding = checked.depth.encoding
        near = "-" if checked.thermal else encoding.near
        margin = "-" if encoding.margin is None else f"{encoding.margin:.2f}"
        depth = (_kind(checked), near, margin, f"{encoding.holes:.1%}")
    return (
        checked.label,
        checked.part or "-",
        str(checked.count),
        str(checked.usual or "-"),
        _sizes(checked.images, "rgb"),
        *depth,
        f"{np.mean(shares):.0%} fg" if shares else "-",
        str(problems or "-"),
    )


def _kind(checked: CheckedSet) -> str:
    """Return type, unit and range of the depth, such as "uint16 mm 306-3400"."""
    depth = checked.depth
    kind = max(depth.types, key=depth.types.get)
    unit = ""
    if depth.encoding.kind == "metric":
        unit = " mm" if "millimetres" in depth.encoding.reason else " m"
    elif copied := re.search(r" x\d+ ", depth.encoding.reason):
        unit = copied[0].rstrip()
    low, high = depth.range
    return f"{kind}{unit} {low:.4g}-{high:.5g}"


def _sizes(images: list[Inspected], role: str) -> str:
    """Return the size of all images, "640x480", or the smallest and largest by area."""
    role = "depth" if role == "thermal" else role
    sizes = sorted({i.sizes[role] for i in images if role in i.sizes}, key=lambda s: s[0] * s[1])
    if not sizes:
        return "-"
    ends = (sizes[0], sizes[-1]) if len(sizes) > 1 else sizes
    return "..".join(f"{width}x{height}" for height, width in ends)


def _set_json(checked: CheckedSet) -> dict[str, Any]:
    result: dict[str, Any] = {
        "name": checked.label,
        "folder": str(checked.folder),
        "path": checked.path,
        "part": checked.part,
        "layout": checked.layout,
        "images": checked.count,
        "usual": checked.usual,
        "read": len(checked.images),
        "sizes": {role: _sizes(checked.images, role) for role in checked.layout},
        "gt_notes": dict(Counter(image.gt_note for image in checked.images if image.gt_note)),
    }
    if checked.depth is not None:
        result["thermal" if checked.thermal else "depth"] = _depth_json(checked)
    return result


def _depth_json(checked: CheckedSet) -> dict[str, Any]:
    depth, encoding, evidence = checked.depth, checked.depth.encoding, checked.depth.evidence
    stored = {"holes": round(encoding.holes, 6), "types": depth.types, "range": list(depth.range)}
    if checked.thermal:
        return stored
    scores = zip(depth.stems, evidence.scores, strict=True)
    return {
        "kind": encoding.kind,
        "near": encoding.near,
        "margin": None if encoding.margin is None else round(encoding.margin, 4),
        "weak": encoding.is_weak,
        "reason": encoding.reason,
        **stored,
        "evidence": {
            "mean": round(evidence.mean, 4),
            "agreeing": round(evidence.agreeing, 4),
            "margin": round(evidence.margin, 4),
            "images": {stem: round(float(score), 4) for stem, score in scores},
        },
    }
