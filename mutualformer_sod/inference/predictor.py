"""Predict saliency maps of images in arrays."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mutualformer_sod.data.depth.encoding import GreyEncoding, without_flat
from mutualformer_sod.data.depth.kind import DepthSample
from mutualformer_sod.data.depth.polarity import encoding_of
from mutualformer_sod.data.modality import DEPTH, Encoding, find_modality
from mutualformer_sod.data.training.transforms import resize_sample
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import to_stored_type, without_channels
from mutualformer_sod.models.detector import SaliencyDetector
from mutualformer_sod.models.device import autocast, optimise_for_cpu, pick_amp, pick_device
from mutualformer_sod.models.encoder import resize
from mutualformer_sod.models.inputs import check_inputs, check_visible, hide_modality
from mutualformer_sod.models.weights import load_weights

# Larger maps are computed in strips: a complete map needs several times 4 bytes per pixel.
_STRIP_PIXELS = 16 * 10**6


class Predictor:
    """Compute saliency maps from arrays.

    Example:
        >>> predictor = Predictor.from_weights("small-dinov2")
        >>> saliency = predictor.predict(rgb, depth, near="black")  # depth in millimetres

    Args:
        model: the detector, set to eval mode on ``device``. On a CPU the memory layout of
            the weights is optimised (`models.device`), without effect on names, shapes and values.
        size: input size of the network in pixels per side, 32 or more; None for the size that the
            model was built for.
        device: "auto" (CUDA if available), "cpu", "cuda", "cuda:N" or "mps".
        amp: "off" for float32; "bf16" or "fp16" for automatic mixed precision; "auto" for bf16 on
            CUDA devices that support it, else "off".
        modality: "both"; "rgb" hides the depth (or the maps of another second modality); "depth",
            or the name of the second modality, hides the colours.

    Attributes:
        second: the second modality of the network, depth or, for example, thermal.
        estimator: function that estimates the depth of images without depth, from rgb (H, W, 3)
            uint8 to (H, W) float in [0, 1], 1 = near; None to use RGB alone for these images.

    Raises:
        InputError (a ValueError): an illegal argument, or a modality that is not registered.
    """

    estimator: Callable[[np.ndarray], np.ndarray] | None = None

    def __init__(
        self,
        model: SaliencyDetector,
        size: int | None = None,
        device: str = "auto",
        amp: str = "auto",
        modality: str = "both",
    ) -> None:
        self.second = find_modality(model.config.second_modality)
        if modality == self.second.name:
            modality = "depth"
        if modality not in ("both", "rgb", "depth"):
            known = f"both, rgb or {self.second.name}"
            raise InputError(f"`modality` {modality!r} is not usable here. Fix: pass {known}.")
        if size is not None and size < 32:
            raise InputError(f"`size` {size} is too small. Fix: pass 32 pixels or more.")
        self.device = pick_device(device)
        is_cpu = self.device.type == "cpu"
        self.amp = "off" if amp == "auto" and is_cpu else pick_amp(amp, self.device)
        self.model = model.to(self.device).eval()
        if is_cpu:
            optimise_for_cpu(self.model)
        self.size = size or model.config.image_size
        self.modality = modality

    @property
    def settings(self) -> dict[str, str | int]:
        """The settings, in addition to the weights, that determine the maps."""
        return {"size": self.size, "amp": self.amp, "modality": self.modality}

    @classmethod
    def from_weights(
        cls, path: str | Path, size: int | None = None, device: str = "auto", amp: str = "auto"
    ) -> "Predictor":
        """Build a predictor from weights.

        Args:
            path: a ``.safetensors`` file of this project, a folder of ``save_pretrained``, or the
                name of released weights, for example "tiny".
            size, device, amp: as in `Predictor`. The modality is that of the training.

        Raises:
            InputError (a ValueError): a missing or unreadable file, or weights of another project.
        """
        model, protocol = load_weights(path)
        return cls(model, size, device, amp, protocol.get("modality", "both"))

    @torch.inference_mode()
    def logits(self, rgb: Tensor, depth: Tensor | None, has_depth: Tensor | None) -> Tensor:
        """Compute the logits of a batch.

        On a CPU the images are processed one by one, so that the logits of an image do not depend
        on the other images. A batch would not be faster there.

        Args:
            rgb: (B, 3, H, W) float in [0, 1].
            depth: (B, 1, H, W) float in [0, 1], 1 = near, or None.
            has_depth: (B,) bool; None if all images have depth.

        Returns:
            (B, 1, H, W) float32 logits on the CPU; NaN for an image whose input has NaN.

        Raises:
            InputError (a ValueError): wrong types, shapes or values.
        """
        if isinstance(rgb, Tensor) and not len(rgb):
            return rgb.new_zeros((0, 1, *rgb.shape[-2:]), dtype=torch.float32, device="cpu")
        check_inputs(rgb, depth, has_depth)
        rgb, depth, has_depth = hide_modality(self.modality, rgb, depth, has_depth)
        chunk = 1 if self.device.type == "cpu" else len(rgb)
        outputs = []
        for start in range(0, len(rgb), chunk):
            batch = [x if x is None else x[start : start + chunk] for x in (rgb, depth, has_depth)]
            if batch[2] is not None and not batch[2].any():
                batch[1:] = None, None  # the RGB-only path is cheaper, with the same result
            batch = [x if x is None else x.to(self.device, non_blocking=True) for x in batch]
            with autocast(self.device, self.amp):
                outputs.append(self.model(*batch).float().cpu())
        return torch.cat(outputs)

    def predict(
        self,
        rgb: np.ndarray,
        depth: np.ndarray | None = None,
        encoding: Encoding | None = None,
        near: str | None = None,
    ) -> np.ndarray:
        """Compute the saliency map of one image at its native size.

        Args:
            rgb: (H, W, 3) uint8 in RGB order.
            depth: (H, W); None for RGB alone. Without ``encoding`` and ``near``: float in [0, 1],
                1 = near. With either argument: raw depth, for example millimetres (uint16) or
                metres (float). NaN and infinity are holes; 0 is a hole in millimetres, metres and
                disparity only. A constant raw depth map is treated as missing depth. Maps without
                polarity (`second`), such as thermal images, are scaled to [0, 1] from any values.
            encoding: encoding of ``depth``, from `data.depth`.
            near: raw values that are near: "black" for small values (distances), "white" for large
                values, "disparity" for large values where 0 is a hole, "auto" for a decision from
                this map. Pass ``encoding`` or ``near``, not both.

        Returns:
            (H, W) float32 in [0, 1].

        Raises:
            InputError (a ValueError): wrong types, shapes or values.
        """
        logits = self.image_logits(rgb, depth, encoding, near)
        return native_saliency(logits, rgb.shape[:2])

    def image_logits(
        self,
        rgb: np.ndarray,
        depth: np.ndarray | None = None,
        encoding: Encoding | None = None,
        near: str | None = None,
    ) -> Tensor:
        """Compute the logits of one image, (1, 1, size, size) float32 on the CPU; see `predict`."""
        if not isinstance(rgb, np.ndarray):
            raise InputError(f"rgb is a {type(rgb).__name__}. Fix: pass a numpy array.")
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise InputError(
                f"rgb is {rgb.shape} {rgb.dtype}. Fix: pass (H, W, 3) uint8; pass a grey image as "
                "numpy.dstack([grey] * 3)."
            )
        if depth is None and (encoding is not None or near is not None):
            raise InputError("encoding= and near= have no effect without depth. Fix: omit them.")
        if depth is not None:
            check_visible(self.modality, True, self.second.name)
            depth = self._unit_depth(depth, rgb.shape[:2], encoding, near)
        elif self.estimator is not None:
            depth = self.estimator(rgb)
        if self.modality == "depth":
            check_visible(self.modality, depth is not None, self.second.name)
        # torch does not support negative strides, as in bgr[..., ::-1].
        rgb = np.ascontiguousarray(rgb)
        rgb_tensor, depth_tensor, _ = resize_sample(rgb, depth, None, (self.size, self.size))
        depth_batch = None if depth_tensor is None else depth_tensor[None]
        return self.logits(rgb_tensor[None], depth_batch, None)

    def require_depth(self, weights: str | Path, user: str) -> None:
        """Raise InputError if the second modality is not depth; ``user`` names the caller."""
        if self.second != DEPTH:
            raise InputError(
                f"`weights` {weights}: were trained on {self.second.maps}, but {user} needs depth."
                " Fix: use tools/predict.py, or pass other weights"
            )

    def check_finite(self, logits: Tensor, name: str) -> None:
        """Raise InputError if a logit is NaN or infinite; the message begins with ``name``."""
        if not logits.isfinite().all():
            problem = f"{name}: the network's output is not finite with `amp` {self.amp}"
            other = "" if self.amp == "off" else "pass `amp` off, or "
            raise InputError(f"{problem}. Fix: {other}use other weights.")

    def _unit_depth(
        self, depth: np.ndarray, size: tuple[int, int], encoding: Encoding | None, near: str | None
    ) -> np.ndarray | None:
        """Return a map (H, W) in [0, 1], 1 = near, or None if a raw map is constant."""
        if not isinstance(depth, np.ndarray) or depth.dtype.kind not in "fiu":
            problem = "depth is not a numeric numpy array"
            raise InputError(f"{problem}. Fix: pass (H, W) float or uint16.")
        depth = without_channels(depth)
        if depth.shape != size:
            raise InputError(f"depth is {depth.shape}. Fix: pass {size}, the size of rgb.")
        if encoding is not None and near is not None:
            raise InputError("encoding= and near= are both passed. Fix: pass one of them.")
        second, rule = self.second, self.model.config.depth_rule
        if encoding is not None and (encoding.near != "none") != second.has_polarity:
            remedy = f"pass an encoding of {second.maps}"
            raise InputError(f"encoding= is of another modality. Fix: {remedy}.")
        if not second.has_polarity:
            if near is not None:
                raise InputError(f"near={near!r}: {second.maps} have no polarity. Fix: omit near=.")
            stored = to_stored_type(second.name, depth, second.name)
            encoding = encoding or GreyEncoding.of([DepthSample.of(stored)], second.name)
            return without_flat(second.to_unit(stored, encoding, rule))
        if encoding is None and near is None:
            in_range = (depth >= 0) & (depth <= 1)  # false for NaN
            if depth.dtype.kind != "f" or not in_range.all():
                found = f"{depth.dtype} with values from {depth.min():.4g} to {depth.max():.4g}"
                raise InputError(
                    f"depth is {found}, not float in [0, 1]. Fix: pass float with 1 = near, or "
                    'raw depth with encoding=, near="white" or near="black" (distances).'
                )
            return np.ascontiguousarray(depth)
        depth = to_stored_type("depth", depth)
        if encoding is None:
            if near not in ("auto", "white", "black", "disparity"):
                remedy = "pass auto, white, black or disparity"
                raise InputError(f"near={near!r} is unknown. Fix: {remedy}.")
            encoding = encoding_of([DepthSample.of(depth)], near, ask='near="{}"')
        return without_flat(second.to_unit(depth, encoding, rule))


def native_saliency(logits: Tensor, native_size: tuple[int, int]) -> np.ndarray:
    """Convert logits (1, 1, h, w) to a saliency map of the native size, (H, W) float32 in [0, 1].

    The logits are resized before the sigmoid, so that borders stay sharp.
    """
    return resize(logits, native_size).sigmoid()[0, 0].numpy()


def saliency_strips(
    logits: Tensor, native_size: tuple[int, int], whole_pixels: int = _STRIP_PIXELS
) -> Iterator[np.ndarray]:
    """Yield the map of `native_saliency`, up to rounding, in strips (rows, W), from the top down.

    The number of rows of a strip depends on the width, so that memory is bounded. A map of at most
    ``whole_pixels`` pixels is one strip.
    """
    height, width = native_size
    if height * width <= whole_pixels:
        yield native_saliency(logits, native_size)
        return
    wide = resize(logits, (logits.shape[-2], width))[0, 0]  # (h, W)
    step = max(1, whole_pixels // 16 // width)
    for top in range(0, height, step):
        rows = torch.arange(top, min(top + step, height))
        # Half-pixel centres, clamped at the border, as in F.interpolate.
        y = ((rows + 0.5) * (len(wide) / height) - 0.5).clamp(min=0)
        above = y.long().clamp(max=len(wide) - 1)
        below = (above + 1).clamp(max=len(wide) - 1)
        yield torch.lerp(wide[above], wide[below], (y - above)[:, None]).sigmoid().numpy()
