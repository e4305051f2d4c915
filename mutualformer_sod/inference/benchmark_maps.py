"""Write the maps of benchmark sets; an interrupted run can be resumed."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import mutualformer_sod
from mutualformer_sod.configs.model import ModelConfig
from mutualformer_sod.data.audit.file_check import check_images
from mutualformer_sod.data.depth.polarity import encodings_by_name
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.data.training.loader import make_loader
from mutualformer_sod.distributed import (
    is_main,
    rank,
    sum_over_processes,
    wait_for_all,
    world_size,
)
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import write_json
from mutualformer_sod.inference.map_writers import MapWriters
from mutualformer_sod.inference.predictor import Predictor
from mutualformer_sod.inference.progress import ticking
from mutualformer_sod.output_folder import OutputFolder, changed
from mutualformer_sod.signals import ended_by_sigterm

RUN_FILE = "run.json"


@dataclasses.dataclass
class Timing:
    """Time of one process, in seconds.

    Attributes:
        images: number of maps made.
        start_up: until the first batch was loaded.
        running: from then until the last map was written.
        model: part of ``running`` spent in the network.
    """

    images: int = 0
    start_up: float = 0.0
    running: float = 0.0
    model: float = 0.0

    def add(self, other: Timing) -> None:
        """Add the time of another set."""
        for field in dataclasses.fields(self):
            name = field.name
            setattr(self, name, getattr(self, name) + getattr(other, name))


def method_name(config: ModelConfig, modality: str) -> str:
    """Return the name of a network's map folder: FUSION_PRESET, with a single modality's suffix."""
    name = f"{config.fusion.fusion}_{Path(config.preset).name}"
    return name if modality == "both" else f"{name}_{modality}"


def map_sets(
    predictor: Predictor,
    sets: Sequence[SodSet],
    output: Path,
    provenance: dict[str, Any],
    *,
    batch_size: int = 1,
    workers: int = 0,
    writers: int = 0,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write a saliency map for every image: ``output/<set>/<stem>.png``, 8-bit, native size.

    Existing maps with the same settings are kept, so that an interrupted run continues. Under
    torchrun each process maps a share of the images; the first one writes the record. Loading, the
    network and writing overlap. Ctrl-C and SIGTERM leave whole files.

    Args:
        predictor: the model, its input size and precision.
        sets: the sets to map.
        output: folder of this method.
        provenance: weights and training protocol, recorded in ``output/run.json``.
        batch_size: images in a batch. On a CPU the maps do not depend on it.
        workers: processes that load images; 0 loads in the main thread.
        writers: threads that write maps; 0 writes in the main thread.
        overwrite: replace maps with other settings.

    Returns:
        Number of maps made in this call, by set.

    Raises:
        InputError: unreadable images, all of them before the first map; or the folder holds maps
            with other settings.
        OSError: a map could not be written.
        Stopped: SIGTERM arrived; the same call continues.
    """
    settings = provenance | {
        "size": predictor.size,
        "amp": predictor.amp,
        "modality": predictor.modality,
        "near": {s.name: s.encoding.near if s.has_depth else "no depth" for s in sets},
    }
    kept, old_maps = _claim_folder(output, settings, overwrite)
    record = settings | {
        "depth": {
            name: dataclasses.asdict(encoding) for name, encoding in encodings_by_name(sets).items()
        },
        "versions": _versions(),
        "device": str(predictor.device),
        "sets": kept,
        "to_replace": sorted(old_maps),
    }
    missing = [_without_maps(sod_set, output, old_maps, overwrite) for sod_set in sets]
    if is_main():
        check_images(missing)
    wait_for_all()  # every process has read the folder before one writes to it
    if is_main():
        write_json(output / RUN_FILE, record)
    made = {}
    timing = Timing()
    for sod_set, todo in zip(sets, missing, strict=True):
        made[sod_set.name] = len(todo.samples)
        mine = dataclasses.replace(todo, samples=todo.samples[rank() :: world_size()])
        with ended_by_sigterm(f"the maps in {output} are complete; the same command continues"):
            spent = _map_set(predictor, mine, output, batch_size, workers, writers)
        timing.add(spent)
        wait_for_all()
        if not is_main():
            continue
        images = len(sod_set.samples)
        old_maps -= {f"{sod_set.name}/{item.stem}.png" for item in todo.samples}
        record["to_replace"] = sorted(old_maps)
        record["sets"][sod_set.name] = {"images": images, "has_depth": sod_set.has_depth}
        write_json(output / RUN_FILE, record)
        without = ", RGB only" if predictor.modality == "rgb" else ", no depth: RGB only"
        depth = "" if sod_set.has_depth else without
        seconds = spent.start_up + spent.running
        speed = f" in {seconds:.1f} s" if todo.samples else " (all were there)"
        print(f"{sod_set.name}: {images} maps, {len(todo.samples)} made now{speed}{depth}")
    _print_speed(timing, predictor.device)
    return made


def _print_speed(timing: Timing, device: torch.device) -> None:
    """Print the images per second and the network's share of the time."""
    spent = [float(timing.images), timing.start_up, timing.running, timing.model]
    images, start_up, running, model = sum_over_processes(spent, device)
    if is_main() and images:
        processes = world_size()
        print(
            f"speed: {images * processes / running:.2f} images/s without the start-up of "
            f"{start_up / processes:.1f} s; {model / running:.1%} of the time in the network"
        )


def _map_set(
    predictor: Predictor,
    sod_set: SodSet,
    output: Path,
    batch_size: int,
    workers: int,
    writers: int,
) -> Timing:
    if not sod_set.samples:
        return Timing()
    dataset = SodDataset(
        [sod_set],
        predictor.size,
        depth_rule=predictor.model.config.depth_rule,
        with_gt=False,
    )
    order = range(len(dataset))
    batches = [order[start : start + batch_size] for start in order[::batch_size]]
    loader = make_loader(dataset, batches, workers, predictor.device.type == "cuda")
    timing = Timing(len(dataset))
    started = time.perf_counter()
    loading = iter(loader)  # loader processes are forked, therefore before threads start
    with (
        MapWriters(writers) as pool,
        ticking(
            tqdm(total=len(dataset), desc=sod_set.name, unit="map", leave=False, disable=None)
        ) as bar,
    ):
        for batch in loading:
            begun = time.perf_counter()
            timing.start_up = timing.start_up or begun - started
            logits = predictor.logits(batch["rgb"], batch["depth"], batch["has_depth"])
            timing.model += time.perf_counter() - begun
            if not logits.isfinite().all():
                raise InputError(
                    f"{', '.join(batch['name'])}: the network's output is not finite with `amp` "
                    f"{predictor.amp}. Fix: turn it off, or use other weights."
                )
            heights, widths = batch["native_size"]
            for index, name in enumerate(batch["name"]):
                native_size = (int(heights[index]), int(widths[index]))
                pool.write(output / f"{name}.png", logits[index : index + 1], native_size)
            bar.update(len(logits))
    timing.running = time.perf_counter() - started - timing.start_up
    return timing


def _without_maps(sod_set: SodSet, output: Path, old_maps: set[str], overwrite: bool) -> SodSet:
    def is_there(stem: str) -> bool:
        name = f"{sod_set.name}/{stem}.png"
        return name not in old_maps and (output / name).exists()

    if overwrite:
        return sod_set
    todo = [item for item in sod_set.samples if not is_there(item.stem)]
    return dataclasses.replace(sod_set, samples=tuple(todo))


def _claim_folder(
    output: Path, settings: dict[str, Any], overwrite: bool
) -> tuple[dict[str, Any], set[str]]:
    """Claim the folder of the maps, or refuse it because of other settings.

    Returns:
        The record of the folder's sets, and the maps of other settings that are still to replace.
        The latter are recorded, so that an interrupted run with ``overwrite`` replaces all of them.

    Raises:
        InputError: the folder holds maps with other settings, unless ``overwrite``.
    """
    output.mkdir(parents=True, exist_ok=True)
    remedy = "Fix: pass another `output`, or `overwrite` to replace them."
    maps = {path.relative_to(output).as_posix() for path in output.rglob("[!.]*.png")}
    folder = OutputFolder(output, RUN_FILE, "maps")
    before = folder.read(near=dict, sets=dict)
    if before is None:
        if overwrite or not maps:
            return {}, maps
        problem = "unreadable" if folder.is_begun else "no"
        raise InputError(f"{output}: maps of unknown origin ({problem} {RUN_FILE}). {remedy}")
    before["config"] = _in_present_form(before.get("config"))
    shared_near = {k: v for k, v in before["near"].items() if k in settings["near"]}
    differing = changed(before | {"near": settings["near"] | shared_near}, settings)
    if differing and overwrite:
        return {}, maps
    if differing:
        raise InputError(f"{output}: maps made with another {', '.join(differing)}. {remedy}")
    settings["near"] = before["near"] | settings["near"]
    return before["sets"], set(before.get("to_replace", [])) & maps


def _in_present_form(config: Any) -> Any:
    """Convert a model configuration that an older version recorded; an unusable one stays."""
    try:
        return json.loads(json.dumps(ModelConfig.from_dict(config).to_dict()))
    except (InputError, KeyError, TypeError):
        return config


def _versions() -> dict[str, str]:
    return {
        "mutualformer_sod": mutualformer_sod.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
