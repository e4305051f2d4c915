"""The training loop: sets -> loader -> model -> losses -> optimiser, epoch by epoch."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from mutualformer_sod.config import make_config
from mutualformer_sod.data.transforms import draw_training_size, resize_batch
from mutualformer_sod.engine.checkpoint import load_checkpoint, save_checkpoint
from mutualformer_sod.engine.optim import make_optimizer, schedule, set_learning_rate
from mutualformer_sod.engine.sets import TrainingData, gather_training_data
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing, write_json
from mutualformer_sod.inference import pick_device
from mutualformer_sod.losses import detector_losses, mean_absolute_error, structure_loss
from mutualformer_sod.models import build_model
from mutualformer_sod.models.weights import load_unique_state, save_weights, unique_state
from mutualformer_sod.training_config import TrainConfig

CONFIG_FILE, LOG_FILE = "config.json", "log.jsonl"
LAST_FILE, BEST_FILE, WEIGHTS_FILE = "last.pt", "best.pt", "weights.safetensors"
MAY_DIFFER = ("device", "workers", "output", "weights_dtype")  # between a run and its resumption


def train(
    config: TrainConfig, model_overrides: dict[str, Any] | None = None, resume: bool = False
) -> Path:
    """Train one model; every epoch ends with a checkpoint from which ``resume`` goes on.

    Args:
        config: the run.
        model_overrides: fields of the model configuration that differ from the preset's.
        resume: go on with the run in ``config.output``; start it if there is none.

    Returns:
        The folder of the run: config.json, log.jsonl, last.pt, best.pt, weights.safetensors.

    Raises:
        InputError: unusable data, options, or an existing run without ``resume``.
    """
    output = Path(config.output)
    overrides = dict(model_overrides or {})
    size = overrides.setdefault("image_size", config.size) if config.size is not None else None
    if size != config.size:
        raise InputError(
            f"--size {config.size} and --set image_size={size} contradict each other: "
            "give one of them"
        )
    state = _find_run(output, config, overrides, resume)
    # A run that was stopped between its last epoch and its weights goes on to write them.
    done = state is not None and state["epoch"] >= config.epochs
    if done and (output / WEIGHTS_FILE).exists():
        print(f"{output}: this run is finished ({config.epochs} epochs): nothing to do")
        return output
    data = gather_training_data(config, make_config(config.preset, **overrides))
    torch.manual_seed(config.seed)
    # A checkpoint brings its own weights: to go on needs neither the hub nor the file.
    pretrained = config.pretrained if state is None else None
    run = _Run(config, overrides, data, pick_device(config.device), pretrained)
    # Only now: whatever can be wrong with the options leaves no folder behind.
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / CONFIG_FILE, _run_options(config, overrides))
    print(data.describe())
    if state is not None:
        run.restore(state)
        print(f"resuming after epoch {run.epoch} of {config.epochs}")
    _cut_log(output / LOG_FILE, run.epoch)
    while run.epoch < config.epochs:
        record = run.train_epoch()
        record |= run.validate()
        run.save(output, record)
        print(_describe(record, config.epochs))
    _write_weights(output, config, data.protocol(config), run)
    return output


class _Run:
    """Model, optimiser and position of a run in progress."""

    def __init__(
        self,
        config: TrainConfig,
        overrides: dict[str, Any],
        data: TrainingData,
        device: torch.device,
        pretrained: str | None,
    ) -> None:
        self.config, self.data, self.device = config, data, device
        source = True if pretrained == "imagenet" else pretrained or False
        self.model = build_model(config.preset, pretrained=source, **overrides).to(device)
        self.optimizer = make_optimizer(self.model, config)
        self.epoch = 0
        self.best: dict[str, float] = {"epoch": 0, "val_loss": math.inf}
        self.steps_per_epoch = math.ceil(len(data.train) / config.batch_size)

    def train_epoch(self) -> dict[str, Any]:
        """One pass over the training images; returns the mean losses and the speed."""
        config = self.config
        total_steps = config.epochs * self.steps_per_epoch
        warmup_steps = round(config.warmup_epochs * self.steps_per_epoch)
        self.data.train.set_epoch(self.epoch)
        # A number of its own for each epoch, so that a resumed run draws what it would have drawn.
        torch.manual_seed(config.seed * 100_003 + self.epoch)
        order = torch.randperm(len(self.data.train)).tolist()
        loader = self._loader(self.data.train, order)
        self.model.train()
        sums: dict[str, float] = {}
        images, started = 0, time.perf_counter()
        progress = tqdm(
            loader, desc=f"epoch {self.epoch + 1}/{config.epochs}", leave=False, disable=None
        )
        for number, batch in enumerate(progress):
            step = self.epoch * self.steps_per_epoch + number
            set_learning_rate(self.optimizer, schedule(step, total_steps, warmup_steps))
            losses = self._step(self._rescale(batch, number))
            count = len(batch["rgb"])
            images += count
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value * count
            progress.set_postfix(loss=f"{sums['total'] / images:.4f}")
        self.epoch += 1
        seconds = time.perf_counter() - started
        return {
            "epoch": self.epoch,
            "lr": max(group["lr"] for group in self.optimizer.param_groups),
            "train": {name: value / images for name, value in sums.items()},
            "seconds": round(seconds, 2),
            "images_per_second": round(images / seconds, 2),
        }

    def _step(self, batch: dict[str, Any]) -> dict[str, float]:
        rgb, depth, has_depth, gt = self._place(batch)
        with self._precision():
            output = self.model(rgb, depth, has_depth)
        sides = [side.float() for side in output.side_logits]
        losses = detector_losses(
            output.logits.float(), sides, output.extra_losses, gt, self.config.loss
        )
        total = losses["total"]
        if not torch.isfinite(total):
            names = ", ".join(batch["name"])
            raise InputError(
                f"the loss is {total.item()} in epoch {self.epoch + 1} on the images {names}: "
                "look at them, or lower --lr"
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return {name: value.item() for name, value in losses.items()}

    @torch.inference_mode()
    def validate(self) -> dict[str, Any]:
        """Loss and MAE on the validation images at training size; empty without such images."""
        if self.data.val is None:
            return {}
        self.model.eval()
        loss = mae = 0.0
        images = len(self.data.val)
        loader = self._loader(self.data.val, range(images))
        for batch in tqdm(loader, desc="validating", leave=False, disable=None):
            rgb, depth, has_depth, gt = self._place(batch)
            with self._precision():
                logits = self.model(rgb, depth, has_depth).float()
            loss += structure_loss(logits, gt).item() * len(rgb)
            mae += mean_absolute_error(logits, gt).sum().item()
        if not math.isfinite(loss):
            raise InputError(
                f"the validation loss is {loss} after epoch {self.epoch}: lower --lr, or look at "
                "the validation images"
            )
        return {"val": {"loss": loss / images, "mae": mae / images}}

    def save(self, output: Path, record: dict[str, Any]) -> None:
        """Log the epoch, then write last.pt, and best.pt where the epoch is the best so far."""
        # The log is written first: a kill in between leaves a line that a resumption cuts.
        with (output / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        is_best = "val" not in record or record["val"]["loss"] < self.best["val_loss"]
        if is_best:
            val_loss = record.get("val", {}).get("loss", math.inf)
            self.best = {"epoch": self.epoch, "val_loss": val_loss}
        state = {
            "epoch": self.epoch,
            "best": self.best,
            "model": unique_state(self.model),
            "optimizer": self.optimizer.state_dict(),
        }
        if is_best:
            save_checkpoint(output / BEST_FILE, {"epoch": self.epoch, "model": state["model"]})
        save_checkpoint(output / LAST_FILE, state)

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to the end of the epoch that ``state`` was saved at."""
        load_unique_state(self.model, state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.best = state["epoch"], state["best"]

    def _rescale(self, batch: dict[str, Any], number: int) -> dict[str, Any]:
        """Multi-scale training: the whole batch at another size, the same in a resumed run."""
        if not self.config.multi_scale:
            return batch
        rng = np.random.default_rng([self.config.seed, self.epoch, number])
        size = draw_training_size(self.data.train.size, rng)
        names = ("rgb", "depth", "gt")
        resized = resize_batch(*(batch[name] for name in names), size)
        return batch | dict(zip(names, resized, strict=True))

    def _precision(self) -> contextlib.AbstractContextManager:
        if self.config.amp in ("off", "auto"):
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _loader(self, dataset: torch.utils.data.Dataset, order: Iterable[int]) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=self.config.batch_size,
            sampler=list(order),
            num_workers=self.config.workers,
            pin_memory=self.device.type == "cuda",
        )

    def _place(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rgb, depth, has_depth, gt = (
            batch[name].to(self.device, non_blocking=True)
            for name in ("rgb", "depth", "has_depth", "gt")
        )
        if self.config.modality == "rgb":
            has_depth = torch.zeros_like(has_depth)
        elif self.config.modality == "depth":
            rgb = torch.full_like(rgb, 0.5)
        return rgb, depth, has_depth, gt


def _run_options(config: TrainConfig, overrides: dict[str, Any]) -> dict[str, Any]:
    """The content of config.json."""
    options = {"train": dataclasses.asdict(config), "model_overrides": overrides}
    return json.loads(json.dumps(options))  # tuples become lists, as in the file


def _find_run(
    output: Path, config: TrainConfig, overrides: dict[str, Any], resume: bool
) -> dict[str, Any] | None:
    """The last checkpoint of the run to go on with; None for a new run."""
    config_file = output / CONFIG_FILE
    if not config_file.exists():
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise InputError(f"--output {output}: not empty and not a run: give a new folder")
        return None
    if not resume:
        raise InputError(
            f"{output}: holds a run: add --resume to go on with it, or give another --output"
        )
    wanted = _run_options(config, overrides)
    try:
        found = json.loads(config_file.read_text(encoding="utf-8"))
        options, before = dict(found["train"]), dict(found["model_overrides"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{config_file}: not the configuration of a run: restore it, or give another --output"
        ) from error
    differing = [
        f"{name} was {options.get(name)!r} and is now {value!r}"
        for name, value in wanted["train"].items()
        if name not in MAY_DIFFER and options.get(name) != value
    ]
    now = wanted["model_overrides"]
    if before != now:
        differing.append(f"model options were {before} and are now {now}")
    if differing:
        raise InputError(
            f"{output}: --resume needs the options the run was started with: {'; '.join(differing)}"
        )
    last = output / LAST_FILE
    return load_checkpoint(last) if last.exists() else None


def _cut_log(path: Path, epochs: int) -> None:
    """Keep the first ``epochs`` lines: what was logged after the last checkpoint is done again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        with replacing(path) as temporary:
            temporary.write_text("".join(lines[:epochs]), encoding="utf-8")


def _write_weights(output: Path, config: TrainConfig, protocol: dict[str, Any], run: _Run) -> None:
    """Write the chosen epoch's weights: the best on the validation images, else the last."""
    best = load_checkpoint(output / BEST_FILE)
    load_unique_state(run.model, best["model"])
    protocol |= {"epoch": best["epoch"], "epochs": config.epochs}
    dtype = getattr(torch, config.weights_dtype)
    sha256 = save_weights(run.model, output / WEIGHTS_FILE, protocol, dtype)
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    print(
        f"done: {parameters / 1e6:.2f} M parameters, epoch {best['epoch']} of {config.epochs} "
        f"({protocol['choice']})\nweights: {output / WEIGHTS_FILE} (sha256 {sha256[:12]})"
    )


def _describe(record: dict[str, Any], epochs: int) -> str:
    line = f"epoch {record['epoch']}/{epochs}  loss {record['train']['total']:.4f}"
    if "val" in record:
        line += f"  val loss {record['val']['loss']:.4f}  val MAE {record['val']['mae']:.4f}"
    return line + f"  {record['images_per_second']:.1f} images/s"
