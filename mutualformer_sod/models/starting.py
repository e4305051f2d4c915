"""Start a training run from a weights file of this project."""

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path

import torch
from safetensors import SafetensorError
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from mutualformer_sod.configs.model import PRESETS, ModelConfig, make_config
from mutualformer_sod.configs.released import find_weights
from mutualformer_sod.errors import InputError
from mutualformer_sod.models import weights
from mutualformer_sod.models.detector import SaliencyDetector


def load_network(model: SaliencyDetector, path: str | Path) -> str:
    """Load weights into a model of the same configuration, and return a line for the user.

    Position embeddings are resampled if the image size differs.

    Raises:
        InputError: the file is unreadable or damaged, or the tensors do not fit the model.
    """
    source, _ = weights.load_weights(path)
    state = _at_grid_of(weights.unique_state(source), weights.unique_state(model))
    try:
        weights.load_unique_state(model, state)
    except InputError as error:
        remedy = _how_to_fit(source.config, model.config, "encoder", "fusion", "decoder")
        raise InputError(f"`finetune` {path}: {error}. Fix: {remedy}") from error
    model.normalise_with(source.config.mean, source.config.std)
    loaded = sum(parameter.numel() for parameter in source.parameters())
    return f"--fine-tune {path}: the whole network is loaded, {loaded / 1e6:.2f} M parameters"


def _at_grid_of(state: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with position embeddings resampled to the model's grid of patches."""
    resampled = dict(state)
    for name in state.keys() & expected.keys():
        if name.endswith("pos_embed") and expected[name].shape != state[name].shape:
            count = expected[name].shape[1]
            side = math.isqrt(count)
            resampled[name] = resample_abs_pos_embed(
                state[name], [side] * 2, num_prefix_tokens=count - side**2
            )
    return resampled


def load_encoder(model: SaliencyDetector, path: str | Path) -> str:
    """Load only the encoder of a weights file of any fusion, and return a line for the user.

    In weights trained without depth, the depth stream is untrained, so both streams get the
    normalisation layers of rgb. A file with only one stream is loaded into both streams.

    Raises:
        InputError: the file is unreadable or damaged, the encoder has other shapes than the model,
            or a tensor contains NaN or infinity.
    """
    path = find_weights(path)
    config, protocol = weights.read_metadata(path)
    try:
        stored, is_intact = weights.read_tensors(path)
    except SafetensorError as error:
        raise InputError(f"{path}: {error}. Fix: copy or download the file again") from error
    if not is_intact:
        raise InputError(weights.DAMAGED.format(path))
    rgb_only = protocol.get("modality") == "rgb"
    state = weights.unique_state(model)
    own = {name: tensor for name, tensor in state.items() if name.startswith("encoder.")}
    with torch.no_grad():
        for name, tensor in own.items():
            twin = name.replace("encoder.depth_stream.", "encoder.rgb_stream.", 1)
            source = stored.get(twin) if rgb_only else stored.get(name, stored.get(twin))
            if source is None or source.shape != tensor.shape:
                raise InputError(
                    f"`init_weights` {path}: its encoder does not fit this model ({name!r}). Fix: "
                    f"{_how_to_fit(config, model.config, 'encoder')}"
                )
            if not source.isfinite().all():
                raise InputError(
                    f"`init_weights` {path}: {name!r} contains NaN or infinity. Fix: pass other "
                    "weights"
                )
            tensor.copy_(source)
    model.normalise_with(config.mean, config.std)  # the normalisation of the encoder's training
    new: Counter[str] = Counter()
    for name in state.keys() - own.keys():
        new[name.partition(".")[0]] += state[name].numel()
    loaded = sum(tensor.numel() for tensor in own.values())
    both = ", with the rgb norms also for depth (trained without depth)" if rgb_only else ""
    return (
        f"--init-weights {path}: the encoder is loaded, {loaded / 1e6:.2f} M parameters of a "
        f"{config.fusion.fusion} {config.preset}{both}; new, from random weights: "
        + ", ".join(f"{part} {count / 1e6:.2f} M" for part, count in new.most_common())
    )


def _how_to_fit(stored: ModelConfig, wanted: ModelConfig, *parts: str) -> str:
    """Return a remedy with the flags that make parts of a model fit those of a weights file."""
    flags = [] if stored.preset == wanted.preset else [f"--preset {stored.preset}"]
    fusion = stored.fusion.fusion
    if "fusion" not in parts:
        fusion = wanted.fusion.fusion
        if stored.image_size != wanted.image_size:  # --fine-tune resamples the embeddings
            flags.append(f"--size {stored.image_size}")
    elif fusion != wanted.fusion.fusion:
        flags.append(f"--fusion {fusion}")
    base = wanted
    if flags and stored.preset in PRESETS:
        base = make_config(stored.preset, fusion=fusion)
    fields = []
    for part in parts:
        own, other = getattr(stored, part), getattr(base, part)
        for item in dataclasses.fields(own):
            value = getattr(own, item.name)
            if value != getattr(other, item.name, value):
                fields.append(f"{item.name}={json.dumps(value)}".replace(" ", "").replace('"', ""))
    if fields:
        flags += ["--set", *fields]
    return f"pass {' '.join(flags)}, as in the file" if flags else "pass other weights"
