"""Refuse unsupported formats, recognised by the first bytes of a file, and name a remedy."""

import contextlib
from pathlib import Path

from mutualformer_sod.errors import InputError

_HEIC = (
    "HEIC is unsupported. Fix: convert it to JPEG (heif-convert IN OUT.jpg), or set the camera to "
    "JPEG"
)
_AVIF = "AVIF is unsupported. Fix: convert it to PNG or JPEG (avifdec IN OUT.png)"
_RAW = "a raw file is unsupported. Fix: develop it to JPEG or TIFF (darktable, dcraw -T)"
_VIDEO = "the file is a video, not a picture. Fix: pass it as --video"

_RAW_SUFFIXES = frozenset(
    {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"}
)
REFUSED_SUFFIXES = _RAW_SUFFIXES | {
    *(".heic", ".heif", ".hif", ".avif", ".svg", ".svgz", ".pdf", ".psd", ".jp2", ".jxl", ".exr")
}
"""Suffixes of unsupported pictures, which are reported instead of skipped."""

_SAVE = "numpy.save('x.npy', ARRAY)"
DEPTH_CONTAINERS = {
    ".mat": f"load it with scipy.io.loadmat and store the array by {_SAVE}",
    ".npz": f"store one array of the file by {_SAVE}",
    **dict.fromkeys((".exr", ".pfm"), f"store it by {_SAVE}, or as 16-bit PNG in millimetres"),
    **dict.fromkeys((".h5", ".hdf5"), f"store one array of the file by {_SAVE}"),
    **dict.fromkeys((".raw", ".bin", ".dat", ".pcd", ".ply"), f"store the map by {_SAVE}"),
}
"""Remedies for depth files of unsupported types, by suffix."""

_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"), _HEIC),
    **dict.fromkeys((b"avif", b"avis"), _AVIF),
    b"crx ": _RAW,
}
_STARTS = {
    **dict.fromkeys((b"FUJIFILMCCD-RAW", b"IIRO", b"IIU\0"), _RAW),
    b"%PDF": "PDF is unsupported. Fix: render its page to PNG (pdftoppm -png IN OUT)",
    b"8BPS": "a Photoshop file is unsupported. Fix: export it as PNG",
    b"\x1a\x45\xdf\xa3": _VIDEO,  # Matroska, WebM
}


def refuse_by_content(path: Path | str, data: bytes) -> None:
    """Raise InputError for an empty file, or for bytes in a known unsupported format.

    The suffix of ``path`` identifies raw files, which look like TIFF.
    """
    if not data:
        raise InputError(f"{path}: the file is empty (0 bytes). Fix: replace it by an intact copy")
    if reason := _reason(Path(path).suffix.lower(), data):
        raise InputError(f"{path}: {reason}")


def refuse_depth_container(path: Path | str, noun: str = "depth") -> None:
    """Raise InputError if the suffix of ``path`` is in `DEPTH_CONTAINERS`."""
    if (suffix := Path(path).suffix.lower()) in DEPTH_CONTAINERS:
        remedy = container_remedy(suffix, noun)
        raise InputError(f"{path}: {noun} in {suffix} is unsupported. Fix: {remedy}")


def container_remedy(suffix: str, noun: str = "depth") -> str:
    """Return the remedy for a file of maps with a suffix of `DEPTH_CONTAINERS`."""
    return DEPTH_CONTAINERS[suffix] if noun == "depth" else f"store its array by {_SAVE}"


def _reason(suffix: str, data: bytes) -> str | None:
    for start, reason in _STARTS.items():
        if data.startswith(start):
            return reason
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], _VIDEO)
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return _VIDEO
    if suffix in _RAW_SUFFIXES and data[:2] in (b"II", b"MM"):
        return _RAW
    head = data[:4096]
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<svg" in head:
        return "SVG is a drawing, not a picture. Fix: render it to PNG (rsvg-convert IN -o OUT.png)"
    if data[:1] != b"P" and b"\0" not in head:  # P: a PPM may look like text
        with contextlib.suppress(UnicodeDecodeError):
            head[: max(1, len(head) - 3)].decode("utf-8")  # the last character may be cut
            return "the file is text, not a picture. Fix: pass a picture"
    return None
