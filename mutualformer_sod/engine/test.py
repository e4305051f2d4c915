"""The testing loop: sets -> loader -> predictor -> maps in folders, resumable."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

import mutualformer_sod
from mutualformer_sod.data.dataset import SodDataset
from mutualformer_sod.data.depth import DepthEncoding
from mutualformer_sod.data.io import write_map
from mutualformer_sod.data.layout import SodSet
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import write_json
from mutualformer_sod.inference import Predictor, native_saliency

RUN_FILE = "run.json"


def map_sets(
    predictor: Predictor,
    sets: Sequence[SodSet],
    encodings: dict[str, DepthEncoding],
    output: Path,
    provenance: dict[str, Any],
    *,
    batch_size: int = 1,
    workers: int = 0,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write a saliency map for every image: ``output/<set>/<stem>.png``, 8-bit, native size.

    Maps that are there already, made with the same settings, are kept: an interrupted run goes on.

    Args:
        predictor: the model, its size and precision.
        sets: what to map.
        encodings: how each set stores its depth.
        output: the folder of this method.
        provenance: weights and training protocol, recorded in ``output/run.json``.
        batch_size, workers: speed only; on a CPU the maps do not depend on them.
        overwrite: replace maps made with other settings.

    Returns:
        Number of maps made now, by set.

    Raises:
        InputError: unreadable images, or a folder that holds maps made with other settings.
    """
    settings = provenance | {
        "size": predictor.size,
        "amp": predictor.amp,
        "modality": predictor.modality,
        "near": {name: encoding.near for name, encoding in encodings.items()},
    }
    kept = _claim_folder(output, settings, overwrite)
    record = settings | {
        "depth": {name: dataclasses.asdict(encoding) for name, encoding in encodings.items()},
        "versions": _versions(),
        "device": str(predictor.device),
        "sets": kept,
    }
    write_json(output / RUN_FILE, record)
    made = {}
    for sod_set in sets:
        todo = _without_maps(sod_set, output, overwrite)
        made[sod_set.name] = len(todo.triplets)
        seconds = _map_set(predictor, todo, encodings, output, batch_size, workers)
        images = len(sod_set.triplets)
        record["sets"][sod_set.name] = {"images": images, "has_depth": sod_set.has_depth}
        write_json(output / RUN_FILE, record)
        depth = "" if sod_set.has_depth else ", no depth: RGB only"
        speed = f" in {seconds:.1f} s" if todo.triplets else " (all were there)"
        print(f"{sod_set.name}: {images} maps, {len(todo.triplets)} made now{speed}{depth}")
    return made


def _map_set(
    predictor: Predictor,
    sod_set: SodSet,
    encodings: dict[str, DepthEncoding],
    output: Path,
    batch_size: int,
    workers: int,
) -> float:
    if not sod_set.triplets:
        return 0.0
    dataset = SodDataset(
        [sod_set],
        predictor.size,
        encodings=encodings,
        depth_rule=predictor.model.config.depth_rule,
        with_gt=False,
    )
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        pin_memory=predictor.device.type == "cuda",
    )
    started = time.perf_counter()
    with tqdm(
        total=len(dataset), desc=sod_set.name, unit="map", leave=False, disable=None
    ) as progress:
        for batch in loader:
            logits = predictor.logits(batch["rgb"], batch["depth"], batch["has_depth"])
            heights, widths = batch["native_size"]
            for index, name in enumerate(batch["name"]):
                native_size = (int(heights[index]), int(widths[index]))
                saliency = native_saliency(logits[index : index + 1], native_size)
                write_map(output / f"{name}.png", saliency)
            progress.update(len(logits))
    return time.perf_counter() - started


def _without_maps(sod_set: SodSet, output: Path, overwrite: bool) -> SodSet:
    if overwrite:
        return sod_set
    folder = output / sod_set.name
    todo = [item for item in sod_set.triplets if not (folder / f"{item.stem}.png").exists()]
    return dataclasses.replace(sod_set, triplets=tuple(todo))


def _claim_folder(output: Path, settings: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    """Refuse a folder of maps that were made otherwise; return what is known of its sets."""
    run_file = output / RUN_FILE
    output.mkdir(parents=True, exist_ok=True)
    remedy = "give another --output or --method, or --overwrite to replace them"
    if overwrite:
        return {}
    if not run_file.exists():
        if any(output.rglob("*.png")):
            raise InputError(f"{output}: holds maps of unknown origin (no {RUN_FILE}): {remedy}")
        return {}
    try:
        before = json.loads(run_file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{run_file}: unreadable: {remedy}") from error
    now = json.loads(json.dumps(settings))
    near = before.get("near", {}), now.pop("near")
    shared_near_differs = any(near[0].get(name, near[1][name]) != near[1][name] for name in near[1])
    differing = sorted(key for key in now if before.get(key) != now[key])
    if shared_near_differs:
        differing.append("near")
    if differing:
        raise InputError(f"{output}: holds maps made with another {', '.join(differing)}: {remedy}")
    settings["near"] |= {k: v for k, v in near[0].items() if k not in near[1]}
    return before.get("sets", {})


def _versions() -> dict[str, str]:
    return {
        "mutualformer_sod": mutualformer_sod.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
