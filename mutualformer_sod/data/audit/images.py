"""Check the number of images, the files, the sizes and the masks of a set."""

import re
from collections.abc import Sequence

from mutualformer_sod.data.audit.findings import Finding, about
from mutualformer_sod.data.audit.inspection import Inspected
from mutualformer_sod.data.depth.notes import same_proportions
from mutualformer_sod.data.discovery import benchmarks
from mutualformer_sod.data.discovery.pairing import role_labels
from mutualformer_sod.errors import counted


def check_counts(
    label: str, name: str, part: benchmarks.Split | None, count: int, has_rgb: bool = True
) -> list[Finding]:
    """Compare the number of images of a set with the number that papers report.

    A known set with part None counts as a test set. Known sets with only masks are not checked.
    """
    if not benchmarks.is_known(name):
        for sets in benchmarks.TRAINING_PROTOCOLS.values():
            if len(sets) > 1 and sum(sets.values()) == count:
                text = f"{count} images: the merged training images of {' + '.join(sets)}"
                return [Finding("note", "count", label, text)]
        return []
    split = part or "test"
    usual = benchmarks.usual_count(name, split)
    if not has_rgb or usual is None or usual == count:
        return []
    version = benchmarks.other_version(name, split, count)
    origin = f" ({version})" if version else ""
    use = "train on" if split == "train" else "report"
    text = f"{counted(count, 'image')}{origin}, papers {use} {usual}"
    remedy = "use the usual copy, or state the number beside the scores"
    return [Finding("problem", "count", label, text, remedy)]


def check_readable(label: str, images: Sequence[Inspected]) -> list[Finding]:
    """Report unreadable files, grouped by cause."""
    findings = []
    for role, title in role_labels(images[0].sample.modality).items():
        reasons: dict[str, list[tuple[str, str]]] = {}
        for image in images:
            if role in image.errors:
                path = str(getattr(image.sample, role))
                reason = image.errors[role].replace(f"{path}: ", "")
                # Causes that differ only in sizes and values form one finding.
                cause = re.sub(r"\d+(\.\d+)?", "N", reason.replace(str(image.sample.rgb), "RGB"))
                reasons.setdefault(cause, []).append((reason, path))
        for found in reasons.values():
            text = f"{title} not read, {found[0][0]}"
            findings += about("problem", "unreadable", label, text, "", [p for _, p in found])
    return findings


def check_sizes(label: str, images: Sequence[Inspected]) -> list[Finding]:
    """Report masks and maps that differ in size from their image; only maps are resized."""
    masks, alike, stretched = [], [], []
    noun = images[0].sample.modality.name
    for image in images:
        sizes = image.sizes
        if "rgb" in sizes and "gt" in sizes and sizes["rgb"] != sizes["gt"]:
            masks.append(image.sample.gt)
        size = sizes.get("rgb") or sizes.get("gt")
        if size is not None and "depth" in sizes and sizes["depth"] != size:
            fits = same_proportions(size, sizes["depth"])
            (alike if fits else stretched).append(image.sample.depth)
    text = "GT of another size than its RGB"
    remedy = "resize both to one size, masks by nearest neighbour"
    findings = about("problem", "size", label, text, remedy, masks)
    text = f"{noun} of another shape than its RGB"
    remedy = "crop or register the maps; otherwise they are stretched"
    findings += about("problem", "size", label, text, remedy, stretched)
    text = f"{noun} of another size, same shape: resized on reading"
    return findings + about("note", "size", label, text, "", alike)


def check_gt(label: str, images: Sequence[Inspected]) -> list[Finding]:
    """Report masks with unusual values, and masks without foreground or background."""
    read = [image for image in images if image.gt_ratio is not None]
    findings = []
    for note in sorted({image.gt_note for image in read} - {""}):
        paths = [image.sample.gt for image in read if image.gt_note == note]
        findings += about("note", "gt values", label, f"GT with {note}", "", paths)
    for kind, text, remedy, ratio in (
        ("empty", "GT without foreground", "omit the image, or restore its mask", 0),
        ("full", "GT without background", "check whether the mask is inverted", 1),
    ):
        paths = [image.sample.gt for image in read if image.gt_ratio == ratio]
        findings += about("problem", f"{kind} gt", label, text, remedy, paths)
    return findings
