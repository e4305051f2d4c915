"""Model, optimiser and position of a training run: everything that a checkpoint holds."""

from __future__ import annotations

import contextlib
import logging
import math
import random
import warnings
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
from mutualformer_sod.training.ema import Ema
from mutualformer_sod.training.optimiser import freeze_encoder, make_optimizer
from mutualformer_sod.training.run_folder import CHECKPOINTS
from mutualformer_sod.training.sampler import updates_per_epoch

_log = logging.getLogger(__name__)


class Run:
    """A run in progress.

    Attributes:
        model: the network with the training weights; ``network``: what is called in training, the
            same behind DistributedDataParallel and torch.compile where those are in use.
        optimizer, scaler, ema: of these weights; no ``ema`` without ``config.ema_decay``.
        epoch: finished epochs; ``step``: updates done in the epoch begun.
        sums: losses of the epoch begun, by name, each times its images; ``images``, ``seconds`` and
            ``grad_norms`` (a sum over the updates) go with them.
        best: epoch, score and checkpoint file of the best epoch so far.
        amp: the precision, see ``settle_amp``.
        fingerprint: of the data the run was started with.
        log_lines: lines of log.jsonl at this position.
    """

    def __init__(
        self,
        config: TrainConfig,
        overrides: dict[str, Any],
        images: int,
        global_batch: int,
        fingerprint: str,
        device: torch.device,
        pretrained: str | None,
        amp: str,
    ) -> None:
        self.config, self.device = config, device
        torch.manual_seed(config.seed)
        source = True if pretrained == "imagenet" else pretrained or False
        self.model = build_model(config.preset, pretrained=source, **overrides).to(device)
        if world_size() > 1 and device.type == "cuda":  # without BatchNorm this changes nothing
            self._refuse_lost_hooks()
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if config.grad_checkpointing:
            self.model.encoder.set_grad_checkpointing()
        self.optimizer = make_optimizer(self.model, config)
        self.amp = amp
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp == "fp16")
        self.ema = Ema(self.model, config.ema_decay) if config.ema_decay else None
        self.global_batch = global_batch
        self.updates_per_epoch = updates_per_epoch(images, global_batch)
        self.image_size = (self.model.config.image_size,) * 2
        self.fingerprint = fingerprint
        self.log_lines = self.checkpoints = 0
        self.best: dict[str, Any] = {"epoch": 0, "score": math.inf, "file": None}
        self.network: nn.Module = self.model
        self.frozen: bool | None = None
        self.start_epoch(0)

    def _refuse_lost_hooks(self) -> None:
        """The conversion to SyncBatchNorm drops the hooks through which a fusion acts."""
        norms = nn.modules.batchnorm._BatchNorm
        encoder = self.model.encoder
        if encoder.is_joint and any(isinstance(module, norms) for module in encoder.modules()):
            raise InputError(
                f"fusion={self.model.config.fusion.fusion}: this backbone has BatchNorm, which "
                "several GPUs cannot share here: train on one, or give another backbone"
            )

    @property
    def updates(self) -> int:
        """Optimiser steps done since the start."""
        return self.epoch * self.updates_per_epoch + self.step

    def start_epoch(self, epoch: int) -> None:
        """Stand at the beginning of an epoch (from 0), all sums at zero."""
        self.epoch, self.step = epoch, 0
        self.sums: dict[str, float] = {}
        self.images = 0
        self.seconds = self.grad_norms = 0.0

    def prepare_network(self) -> None:
        """Training mode, with the encoder frozen or not, as the epoch wants it."""
        frozen = self.epoch < self.config.freeze_encoder_epochs
        self.model.train()
        freeze_encoder(self.model, frozen, self.config.freeze_layers)
        if frozen == self.frozen:
            return
        self.frozen, self.network = frozen, self.model
        if self.config.compile:
            self.network = torch.compile(self.network)
        if world_size() > 1:
            # It notes at its creation which parameters get gradients, so it is made anew.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view")  # speed only
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.network = DistributedDataParallel(self.network, device_ids=ids)

    def precision(self) -> contextlib.AbstractContextManager:
        """Automatic mixed precision, or nothing."""
        return autocast(self.device, self.amp)

    def place(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """rgb, depth, has_depth and gt of a batch on the device, one modality hidden if wanted."""
        rgb, depth, has_depth, gt = (
            batch[name].to(self.device, non_blocking=True)
            for name in ("rgb", "depth", "has_depth", "gt")
        )
        if self.config.channels_last:
            rgb = rgb.contiguous(memory_format=torch.channels_last)
        return *hide_modality(self.config.modality, rgb, depth, has_depth), gt

    def averaged(self) -> contextlib.AbstractContextManager:
        """The weights to validate and to release: the moving average, if there is one."""
        return self.ema.applied_to(self.model) if self.ema else contextlib.nullcontext()

    def save(self, output: Path, options: dict[str, Any], new_best: float | None = None) -> None:
        """Write a checkpoint (on the first process; every process must call it).

        Args:
            output: the folder of the run.
            options: ``run_options`` of the run, kept inside the checkpoint.
            new_best: score (less is better) of the epoch just finished, if the best so far.
        """
        rng = gather(_rng_states(self.device))
        folder = output / CHECKPOINTS
        self.checkpoints += 1
        if new_best is not None:
            self.best = {"epoch": self.epoch, "score": new_best, "file": None}
            if is_main():
                with self.averaged():
                    state = {"epoch": self.epoch, "model": unique_state(self.model)}
                    path = save_checkpoint(folder, "best", self.epoch, state)
                self.best["file"] = path.name
        if not is_main():
            return
        state = {
            "options": options,
            "fingerprint": self.fingerprint,
            "amp": self.amp,
            "number": self.checkpoints,
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "images": self.images,
            "seconds": self.seconds,
            "grad_norms": self.grad_norms,
            "best": self.best,
            "log_lines": self.log_lines,
            "model": unique_state(self.model),
            "normalisation": [list(self.model.config.mean), list(self.model.config.std)],
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": rng,
        }
        save_checkpoint(folder, "last", self.checkpoints, state)
        drop_old_checkpoints(folder)

    def restore(self, state: dict[str, Any], output: Path) -> None:
        """Go back to where ``state`` was saved.

        Raises:
            InputError: the data are not those the run was started with.
        """
        if state["fingerprint"] != self.fingerprint:
            raise InputError(
                f"{output}: the training or validation data changed since the run was started "
                "(names or sizes of files): restore them, or start again with another --output"
            )
        load_unique_state(self.model, state["model"])
        # Runs older than this entry were trained with ImageNet's values.
        self.model.normalise_with(*state.get("normalisation", (IMAGENET_MEAN, IMAGENET_STD)))
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step, self.checkpoints = state["epoch"], state["step"], state["number"]
        self.sums, self.images = dict(state["sums"]), state["images"]
        self.seconds, self.grad_norms = state["seconds"], state["grad_norms"]
        self.best = dict(state["best"])
        self.log_lines = state["log_lines"]
        _restore_rng_states(state["rng"], self.device)


def settle_amp(asked: str, device: torch.device, state: dict[str, Any] | None) -> str:
    """The precision of a run: decided at its start, for all its processes and resumptions.

    Args:
        asked: the ``--amp`` of this start; with "auto" a resumption keeps what the run has.
        device: of this process.
        state: the checkpoint to go on from; None for a new run.

    Returns:
        "off", "bf16" or "fp16". "off" where "auto" means different types on different hosts.

    Raises:
        InputError: fp16 on a CPU, or another precision than the run was started with.
    """
    if state is None:
        amps = set(gather(pick_amp(asked, device)))
        amp = amps.pop() if len(amps) == 1 else "off"
    else:
        amp = _recorded_amp(state, device)
        if asked not in ("auto", amp):
            raise InputError(
                f"--amp {asked}: this run was started with {amp}: leave --amp out to keep that, "
                "or start again with another --output"
            )
        here = pick_amp("auto", device)
        if asked == "auto" and amp != here and is_main():
            _log.warning(
                "the run goes on with --amp %s, as it was started; on this device auto means %s",
                *(amp, here),
            )
        pick_amp(amp, device)  # warns where that is slow
    if amp == "fp16" and device.type != "cuda":
        raise InputError("--amp fp16 is for training on CUDA devices: give bf16 or off")
    return amp


def _recorded_amp(state: dict[str, Any], device: torch.device) -> str:
    """The precision of a checkpoint; older ones have the flag alone, when auto was off on CPUs."""
    amp = state.get("amp") or state["options"]["train"]["amp"]
    if amp == "auto":
        return "off" if device.type == "cpu" else pick_amp(amp, device)
    return amp


def _rng_states(device: torch.device) -> dict[str, Any]:
    """States of every random-number generator of this process, as plain data and tensors.

    What a run draws is keyed by (seed, epoch, image), so that none of these should matter; they
    are kept for third-party layers that draw from them.
    """
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
