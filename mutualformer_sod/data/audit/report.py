"""Format the results of a check as a table and as JSON."""

import re
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from mutualformer_sod.data.audit.check import Check, CheckedSet
from mutualformer_sod.data.audit.depth import DepthReport
from mutualformer_sod.data.audit.inspection import Inspected
from mutualformer_sod.data.depth.encoding import DepthEncoding
from mutualformer_sod.data.discovery.benchmarks import last_part


def check_table(check: Check) -> str:
    """Return a table with one line per set; the column "!" gives the number of problems."""
    kinds = {s.found.modality.name for s in check.sets if s.depth is not None}
    noun = " / ".join(sorted(kinds)) or "depth"
    heads = ("set", "part", "images", "usual", "RGB", noun, "near", "margin", "holes", "GT", "!")
    rows = [heads, *(_row(checked, check) for checked in check.sets)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def layout_line(checked: CheckedSet) -> str:
    """Return one line with the folders of a set and the alias under which the set was found."""
    folders = ", ".join(f"{role} in {names}" for role, names in checked.layout.items())
    alias = checked.found.path.rsplit("/", 1)[-1]
    own = last_part(checked.found.name)
    known_as = f", found as {alias}" if alias and alias != own else ""
    return f"{checked.label}: {checked.found.folder} ({folders}){known_as}"


def check_json(check: Check) -> dict[str, Any]:
    """Return all results as JSON values, with all files of each finding."""
    return {
        "sets": [_set_json(checked) for checked in check.sets],
        "findings": [asdict(finding) for finding in check.findings],
        "problems": len(check.problems),
    }


def _row(checked: CheckedSet, check: Check) -> tuple[str, ...]:
    problems = sum(checked.label in finding.set.split(" / ") for finding in check.problems)
    ratios = [image.gt_ratio for image in checked.images if image.gt_ratio is not None]
    return (
        checked.label,
        checked.part or "-",
        str(checked.count),
        str(checked.usual or "-"),
        _sizes(checked.images, "rgb"),
        *_depth_cells(checked.depth),
        f"{np.mean(ratios):.0%} fg" if ratios else "-",
        str(problems or "-"),
    )


def _depth_cells(depth: DepthReport | None) -> tuple[str, str, str, str]:
    """Return type, unit and range ("uint16 mm 306-3400"), polarity, margin and ratio of holes."""
    if depth is None:
        return "-", "-", "-", "-"
    encoding, (low, high) = depth.encoding, depth.range
    kind, values = max(depth.types, key=depth.types.get), f"{low:.4g}-{high:.5g}"
    if not isinstance(encoding, DepthEncoding):
        return f"{kind} {values}", "-", "-", "-"
    unit = ""
    if encoding.kind == "disparity":
        unit = " disparity"
    elif encoding.kind == "metric":
        unit = " mm" if "millimetres" in encoding.reason else " m"
    elif copied := re.search(r" x\d+ ", encoding.reason):
        unit = copied[0].rstrip()
    margin = "-" if encoding.margin is None else f"{encoding.margin:.2f}"
    return f"{kind}{unit} {values}", encoding.near, margin, f"{encoding.holes:.1%}"


def _sizes(images: list[Inspected], role: str) -> str:
    """Return the common size of all images ("640x480"), or the smallest and largest by area."""
    role = role if role in ("rgb", "gt") else "depth"
    sizes = sorted({i.sizes[role] for i in images if role in i.sizes}, key=lambda s: s[0] * s[1])
    if not sizes:
        return "-"
    ends = (sizes[0], sizes[-1]) if len(sizes) > 1 else sizes
    return "..".join(f"{width}x{height}" for height, width in ends)


def _set_json(checked: CheckedSet) -> dict[str, Any]:
    result: dict[str, Any] = {
        "name": checked.label,
        "folder": str(checked.found.folder),
        "path": checked.found.path,
        "part": checked.part,
        "layout": checked.layout,
        "images": checked.count,
        "usual": checked.usual,
        "read": len(checked.images),
        "sizes": {role: _sizes(checked.images, role) for role in checked.layout},
        "gt_notes": dict(Counter(image.gt_note for image in checked.images if image.gt_note)),
    }
    if checked.depth is not None:
        result[checked.found.modality.name] = _depth_json(checked)
    return result


def _depth_json(checked: CheckedSet) -> dict[str, Any]:
    depth, encoding, evidence = checked.depth, checked.depth.encoding, checked.depth.evidence
    stored = {"types": depth.types, "range": list(depth.range)}
    if evidence is None:
        return stored
    scored = zip(depth.images, evidence.scores, strict=True)
    return {
        "kind": encoding.kind,
        "near": encoding.near,
        "margin": None if encoding.margin is None else round(encoding.margin, 4),
        "weak": encoding.is_weak,
        "reason": encoding.reason,
        "holes": round(encoding.holes, 6),
        **stored,
        "evidence": {
            "mean": round(evidence.mean, 4),
            "agreeing": round(evidence.agreeing, 4),
            "margin": round(evidence.margin, 4),
            "images": {image.sample.stem: round(float(score), 4) for image, score in scored},
        },
    }
