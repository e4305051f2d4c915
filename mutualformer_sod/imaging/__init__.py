"""Decoding of image files, the one mask rule, and reading of saliency maps; without torch."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
"""Suffixes of images, masks and saliency maps."""
