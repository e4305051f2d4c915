"""Convert backbone weights of other packages to timm's names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import timm
import torch
from torch import Tensor

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import load_torch_file
from mutualformer_sod.models.skeleton import timm_skeleton

if TYPE_CHECKING:
    import numpy as np
    from onnx import GraphProto

_BLOCK = "backbone.encoder.layer.{}."
_COPIED = {  # of a block: name in the graph -> name in timm
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "attention.output.dense.bias": "attn.proj.bias",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.bias": "mlp.fc2.bias",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
_LINEAR = {
    "attention.output.dense": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def dinov2_from_onnx(path: Path, name: str) -> dict[str, Tensor]:
    """Read a DINOv2 ViT from an ONNX graph that PyTorch's exporter wrote.

    Biases, norms and the patch embedding have names in the graph; weights of linear layers have
    none. The weight of a layer is the operand of the MatMul to which its named bias is added. The
    graph stores it as (in, out), with query, key and value apart. timm stores (out, in), and query,
    key and value in one matrix of (3 x out, in).

    Args:
        path: the ``.onnx`` file, with the network under ``backbone.``.
        name: unused; all converters have the same parameters.

    Returns:
        timm's state dict of the ViT, float32; the position embeddings of class token and patches
        are one (1, 1 + N, C) tensor.
    """
    import onnx  # the extra "pretrained"
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    arrays = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    weights = _linear_weights(graph, arrays)
    embeddings = "backbone.embeddings."
    class_token = f"{embeddings}cls_token"
    channels = arrays[class_token].shape[-1]
    positions = {  # two tensors without a name in the graph
        array.shape[1] > 1: array
        for key, array in arrays.items()
        if array.ndim == 3 and array.shape[::2] == (1, channels) and key != class_token
    }
    state = {
        "cls_token": _tensor(arrays[class_token]),
        "pos_embed": torch.cat([_tensor(positions[False]), _tensor(positions[True])], 1),
    }
    for kind in ("weight", "bias"):
        projection = f"{embeddings}patch_embeddings.projection.{kind}"
        state[f"patch_embed.proj.{kind}"] = _tensor(arrays[projection])
        state[f"norm.{kind}"] = _tensor(arrays[f"backbone.layernorm.{kind}"])
    depth = sum(key.endswith("layer_scale1.lambda1") for key in arrays)
    for index in range(depth):
        source, target = _BLOCK.format(index), f"blocks.{index}."
        for old, new in _COPIED.items():
            state[target + new] = _tensor(arrays[source + old])
        for old, new in _LINEAR.items():
            state[f"{target}{new}.weight"] = weights[f"{source}{old}.bias"]
        biases = [f"{source}attention.attention.{part}.bias" for part in ("query", "key", "value")]
        state[f"{target}attn.qkv.weight"] = torch.cat([weights[bias] for bias in biases])
        state[f"{target}attn.qkv.bias"] = torch.cat([_tensor(arrays[bias]) for bias in biases])
    return state


def efficientnet_from_torch(path: Path, name: str) -> dict[str, Tensor]:
    """Rename an EfficientNet that stores timm's tensors in timm's order under other names.

    Args:
        path: a ``torch.save`` file of a plain state dict.
        name: the timm model.

    Raises:
        InputError: the file has another content.
    """
    state, names = load_torch_file(path), list(timm_shapes(name))
    if not isinstance(state, dict) or len(state) != len(names):
        raise InputError(f"{path.name}: not the weights of {name}. Fix: fetch the package again")
    return {
        new: tensor.contiguous().clone() for new, tensor in zip(names, state.values(), strict=True)
    }


def timm_shapes(name: str) -> dict[str, torch.Size]:
    """Return names and shapes of a timm model's state dict without allocating it."""
    return {key: value.shape for key, value in timm_skeleton(name).state_dict().items()}


def check_state(state: dict[str, Tensor], name: str) -> None:
    """Raise InputError unless a state dict has exactly the names and shapes of a timm model."""
    want = timm_shapes(name)
    have = {key: tensor.shape for key, tensor in state.items()}
    wrong = sorted(key for key in want.keys() | have.keys() if want.get(key) != have.get(key))
    if wrong:
        raise InputError(
            f"{name}: {len(wrong)} converted tensors do not fit timm {timm.__version__}, for "
            f"example {wrong[0]!r}. Fix: install another version of timm, or pass --pretrained FILE"
        )


def _linear_weights(graph: GraphProto, arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the weights (out, in) of the linear layers, by the names of their biases."""
    makers = {output: node for node in graph.node for output in node.output}
    found = {}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for bias, product in (node.input, reversed(node.input)):
            maker = makers.get(product)
            if bias in arrays and maker is not None and maker.op_type == "MatMul":
                found[bias] = _tensor(arrays[maker.input[1]].T)
    return found


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype("float32")).contiguous()
