"""Weights in, saliency maps out: the predictor that tools and applications use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mutualformer_sod.data.depth.kind import DepthSample
from mutualformer_sod.data.depth.units import (
    SAMPLE_SIDE,
    DepthEncoding,
    depth_to_unit,
    encoding_of,
    without_flat,
)
from mutualformer_sod.data.training.transforms import resize_sample
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import without_channels
from mutualformer_sod.models.cpu import optimise_for_cpu
from mutualformer_sod.models.detector import SaliencyDetector
from mutualformer_sod.models.device import autocast, pick_amp, pick_device
from mutualformer_sod.models.encoder import resize
from mutualformer_sod.models.inputs import check_inputs
from mutualformer_sod.models.weights import load_weights

MODALITIES = ("both", "rgb", "depth")
STRIP_PIXELS = 16 * 10**6
"""A map of more pixels is made strip by strip: whole, it takes several times 4 bytes a pixel."""

_NEAR = ("auto", "white", "black")


class Predictor:
    """Saliency maps from arrays.

    Args:
        model: the detector; put into eval mode on ``device`` and, on a CPU, rearranged for speed
            (``models.cpu``), which leaves its weights' names, shapes and values alone.
        size: pixels a side at which the network sees an image; None for the size it was built for.
        device: see ``pick_device``.
        amp: "off" for float32; "bf16" or "fp16" for automatic mixed precision; "auto" is bf16 on
            CUDA devices that compute in it, else off: maps do not depend on the CPU's instructions.
        modality: "both", or "rgb" to hide the depth, or "depth" to hide the colours.

    Attributes:
        estimator: rgb (H, W, 3) uint8 -> (H, W) float in [0, 1], near = 1, for images that come
            without depth; None: they are mapped from colour alone.

    Raises:
        InputError: an illegal option.
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
        if modality not in MODALITIES:
            raise InputError(f"modality {modality!r} is unknown: choose {', '.join(MODALITIES)}")
        if size is not None and size < 32:
            raise InputError(f"--size {size} is too small: give 32 pixels or more")
        self.device = pick_device(device)
        float32 = amp == "auto" and self.device.type == "cpu"
        self.amp = "off" if float32 else pick_amp(amp, self.device)
        self.model = model.to(self.device).eval()
        if self.device.type == "cpu":
            optimise_for_cpu(self.model)
        self.size = size or model.config.image_size
        self.modality = modality

    @classmethod
    def from_weights(
        cls, path: str | Path, size: int | None = None, device: str = "auto", amp: str = "auto"
    ) -> Predictor:
        """A predictor from a weights file, or from released weights by their name.

        Raises:
            InputError: the file is missing, unreadable or not this project's.
        """
        model, protocol = load_weights(path)
        modality = protocol.get("modality", "both")
        return cls(model, size, device, amp, modality)

    @torch.inference_mode()
    def logits(self, rgb: Tensor, depth: Tensor | None, has_depth: Tensor | None) -> Tensor:
        """Run the network.

        On a CPU the images go through one by one: nothing is lost in speed, and a map then depends
        on its own image alone, to the last bit, whatever the batch.

        Args:
            rgb: (B, 3, H, W) float in [0, 1].
            depth: (B, 1, H, W) float in [0, 1], near = 1, or None.
            has_depth: (B,) bool, or None for all.

        Returns:
            (B, 1, H, W) float32 logits on the CPU; NaN for an image with NaN in what is looked at.

        Raises:
            InputError (a ValueError): types, shapes or values that do not fit.
        """
        if isinstance(rgb, Tensor) and not len(rgb):
            return rgb.new_zeros((0, 1, *rgb.shape[-2:]), dtype=torch.float32, device="cpu")
        check_inputs(rgb, depth, has_depth)
        if self.modality == "rgb":
            depth = has_depth = None
        elif self.modality == "depth":
            rgb = torch.full_like(rgb, 0.5)
        chunk = 1 if self.device.type == "cpu" else len(rgb)
        outputs = []
        for start in range(0, len(rgb), chunk):
            part = slice(start, start + chunk)
            part_depth = None if depth is None else depth[part]
            part_has = None if has_depth is None else has_depth[part]
            if part_has is not None and not part_has.any():
                part_depth = part_has = None  # the cheaper rgb-only path, same values
            outputs.append(self._forward(rgb[part], part_depth, part_has))
        return torch.cat(outputs)

    def predict(
        self,
        rgb: np.ndarray,
        depth: np.ndarray | None = None,
        encoding: DepthEncoding | None = None,
        near: str | None = None,
    ) -> np.ndarray:
        """Saliency of one image at its own size.

        Args:
            rgb: (H, W, 3) uint8, RGB order.
            depth: (H, W) as stored if ``encoding`` or ``near`` is given, else float in [0, 1] with
                near = 1; None for RGB only. A camera's millimetres (uint16) or metres (float) may
                have holes: 0, NaN and infinity. Depth of one value is taken for none if it is
                given as stored.
            encoding: how ``depth`` is stored, see ``data.depth``.
            near: instead of ``encoding``, told from this map alone: "black" if small values are
                near (metres and millimetres), "white" if large ones are, "auto" to tell that too.

        Returns:
            (H, W) float32 in [0, 1].

        Raises:
            InputError (a ValueError): shapes, types or values that do not fit.
        """
        logits = self.image_logits(rgb, depth, encoding, near)
        return native_saliency(logits, rgb.shape[:2])

    def image_logits(
        self,
        rgb: np.ndarray,
        depth: np.ndarray | None = None,
        encoding: DepthEncoding | None = None,
        near: str | None = None,
    ) -> Tensor:
        """Logits of one image, (1, 1, size, size) float32 on the CPU; arguments as `predict`."""
        _check_rgb(rgb)
        if depth is not None:
            depth = self._unit_depth(depth, rgb.shape[:2], encoding, near)
        elif self.estimator is not None:
            depth = self.estimator(rgb)
        # torch takes no views with negative strides, such as bgr[..., ::-1]
        rgb = np.ascontiguousarray(rgb)
        rgb_tensor, depth_tensor, _ = resize_sample(rgb, depth, None, (self.size, self.size))
        return self.logits(
            rgb_tensor[None], None if depth_tensor is None else depth_tensor[None], None
        )

    def _unit_depth(
        self,
        depth: np.ndarray,
        size: tuple[int, int],
        encoding: DepthEncoding | None,
        near: str | None,
    ) -> np.ndarray | None:
        """Depth (H, W) in [0, 1], near = 1; None where depth as stored says nothing."""
        if not isinstance(depth, np.ndarray) or depth.dtype.kind not in "fiu":
            raise InputError("depth must be a numpy array of numbers: give float or uint16, (H, W)")
        depth = without_channels(depth)
        if depth.shape != size:
            raise InputError(f"depth is {depth.shape}: give {size}, the size of rgb")
        if encoding is not None and near is not None:
            raise InputError("both encoding= and near= are given: give one of them")
        if encoding is None and near is None:
            if not _is_unit(depth):
                raise InputError(
                    f"depth is {depth.dtype} and not all in [0, 1]: give float with near = 1, or "
                    'depth as stored with near="black" (metres, millimetres), "white" or encoding='
                )
            return np.ascontiguousarray(depth)
        depth = _as_stored(depth)
        if encoding is None:
            if near not in _NEAR:
                raise InputError(f"near={near!r} is unknown: give {', '.join(_NEAR)}")
            encoding = encoding_of([DepthSample.of(depth, SAMPLE_SIDE)], near, ask='near="{}"')
        return without_flat(depth_to_unit(depth, encoding, self.model.config.depth_rule))

    def _forward(self, rgb: Tensor, depth: Tensor | None, has_depth: Tensor | None) -> Tensor:
        def place(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(self.device, non_blocking=True)

        with autocast(self.device, self.amp):
            logits = self.model(place(rgb), place(depth), place(has_depth))
        return logits.float().cpu()


def _check_rgb(rgb: np.ndarray) -> None:
    if not isinstance(rgb, np.ndarray):
        raise InputError(f"rgb is a {type(rgb).__name__}: give a numpy array, (H, W, 3) uint8")
    if rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8 and rgb.size:
        return
    remedy = "give (H, W, 3) uint8"
    if rgb.dtype == np.uint8 and (rgb.ndim == 2 or rgb.shape[2:] == (1,)):
        remedy += "; a grey picture as numpy.dstack([grey] * 3)"
    raise InputError(f"rgb is {rgb.shape} {rgb.dtype}: {remedy}")


def _as_stored(depth: np.ndarray) -> np.ndarray:
    """Depth in one of the types that `io.read_depth` gives: uint8, uint16, float32."""
    if depth.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite: a hole
            return depth.astype(np.float32)
    if depth.dtype == np.uint8:
        return depth
    if depth.min() < 0 or depth.max() > 65535:
        raise InputError(f"depth is {depth.dtype} beyond 16 bits: give float metres, or uint16")
    return depth.astype(np.uint16)


def _is_unit(depth: np.ndarray) -> bool:
    return depth.dtype.kind == "f" and bool(((depth >= 0) & (depth <= 1)).all())  # NaN is not


def native_saliency(logits: Tensor, native_size: tuple[int, int]) -> np.ndarray:
    """Logits of one image (1, 1, h, w) -> saliency (H, W) float32 in [0, 1] at its native size.

    The logits are resized and the sigmoid is taken last, so that borders stay sharp.
    """
    return resize(logits, native_size).sigmoid()[0, 0].numpy()


def saliency_strips(logits: Tensor, native_size: tuple[int, int]) -> Iterator[np.ndarray]:
    """As `native_saliency` from the top down in strips (h, W); in one where the map is small.

    Strips differ from the whole map by rounding alone, and their height depends on the width, so
    that a map of hundreds of megapixels takes no more memory than ``STRIP_PIXELS`` do.
    """
    height, width = native_size
    if height * width <= STRIP_PIXELS:
        yield native_saliency(logits, native_size)
        return
    wide = resize(logits, (logits.shape[-2], width))[0, 0]  # (h, W)
    step = max(1, STRIP_PIXELS // 16 // width)
    for top in range(0, height, step):
        rows = torch.arange(top, min(top + step, height))
        # Half-pixel centres, clamped at the border, as F.interpolate has them.
        y = ((rows + 0.5) * (len(wide) / height) - 0.5).clamp(min=0)
        above = y.long().clamp(max=len(wide) - 1)
        below = (above + 1).clamp(max=len(wide) - 1)
        yield torch.lerp(wide[above], wide[below], (y - above)[:, None]).sigmoid().numpy()
