"""The folder of a training run, with configuration, log and records of all starts."""

import contextlib
import dataclasses
import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import mutualformer_sod
from mutualformer_sod.configs.options import differing_options
from mutualformer_sod.configs.switches import stored_options
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.distributed import world_size
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.files import naming, write_json, write_text
from mutualformer_sod.output_folder import OutputFolder
from mutualformer_sod.training.checkpoints import (
    drop_later_checkpoints,
    find_checkpoints,
    is_intact,
    load_checkpoint,
)

CONFIG_FILE, LOG_FILE, STARTS_FILE = "config.json", "log.jsonl", "starts.json"
VAL_FILE, WEIGHTS_FILE, CHECKPOINTS = "val_images.txt", "weights.safetensors", "checkpoints"


def run_options(
    config: TrainConfig, overrides: dict[str, Any], global_batch: int
) -> dict[str, Any]:
    """Return the content of config.json, as plain JSON data."""
    train = dataclasses.asdict(config)
    options = {"train": train, "model_overrides": overrides, "images_per_update": global_batch}
    return json.loads(json.dumps(options, default=str))  # tuples become lists, as in the JSON file


def find_run(output: Path, options: dict[str, Any], resume: str | None) -> dict[str, Any] | None:
    """Return the checkpoint to resume from, or None if there is no run or no checkpoint.

    Args:
        options: ``run_options`` of this start. If the run is or was extended after its end, the
            earlier numbers of epochs are added as ``extended_from``.
        resume: as in ``train``.

    Raises:
        InputError: ``resume`` is None, but the folder contains a run; the options differ from the
            run's options; or the checkpoint is damaged.
    """
    folder = OutputFolder(output, CONFIG_FILE, "run")
    folder.refuse_foreign()
    if not folder.is_begun:
        return None
    if resume is None:
        raise InputError(
            f"{output}: contains a run. Fix: continue with `resume`, or pass another `output`."
        )
    before = folder.read(train=dict, model_overrides=dict, images_per_update=int)
    if before is None:
        raise InputError(
            f"{folder.record_file}: not the configuration of a run. Fix: restore the file, or "
            "pass another `output`."
        )
    for part in ("train", "model_overrides"):  # a run of an earlier version can be resumed
        before[part] = stored_options(before[part])
    state, ended = None, before.get("extended_from", [])
    epochs, more = before["train"].get("epochs"), options["train"]["epochs"]
    if isinstance(epochs, int) and more > epochs:
        state = _load_newest(output, resume)
        if state is not None and state["epoch"] >= epochs:
            before["train"]["epochs"], ended = more, [*ended, epochs]
    if ended:
        options["extended_from"] = ended
    if differing := _differing(before, options):
        raise InputError(
            f"{output}: `resume` needs the options of the run's start: {'; '.join(differing)}. "
            "Fix: pass the same options, or another `output`."
        )
    return state or _load_newest(output, resume)


def _load_newest(output: Path, resume: str) -> dict[str, Any] | None:
    last, *earlier = find_checkpoints(output / CHECKPOINTS, "last") or [None]
    if resume == "previous":
        if not earlier:
            raise InputError(
                f"{output}: `resume` previous: there is only one checkpoint. Fix: pass `resume`."
            )
        return load_checkpoint(earlier[0])
    if not (earlier and is_intact(earlier[0])):
        return load_checkpoint(last) if last else None
    remedy = f"Fix: pass `resume` previous to continue from {earlier[0].name}."
    return load_checkpoint(last, remedy)


def _differing(found: dict[str, Any], options: dict[str, Any]) -> list[str]:
    before, images = found["model_overrides"], found["images_per_update"]
    differing = differing_options(TrainConfig, found["train"], options["train"])
    if found["train"].get("epochs") != options["train"]["epochs"]:
        differing.append("only a finished run that has its checkpoints can be extended")
    if before != options["model_overrides"]:
        differing.append(f"model options were {before} and are now {options['model_overrides']}")
    if images != options["images_per_update"]:
        differing.append(
            f"an update had {counted(images, 'image')} and would now have "
            f"{options['images_per_update']} (pass --global-batch-size {images})"
        )
    return differing


@contextlib.contextmanager
def open_run(
    output: Path, options: dict[str, Any], start: dict[str, Any], state: dict[str, Any] | None
) -> Iterator[None]:
    """Lock the folder for this process, and restore the folder's state at the checkpoint.

    Write config.json, add this start to starts.json, cut the log to the checkpoint's lines, and
    remove later checkpoints, which are damaged or belong to updates that are repeated. If a
    finished run is extended, rename its weights file to weights-N-epochs.safetensors.

    Raises:
        InputError: another process uses the folder.
    """
    weights, starts_file, log = (output / name for name in (WEIGHTS_FILE, STARTS_FILE, LOG_FILE))
    with OutputFolder(output, CONFIG_FILE, "run").locked():
        if state is not None:
            drop_later_checkpoints(output / CHECKPOINTS, state["number"], state["best"]["epoch"])
            ended = options.get("extended_from", [None])[-1]
            kept = output / f"weights-{ended}-epochs.safetensors"
            if state["epoch"] == ended and weights.exists() and not kept.exists():
                weights.replace(kept)
        write_json(output / CONFIG_FILE, options)
        try:
            starts = json.loads(starts_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            starts = []
        write_json(starts_file, [*starts, start])
        if log.exists():
            lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
            write_text(log, "".join(lines[: state["log_lines"] if state else 0]))
        yield


def add_to_log(output: Path, record: dict[str, Any]) -> None:
    """Append a record to log.jsonl as one line."""
    path = output / LOG_FILE
    with naming(path), path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(record) + "\n")


def describe_start(device: torch.device, amp: str, fingerprint: str) -> dict[str, Any]:
    """Return the record of a start, with time, code, versions, device and data."""
    packages = ("torchvision", "timm", "numpy", "opencv-python-headless", "opencv-python")
    versions = {"mutualformer_sod": mutualformer_sod.__version__}
    versions |= {"python": platform.python_version(), "torch": torch.__version__}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(sys.argv),
        "code": describe_code(),
        "versions": versions,
        "device": f"{device} ({name})",
        "amp": amp,
        "processes": world_size(),
        "threads": torch.get_num_threads(),
        "data_fingerprint": fingerprint,
    }


def describe_code() -> dict[str, Any]:
    """Return the Git commit of the code and whether files have changes (None without Git)."""
    root = Path(mutualformer_sod.__file__).resolve().parents[1]

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(root), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "mutualformer_sod")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}
