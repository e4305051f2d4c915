"""Check the inputs of the detector, and hide one modality of a batch."""

import torch
from torch import Tensor

from mutualformer_sod.errors import InputError

TOLERANCE = 1e-3  # tolerated distance outside [0, 1], for rounding errors of resizing
_RGB = "Fix: pass (B, 3, H, W) float in [0, 1]"


def check_inputs(rgb: Tensor, depth: Tensor | None, has_depth: Tensor | None) -> None:
    """Check types and shapes of the network's inputs, but not their values.

    ``rgb`` must be (B, 3, H, W) float, ``depth`` (B, 1, H, W) in the dtype of ``rgb`` or None, and
    ``has_depth`` (B,) bool or None.

    Raises:
        InputError: an input has a wrong type or shape; the message names the input.
    """
    for name, value in (("rgb", rgb), ("depth", depth), ("has_depth", has_depth)):
        if not isinstance(value, Tensor) and (value is not None or name == "rgb"):
            remedy = "; Predictor.predict accepts numpy arrays" if name != "has_depth" else ""
            raise InputError(
                f"{name} is a {type(value).__name__}. Fix: pass a torch.Tensor{remedy}"
            )
    if rgb.ndim != 4 or rgb.shape[1] != 3 or not rgb.is_floating_point():
        scale = ", for example rgb.float() / 255" if rgb.dtype == torch.uint8 else ""
        raise InputError(f"rgb is {tuple(rgb.shape)} {rgb.dtype}. {_RGB}{scale}")
    if 0 in rgb.shape:
        raise InputError(f"rgb is {tuple(rgb.shape)}, an empty tensor. {_RGB}, with B, H, W >= 1")
    if depth is None:
        if has_depth is not None:
            raise InputError("has_depth is passed without depth. Fix: pass both, or neither")
        return
    want = (rgb.shape[0], 1, *rgb.shape[-2:])
    if depth.shape != want:
        raise InputError(
            f"depth is {tuple(depth.shape)}. Fix: pass {want}, one channel at the size of rgb"
        )
    if depth.dtype != rgb.dtype:
        raise InputError(
            f"depth is {depth.dtype} and rgb {rgb.dtype}. Fix: pass depth in [0, 1], near = 1, in "
            "the dtype of rgb"
        )
    if has_depth is None or (has_depth.shape == rgb.shape[:1] and has_depth.dtype == torch.bool):
        return
    raise InputError(
        f"has_depth is {tuple(has_depth.shape)} {has_depth.dtype}. Fix: pass ({rgb.shape[0]},) bool"
    )


def hide_modality(
    modality: str, rgb: Tensor, depth: Tensor | None, has_depth: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Hide rgb or the second modality of a batch, unless both are visible.

    The visible ``modality`` is "rgb", "both", "depth" or the name of another second modality.
    Hidden depth is marked as missing, and hidden colours become mid-grey. The tensors have the
    shapes of `check_inputs`.
    """
    if modality == "rgb" and depth is not None:
        none = rgb.new_zeros(rgb.shape[0], dtype=torch.bool)
        has_depth = none if has_depth is None else torch.zeros_like(has_depth)
    elif modality not in ("rgb", "both"):
        rgb = torch.full_like(rgb, 0.5)
    return rgb, depth, has_depth


def check_visible(modality: str, has_depth: bool, noun: str) -> None:
    """Refuse maps that the network would ignore, and an input that lacks the visible modality.

    ``has_depth`` is whether the image or the set has maps of the second modality, and ``noun`` the
    name of this modality.

    Raises:
        InputError: the network ignores the maps, or the network needs maps and the input has none.
    """
    if modality == "rgb" and has_depth:
        raise InputError(f"{noun} has no effect: the network uses only colour. Fix: omit {noun}.")
    if modality not in ("rgb", "both") and not has_depth:
        raise InputError(
            f"no {noun}: the network uses only {noun}. Fix: pass {noun}, or other weights."
        )


def check_values(rgb: Tensor, depth: Tensor | None, has_depth: Tensor | None) -> None:
    """Check that values are in [0, 1], except NaN and depth where ``has_depth`` is False.

    Raises:
        InputError (a ValueError): a value is outside [0, 1]; the message names the argument.
    """
    if depth is not None and has_depth is not None:
        depth = torch.where(has_depth.view(-1, 1, 1, 1), depth, 0.5)
    images = [rgb] if depth is None else [rgb, depth]
    bounds = [torch.stack(torch.aminmax(x.detach().nan_to_num(nan=0.5))) for x in images]
    ranges = torch.stack(bounds).tolist()  # one GPU synchronisation
    for name, (low, high) in zip(("rgb", "depth"), ranges, strict=False):
        if low >= -TOLERANCE and high <= 1 + TOLERANCE:
            continue
        if name == "rgb":
            guess = "perhaps 0 to 255" if low >= 0 else "perhaps normalised already"
            fix = "pass colours in [0, 1]; the network normalises them"
        else:
            guess = (
                "perhaps millimetres or another unit" if high > 1 else "perhaps normalised already"
            )
            fix = "pass [0, 1] with near = 1; data.depth.encoding.depth_to_unit converts raw depth"
        raise InputError(
            f"{name} has values from {low:.4g} to {high:.4g}, {guess}. Fix: {fix} (or set "
            "check_values = False on the network to skip this check)"
        )
