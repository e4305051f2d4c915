"""Cost of each variant: parameters, multiply-accumulate operations (MACs), speed and memory."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from mutualformer_sod.benchmark.speed import Contestant, Settings, count_macs, time_in_turn
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
    times = time_in_turn([contestant for contestant, _ in contestants], _ROUNDS)
    costs = {
        variant.name: {
            "parameters": contestant.parameters,
            "macs": macs,
            "images_per_second": contestant.settings.batch_size / statistics.median(seconds),
            "peak_memory": contestant.peak_memory(),
        }
        for variant, (contestant, macs), seconds in zip(variants, contestants, times, strict=True)
    }
    kind = chosen.type
    name = torch.cuda.get_device_name(chosen) if kind == "cuda" else kind.upper()
    threads = "" if kind != "cpu" else f", {counted(torch.get_num_threads(), 'thread')}"
    size, amp = contestants[0][0].settings.size, contestants[0][0].settings.amp
    how = f"{size} x {size}, batch 1, {name}{threads}, amp {amp}, median of {_ROUNDS} rounds"
    write_json(path, {"how": how, "costs": costs})


def _contestant(variant: Variant, options: Options, device: torch.device) -> tuple[Contestant, int]:
    overrides = variant.overrides(options.fields)
    size = options.size or make_config(options.preset, **overrides).image_size
    settings = Settings(size, 1, str(device), overrides=overrides)
    contestant = Contestant(options.preset, settings, counted=False)
    if variant.modality == "rgb":
        del contestant.inputs[1:]
    return contestant, count_macs(contestant.model, contestant.inputs)["total"]
