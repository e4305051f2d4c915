"""Saliency of a user's own pictures and videos: what ``tools/predict.py`` does, as a library.

Pictures -> jobs (`jobs`), with depth (`depths`) -> predictor -> maps, overlays, cut-outs
(`pictures`, `png`, `run`). Importing this imports no torch.
"""

from mutualformer_sod.predict.pictures import cutout, overlay

__all__ = ["cutout", "overlay"]
