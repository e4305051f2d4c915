"""Cost of each variant: parameters, multiply-accumulate operations (MACs), speed and memory."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from mutualformer_sod.benchmark.speed import Contestant, Settings, time_in_turn
from mutualformer_sod.configs.model import make_config
from mutualformer_sod.errors import counted
from mutualformer_sod.experiments.plan import Options
from mutualformer_sod.experiments.variants import Variant
from mutualformer_sod.files import write_json
from mutualformer_sod.models.device import pick_device

_ROUNDS = 9


def measure_costs(path: Path, variants: Sequence[Variant], options: Options, device: str) -> None:
    """Write parameters, MACs, images/s and peak bytes of every variant as JSON.

    The variants are timed in turn. As in testing, the network of ``rgb_only`` gets no depth. The
    weights are random, because the cost does not depend on the weights.
    """
    chosen = pick_device(device)
    contestants = [_contestant(variant, options, chosen) for variant in variants]
    times = time_in_turn(contestants, _ROUNDS)
    costs = {
        variant.name: {
            "parameters": contestant.parameters,
            "macs": contestant.macs["total"],
            "images_per_second": 1 / statistics.median(seconds),
            "peak_memory": contestant.peak_memory(),
        }
        for variant, contestant, seconds in zip(variants, contestants, times, strict=True)
    }
    kind = chosen.type
    name = torch.cuda.get_device_name(chosen) if kind == "cuda" else kind.upper()
    threads = "" if kind != "cpu" else f", {counted(torch.get_num_threads(), 'thread')}"
    size, amp = contestants[0].settings.size, contestants[0].settings.amp
    how = f"{size} x {size}, batch 1, {name}{threads}, amp {amp}, median of {_ROUNDS} rounds"
    write_json(path, {"how": how, "costs": costs})


def _contestant(variant: Variant, options: Options, device: torch.device) -> Contestant:
    overrides = variant.overrides(options.fields)
    size = options.size or make_config(options.preset, **overrides).image_size
    contestant = Contestant(options.preset, Settings(size, device=str(device), overrides=overrides))
    if variant.modality == "rgb":
        del contestant.inputs[1:]
    return contestant
