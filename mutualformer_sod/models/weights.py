"""Weights files in safetensors format, with network configuration and training protocol."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

from mutualformer_sod.configs.model import ModelConfig
from mutualformer_sod.configs.released import find_weights
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import file_sha256, replacing, why_unreadable, without_wrappers
from mutualformer_sod.models.detector import SaliencyDetector
from mutualformer_sod.models.safetensors_file import write_safetensors

FORMAT = "mutualformer_sod/1"
CONTENT_SHA256 = "content_sha256"  # a key of the metadata; older files do not have this key
DAMAGED = "{}: damaged: content and checksum differ. Fix: copy or download the file again"
_DRAWS = {
    *(Tensor.uniform_, Tensor.normal_, Tensor.erfinv_),
    *(init.uniform_, init.normal_, init.trunc_normal_),
    *(init.kaiming_uniform_, init.kaiming_normal_, init.xavier_uniform_, init.xavier_normal_),
}


def unique_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict with each shared parameter only under its first name."""
    seen: set[int] = set()
    state = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor.detach()
    return state


def load_unique_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a state dict of ``unique_state``, including shared parameters.

    Raises:
        InputError: the state dict does not fit the model. Callers add a remedy to the message.
    """
    expected = unique_state(model)
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        name, word = (missing[0], "lack") if missing else (extra[0], "have the unknown tensor")
        raise InputError(
            f"the weights {word} {name!r} ({len(missing)} missing, {len(extra)} extra)"
        )
    for name, tensor in expected.items():
        if tensor.shape != state[name].shape:
            raise InputError(
                f"{name!r} has shape {tuple(state[name].shape)} in the weights and "
                f"{tuple(tensor.shape)} in the model"
            )
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(state[name])


def save_weights(
    model: SaliencyDetector,
    path: Path,
    protocol: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> str:
    """Write weights, configuration and training protocol of a model; return the file's SHA-256.

    Args:
        path: a ``.safetensors`` file; an existing file is replaced.
        protocol: data and options of the model's training, as JSON values.
        dtype: type of the floating-point tensors in the file.

    Raises:
        InputError: the file cannot be written, for example because the disk is full.
    """
    state = {
        name: tensor.to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in unique_state(model).items()
    }
    config = json.dumps(model.config.to_dict())
    metadata = {"format": FORMAT, "config": config, "protocol": json.dumps(protocol)}
    metadata[CONTENT_SHA256] = content_sha256(metadata, state)
    try:
        with replacing(path, sync=True) as temporary:
            write_safetensors(state, temporary, metadata)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: the weights could not be written: {error}. Fix: free disk space"
        ) from error
    return file_sha256(path)


def read_metadata(path: str | Path) -> tuple[ModelConfig, dict[str, Any]]:
    """Read the configuration and training protocol of a weights file or of released weights.

    Raises:
        InputError: the file is missing, unreadable or not a weights file of this project.
    """
    path = find_weights(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        reason = why_unreadable(path) or (
            "not a safetensors file. Fix: pass weights.safetensors of tools/train.py, not a pickle "
            "or a checkpoint"
        )
        raise InputError(f"{path}: {reason}") from error
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path}: the safetensors file has no weights of this project. Fix: pass a file "
            "written by tools/train.py"
        )
    try:
        config = ModelConfig.from_dict(json.loads(metadata["config"]))
        protocol = json.loads(metadata["protocol"])
        if not isinstance(protocol, dict):
            raise InputError("the training protocol is not a JSON object. Fix: pass other weights")
    except KeyError as error:
        raise InputError(f"{path}: its metadata lack {error}. Fix: pass other weights") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: its metadata are not JSON. Fix: pass other weights") from error
    except InputError as error:
        raise InputError(f"{path}: its metadata cannot be used: {error}") from error
    return config, protocol


def load_weights(
    path: str | Path, preset: str | None = None
) -> tuple[SaliencyDetector, dict[str, Any]]:
    """Return the detector of a weights file, in float32 and eval mode, and its training protocol.

    Args:
        path: a ``.safetensors`` file written by ``save_weights``, or the name of released weights.
        preset: preset that the weights must have, or None for any preset.

    Raises:
        InputError: the file is unreadable or damaged, the weights have another preset, or the
            tensors do not fit the configuration or are not finite.
    """
    path = find_weights(path)
    config, protocol = read_metadata(path)
    if preset is not None and config.preset != preset:
        raise InputError(
            f"{path}: the weights have preset {config.preset!r}, not {preset!r}. "
            f"Fix: pass --preset {config.preset} or other weights"
        )
    try:
        with UndrawnWeights():
            model = SaliencyDetector(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    try:
        state, is_intact = read_tensors(path)
        load_unique_state(model, state)
    except (InputError, SafetensorError) as error:
        raise InputError(
            f"{path}: {error}. Fix: copy or download the file again, or pass other weights"
        ) from error
    if not is_intact:
        raise InputError(DAMAGED.format(path))
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name!r} contains NaN or infinity. Fix: pass other weights")
    model.protocol = protocol
    return model.eval(), protocol


class UndrawnWeights(TorchFunctionMode):
    """Context in which random initialisation does not change the allocated tensors.

    The random numbers would take half the time of loading a file. Constants are set as usual. Load
    every parameter of a network that was built in this context before you use the network.
    """

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if function in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def content_sha256(metadata: dict[str, str], state: dict[str, Tensor]) -> str:
    """Return the hexadecimal SHA-256 of CPU tensors and of all metadata except this checksum."""
    own = {name: text for name, text in metadata.items() if name != CONTENT_SHA256}
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], bool]:
    """Return the tensors of a file without wrapper prefixes, and whether they match the checksum.

    Tensors of a file without a checksum count as matching. A checksum may cover the names with or
    without the prefixes, because a file may have been saved again from a wrapper module.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        # ``safe_open`` is not a mapping and cannot be iterated.
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    want = metadata.get(CONTENT_SHA256)
    plain = without_wrappers(state, path)
    return plain, want is None or want in (content_sha256(metadata, s) for s in (plain, state))
