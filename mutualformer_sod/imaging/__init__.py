"""Read images, masks, depth and saliency maps, and write saliency maps, without torch."""

from pathlib import Path

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
"""Suffixes of images, masks and saliency maps."""


def image_files(folder: Path) -> list[Path]:
    """Return the images in a folder, sorted, without hidden files."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
