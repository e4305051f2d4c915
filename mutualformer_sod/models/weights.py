"""Released weights: one safetensors file that carries its configuration and training protocol."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mutualformer_sod.config import ModelConfig
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing
from mutualformer_sod.models.detector import SaliencyDetector

FORMAT = "mutualformer_sod/1"


def unique_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with every tensor once: shared parameters keep their first name."""
    seen: set[int] = set()
    state = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor.detach()
    return state


def load_unique_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load what ``unique_state`` gave, shared parameters included.

    Raises:
        InputError (a ValueError): names or shapes differ from the model's.
    """
    expected = unique_state(model)
    missing, extra = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if missing or extra:
        name, word = (missing[0], "lack") if missing else (extra[0], "hold the unknown")
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
    """Write a model's weights with its configuration and protocol; returns the file's sha256.

    Args:
        model: the detector.
        path: a ``.safetensors`` file; replaced as a whole.
        protocol: what it was trained on and how, plain JSON data.
        dtype: of the floating-point tensors in the file.

    Raises:
        InputError: the file cannot be written, for example to a full disk.
    """
    state = {
        name: tensor.to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in unique_state(model).items()
    }
    metadata = {
        "format": FORMAT,
        "config": json.dumps(model.config.to_dict()),
        "protocol": json.dumps(protocol),
    }
    try:
        with replacing(path, sync=True) as temporary:
            save_file(state, temporary, metadata=metadata)
            temporary.chmod(0o644)  # safetensors gives it to its owner alone
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: the weights could not be written ({error}): make room"
        ) from error
    return file_sha256(path)


def read_metadata(path: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """Configuration and training protocol that a weights file carries.

    Raises:
        InputError: no such file, or not a weights file of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such weights file (--weights)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a safetensors file: give weights written by tools/train.py "
            "(weights.safetensors), not a pickle, a checkpoint or another file"
        ) from error
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path}: safetensors, but not weights of this project: give a file written by "
            "tools/train.py"
        )
    try:
        config = ModelConfig.from_dict(json.loads(metadata["config"]))
        protocol = json.loads(metadata["protocol"])
        if not isinstance(protocol, dict):
            raise InputError("the training protocol is not an object of named fields")
    except KeyError as error:
        raise InputError(f"{path}: its metadata lack {error}: take a whole copy") from error
    except (json.JSONDecodeError, InputError) as error:
        raise InputError(f"{path}: its metadata cannot be used: {error}") from error
    return config, protocol


def load_weights(path: Path, preset: str | None = None) -> tuple[SaliencyDetector, dict[str, Any]]:
    """Build the detector that a weights file describes and load it, in float32 and eval mode.

    Args:
        path: a ``.safetensors`` file written by ``save_weights``.
        preset: refuse weights of another preset than this one.

    Returns:
        The detector and its training protocol.

    Raises:
        InputError: unreadable file, another preset, or tensors that do not fit the configuration.
    """
    config, protocol = read_metadata(path)
    if preset is not None and config.preset != preset:
        raise InputError(
            f"{path}: weights of preset {config.preset!r}, not {preset!r}: "
            f"give --preset {config.preset} or other weights"
        )
    try:
        model = SaliencyDetector(config)
        with safe_open(path, framework="pt") as file:
            # ``safe_open`` is no mapping: it has keys() alone.
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        load_unique_state(model, state)
    except (InputError, SafetensorError) as error:
        raise InputError(f"{path}: {error}") from error
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name!r} holds NaN or infinity: give other weights")
    return model.eval(), protocol


def load_encoder(model: SaliencyDetector, path: Path) -> None:
    """Start a model's encoder from the one in a weights file, whatever fusion that had.

    Where the file was trained without depth, its depth stream's normalisation layers have seen
    nothing, and those of rgb are taken for both; likewise where it has one stream's weights alone.

    Raises:
        InputError: unreadable file, an encoder of another shape, or values that are not finite.
    """
    _, protocol = read_metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: {error}: take a whole copy") from error
    rgb_only = protocol.get("modality") == "rgb"
    own = {n: t for n, t in unique_state(model).items() if n.startswith("encoder.")}
    with torch.no_grad():
        for name, tensor in own.items():
            twin = name.replace("encoder.depth_stream.", "encoder.rgb_stream.", 1)
            source = stored.get(twin) if rgb_only else stored.get(name, stored.get(twin))
            if source is None or source.shape != tensor.shape:
                raise InputError(
                    f"--init-weights {path}: its encoder does not fit this model ({name!r}): give "
                    "weights of the same preset and --size"
                )
            if not source.isfinite().all():
                raise InputError(
                    f"--init-weights {path}: {name!r} holds NaN or infinity: give other weights"
                )
            tensor.copy_(source)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
