"""Model, optimiser and position of a training run, which a checkpoint stores."""

import contextlib
import logging
import math
import random
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mutualformer_sod.configs.model import IMAGENET_MEAN, IMAGENET_STD
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.distributed import gather, is_main, rank, world_size
from mutualformer_sod.errors import InputError
from mutualformer_sod.models import build_model
from mutualformer_sod.models.device import autocast, pick_amp
from mutualformer_sod.models.inputs import hide_modality
from mutualformer_sod.models.weights import load_unique_state, unique_state
from mutualformer_sod.training.checkpoints import drop_old_checkpoints, save_checkpoint
from mutualformer_sod.training.distillation import Teacher
from mutualformer_sod.training.ema import Ema
from mutualformer_sod.training.optimiser import freeze_encoder, make_optimizer
from mutualformer_sod.training.run_folder import CHECKPOINTS
from mutualformer_sod.training.second_modality import check_teacher, settle_modality
from mutualformer_sod.training.sets import TrainingData

_POSITION = ("epoch", "step", "sums", "images", "seconds", "grad_norms", "best", "log_lines")
_log = logging.getLogger(__name__)


class Run:
    """A run in progress.

    Args:
        options: ``run_options`` of the run, stored in each checkpoint.
        state: the checkpoint to resume from, by `restore`; None for a new run.

    Attributes:
        model: the network with the training weights.
        network: ``model``, wrapped by torch.compile and DistributedDataParallel if configured;
            training calls ``network``.
        optimizer, scaler, ema: optimiser, fp16 loss scaler and moving average of the weights;
            ``ema`` is None without ``config.ema_decay``.
        epoch, step: number of finished epochs, and of finished updates of the current epoch.
        sums: losses of the current epoch by name, summed over the images.
        images, seconds, grad_norms: images, seconds and sum of gradient norms of the epoch so far.
        best: epoch, score and checkpoint file of the best epoch so far.
        amp: precision "off", "bf16" or "fp16", from ``settle_amp``.
        log_lines: number of lines of log.jsonl at the position of the run.
        saved_at: time of the last checkpoint of this process, by ``time.perf_counter``.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: TrainingData,
        options: dict[str, Any],
        device: torch.device,
        state: dict[str, Any] | None,
    ) -> None:
        self.config, self.options, self.device = config, options, device
        self.output = Path(config.output)
        self.amp = settle_amp(config.amp, device, state)
        self.second_modality = settle_modality(config, data.modality, state)
        torch.manual_seed(config.seed)
        # A checkpoint has the weights, so a resumed run needs neither the hub nor a weights file.
        source = config.pretrained if state is None else None
        source = True if source == "imagenet" else source or False
        model = build_model(config.preset, pretrained=source, **options["model_overrides"])
        self.model = model.to(device)
        self.model.config = replace(self.model.config, second_modality=self.second_modality.name)
        if world_size() > 1 and device.type == "cuda":  # no effect without BatchNorm
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if config.grad_checkpointing:
            self.model.encoder.set_grad_checkpointing()
        self.optimizer = make_optimizer(self.model, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp == "fp16")
        self.ema = Ema(self.model, config.ema_decay) if config.ema_decay else None
        self.teacher = None
        if config.teacher:
            self.teacher = Teacher(config.teacher, config.teacher_ratio, device)
            check_teacher(self.teacher, config, data.modality)
        self.fingerprint = data.fingerprint
        self.global_batch = options["images_per_update"]
        self.updates_per_epoch = math.ceil(data.epoch_images / self.global_batch)
        self.image_size = (self.model.config.image_size,) * 2
        self.log_lines = self.checkpoints = 0
        self.best: dict[str, Any] = {"epoch": 0, "score": math.inf, "file": None}
        self.network: nn.Module = self.model
        self.frozen: bool | None = None
        self.saved_at = time.perf_counter()
        self.start_epoch(0)

    @property
    def updates(self) -> int:
        """Number of optimiser steps since the start of the run."""
        return self.epoch * self.updates_per_epoch + self.step

    def start_epoch(self, epoch: int) -> None:
        """Move to the start of an epoch, numbered from 0, and set the epoch's sums to zero."""
        self.epoch, self.step = epoch, 0
        self.sums: dict[str, float] = {}
        self.images = 0
        self.seconds = self.grad_norms = 0.0

    def prepare_network(self) -> None:
        """Set training mode, and freeze the encoder in the first epochs if configured."""
        frozen = self.epoch < self.config.freeze_encoder_epochs
        self.model.train()
        freeze_encoder(self.model, frozen, self.config.freeze_layers)
        if frozen == self.frozen:
            return
        self.frozen, self.network = frozen, self.model
        if self.config.compile:
            self.network = torch.compile(self.network)
        if world_size() > 1:
            # At its creation, DistributedDataParallel fixes the list of parameters with gradients.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view")  # speed only
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.network = DistributedDataParallel(self.network, device_ids=ids)

    def precision(self) -> contextlib.AbstractContextManager:
        """Return the context of automatic mixed precision."""
        return autocast(self.device, self.amp)

    def place(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Move rgb, depth, has_depth and gt to the device, and hide a modality if configured."""
        rgb, depth, has_depth, gt = (
            batch[name].to(self.device, non_blocking=True)
            for name in ("rgb", "depth", "has_depth", "gt")
        )
        if self.config.channels_last:
            rgb = rgb.contiguous(memory_format=torch.channels_last)
        return *hide_modality(self.config.modality, rgb, depth, has_depth), gt

    def averaged(self) -> contextlib.AbstractContextManager:
        """Return a context in which the model has averaged weights, if configured."""
        return self.ema.applied_to(self.model) if self.ema else contextlib.nullcontext()

    def save(self, new_best: float | None = None) -> None:
        """Write a checkpoint on the first process; every process must call this method.

        ``new_best`` is the score of the finished epoch if it is the lowest (best) so far, or None.
        """
        rng = gather(_rng_states(self.device))
        self.checkpoints += 1
        if new_best is not None:
            self.best = {"epoch": self.epoch, "score": new_best, "file": None}
        if not is_main():
            return
        folder = self.output / CHECKPOINTS
        if new_best is not None:
            with self.averaged():
                state = {"epoch": self.epoch, "model": unique_state(self.model)}
                self.best["file"] = save_checkpoint(folder, "best", self.epoch, state).name
        state = {name: getattr(self, name) for name in _POSITION} | {
            "options": self.options,
            "fingerprint": self.fingerprint,
            "teacher": self.teacher and self.teacher.sha256,
            "amp": self.amp,
            "number": self.checkpoints,
            "model": unique_state(self.model),
            "second_modality": self.model.config.second_modality,
            "normalisation": [list(self.model.config.mean), list(self.model.config.std)],
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": rng,
        }
        save_checkpoint(folder, "last", self.checkpoints, state)
        drop_old_checkpoints(folder)
        self.saved_at = time.perf_counter()

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a checkpoint; raise InputError if the data, teacher or model has changed."""
        if state["fingerprint"] != self.fingerprint:
            raise InputError(
                f"{self.output}: the training or validation data changed since the run was started "
                "(names or sizes of files). Fix: restore the files, or pass another `output`."
            )
        if self.teacher and state.get("teacher") != self.teacher.sha256:
            raise InputError(
                f"`teacher` {self.config.teacher}: the weights changed since the run {self.output} "
                "was started. Fix: restore the file, or pass another `output`."
            )
        try:
            if self.ema:
                self.ema.load_state_dict(self.model, state["ema"])
            load_unique_state(self.model, state["model"])
        except InputError as error:
            raise InputError(
                f"{self.output}: checkpoint: {error}. Fix: restore the checkpoint, or pass "
                "another `output`."
            ) from error
        # Older checkpoints do not store the normalisation; their runs used ImageNet's values.
        self.model.normalise_with(*state.get("normalisation", (IMAGENET_MEAN, IMAGENET_STD)))
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.checkpoints = state["number"]
        for name in _POSITION:
            setattr(self, name, state[name])
        _restore_rng_states(state["rng"], self.device)


def settle_amp(asked: str, device: torch.device, state: dict[str, Any] | None) -> str:
    """Return the precision "off", "bf16" or "fp16", equal in all processes and starts of a run.

    If ``asked``, the option ``amp``, is "auto", a resumed run keeps its precision. A new run has
    "off" if the choices of "auto" differ between the processes.

    Raises:
        InputError: the precision is fp16 on a device other than CUDA, or differs from the precision
            at the start of the run.
    """
    # Older checkpoints have only the option ``amp``, whose value auto was off on CPUs.
    amp = asked if state is None else state.get("amp") or state["options"]["train"]["amp"]
    if amp == "fp16" and device.type != "cuda":
        raise InputError("`amp` fp16 needs a CUDA device for training. Fix: pass bf16 or off.")
    if state is None:
        amps = set(gather(pick_amp(asked, device)))
        return amps.pop() if len(amps) == 1 else "off"
    if amp == "auto":
        amp = "off" if device.type == "cpu" else pick_amp(amp, device)
    if asked not in ("auto", amp):
        raise InputError(
            f"`amp` {asked}: the run was started with {amp}. Fix: leave `amp` out to keep "
            "this precision, or pass another `output`."
        )
    here = pick_amp("auto", device)
    if asked == "auto" and amp != here and is_main():
        _log.warning(
            "the run continues with --amp %s, as at the start; on this device auto selects %s",
            *(amp, here),
        )
    return pick_amp(amp, device)  # warns if this precision is slow


def _rng_states(device: torch.device) -> dict[str, Any]:
    """Return the states of this process's random-number generators, which some layers use."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [name, keys.tolist(), *rest],
        "python": random.getstate(),
    }


def _restore_rng_states(states: list[dict[str, Any]], device: torch.device) -> None:
    state = states[rank() % len(states)]
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
