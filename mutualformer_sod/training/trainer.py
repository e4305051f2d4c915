"""Train a network in a loop over epochs, and save, resume and finish a run."""

import contextlib
import math
import os
import time
from pathlib import Path
from typing import Any, NoReturn

import torch
from tqdm import tqdm

from mutualformer_sod import distributed
from mutualformer_sod.configs.model import make_config
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.data.training.loader import open_stream
from mutualformer_sod.errors import InputError, Stopped, counted
from mutualformer_sod.files import check_writable, write_text
from mutualformer_sod.memory import peak_resident_memory
from mutualformer_sod.models.pretrained import AUTO, describe_backbone_weights
from mutualformer_sod.models.starting import load_encoder, load_network
from mutualformer_sod.models.weights import load_unique_state, save_weights
from mutualformer_sod.signals import StopRequest
from mutualformer_sod.training import announce, run_folder
from mutualformer_sod.training.checkpoints import load_checkpoint
from mutualformer_sod.training.ema import Ema
from mutualformer_sod.training.run import Run
from mutualformer_sod.training.sampler import plan_epoch
from mutualformer_sod.training.second_modality import describe_other_modality
from mutualformer_sod.training.sets import TrainingData, gather_training_data
from mutualformer_sod.training.tensorboard import Board
from mutualformer_sod.training.update import update_weights
from mutualformer_sod.training.validation import validate


def train(
    config: TrainConfig, model_overrides: dict[str, Any] | None = None, resume: str | None = None
) -> Path:
    """Train one model, in this process or in all processes that torchrun started.

    The result depends on the configuration, the data and the number of images of an update.
    Interruptions do not change the result. The number of processes changes only rounding, unless
    BatchNorm uses the statistics of the batch.

    Args:
        model_overrides: fields of the model configuration that differ from the preset.
        resume: "last" continues an existing run in ``config.output``, or starts a new run.
            "previous" continues from the checkpoint before the last. None starts a new run.

    Returns:
        The folder of the run.

    Raises:
        InputError: the data or options cannot be used, ``resume`` is None but the folder contains
            a run, the loss is not finite, or the disk is full.
        Stopped: SIGTERM or Ctrl-C was received, and the run was saved.
    """
    with distributed.one_voice(), contextlib.ExitStack() as held:
        return _train(config, dict(model_overrides or {}), resume, held)


def _train(
    config: TrainConfig, overrides: dict[str, Any], resume: str | None, held: contextlib.ExitStack
) -> Path:
    output = Path(config.output)
    size = overrides.setdefault("image_size", config.size) if config.size is not None else None
    if size != config.size:
        raise InputError(
            f"`size` {config.size} and --set image_size={size} contradict each other. "
            "Fix: pass only one option."
        )
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    global_batch = config.global_batch_size or config.batch_size * processes
    options = run_folder.run_options(config, overrides, global_batch)
    state = run_folder.find_run(output, options, resume)
    if state and state["epoch"] >= config.epochs and (output / run_folder.WEIGHTS_FILE).exists():
        if os.environ.get("RANK", "0") == "0":
            done = f"this run is finished ({counted(config.epochs, 'epoch')})"
            print(f"{output}: {done}: nothing to do; a larger --epochs extends it")
        return output
    check_writable(output / run_folder.CHECKPOINTS)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    data = gather_training_data(config, make_config(config.preset, **overrides))
    device = distributed.start_processes(config.device)
    run = Run(config, data, options, device, state)
    taken = []
    if state is not None:
        run.restore(state)
    elif config.init_weights or config.finetune:
        load = load_network if config.finetune else load_encoder
        start = config.finetune or config.init_weights
        taken = [load(run.model, start), describe_other_modality(start, run.second_modality)]
        if run.ema:  # the average must not begin at the random weights
            run.ema = Ema(run.model, config.ema_decay)
    # All processes read the folder before the main process writes to the folder, and must agree.
    if len(set(distributed.gather((run.epoch, run.step, run.checkpoints, run.fingerprint)))) > 1:
        raise InputError(
            f"`output` {output}: the hosts of this run see different checkpoints or data. Fix: "
            "pass folders that all hosts share."
        )
    if distributed.is_main():
        # The folder is created after all checks, because wrong options must not leave a folder.
        start = run_folder.describe_start(device, run.amp, data.fingerprint)
        held.enter_context(run_folder.open_run(output, options, start, state))
        if data.val is not None:
            write_text(output / run_folder.VAL_FILE, "\n".join(data.val.names) + "\n")
        print(data.describe())
        print(announce.describe_batch(run))
        for line in filter(None, taken):
            print(line)
        if state is not None:
            print(f"resuming in epoch {run.epoch + 1} of {config.epochs}, update {run.step}")
            if "extended_from" in options:
                print(announce.describe_extension(config, options["extended_from"][-1]))
    board = Board(run) if config.tensorboard and distributed.is_main() else None
    with StopRequest() as stop:
        while run.epoch < config.epochs:
            _train_epoch(run, data, board, stop)
            _finish_epoch(run, data, board, stop)
    if distributed.is_main():
        _release_weights(data, run)
    return output


def _release_weights(data: TrainingData, run: Run) -> None:
    """Write the weights of the best validated epoch, or of the last epoch if none is validated."""
    config = run.config
    best = load_checkpoint(run.output / run_folder.CHECKPOINTS / run.best["file"])
    load_unique_state(run.model, best["model"])
    protocol = data.protocol(config) | {
        "epoch": best["epoch"],
        "epochs": config.epochs,
        "code": run_folder.describe_code(),
        "images_per_update": run.global_batch,
        "amp": run.amp,
    }
    protocol |= {k: v for k, v in run.options.items() if k == "extended_from"}
    if config.pretrained == AUTO:
        name = run.model.config.encoder.pretrained
        protocol["backbone_weights"] = describe_backbone_weights(name)
    dtype = getattr(torch, config.weights_dtype)
    sha256 = save_weights(run.model, run.output / run_folder.WEIGHTS_FILE, protocol, dtype)
    print(announce.describe_end(run, best["epoch"], protocol["choice"], sha256))


def _train_epoch(run: Run, data: TrainingData, board: Board | None, stop: StopRequest) -> None:
    """Compute the remaining updates of the current epoch."""
    config, is_main = run.config, distributed.is_main()
    order = data.epoch_order(config.seed, run.epoch)
    place = distributed.rank(), distributed.world_size()
    plan = plan_epoch(order, run.global_batch, config.batch_size, *place)
    data.train.set_epoch(run.epoch)
    run.prepare_network()
    progress = tqdm(
        plan[run.step :],
        desc=f"epoch {run.epoch + 1}/{config.epochs}",
        total=len(plan),
        initial=run.step,
        unit="update",
        leave=False,
        disable=None if is_main else True,
    )
    batches = [part.indices for parts in plan[run.step :] for part in parts]
    cuda = run.device.type == "cuda"
    with open_stream(data.train, batches, config.workers, cuda) as stream:
        begun_at = time.perf_counter()
        for parts in progress:
            # Each process has its own clock and signals; ``update_weights`` exchanges both.
            waited = time.perf_counter() - run.saved_at
            due = is_main and waited > 60 * config.checkpoint_minutes
            update = update_weights(run, parts, stream, (stop.signal or 0, due))
            images = min(run.global_batch, len(order) - run.step * run.global_batch)
            run.step += 1
            run.images += images
            if math.isfinite(update.grad_norm):  # fp16 skips a few updates with infinite norms
                run.grad_norms += update.grad_norm
            for name, value in update.losses.items():
                run.sums[name] = run.sums.get(name, 0.0) + value * images
            now = time.perf_counter()
            run.seconds, begun_at = run.seconds + now - begun_at, now
            progress.set_postfix(loss=f"{run.sums['total'] / run.images:.4f}")
            if board:
                board.add_update(run, update)
            signal, due = update.requests
            every = config.checkpoint_steps
            if signal or due or (every and run.updates % every == 0):
                run.save()
            if signal:
                _leave(run, signal)


def _finish_epoch(run: Run, data: TrainingData, board: Board | None, stop: StopRequest) -> None:
    """Validate, log, save and report a finished epoch."""
    cuda = run.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(run.device) if cuda else peak_resident_memory()
    record: dict[str, Any] = {
        "epoch": run.epoch + 1,
        "lr": max(group["lr"] for group in run.optimizer.param_groups),
        "train": {},
        "grad_norm": run.grad_norms / run.updates_per_epoch,
        "seconds": round(run.seconds, 2),
        "images_per_second": round(run.images / run.seconds, 2),
        "peak_memory_mb": None if peak is None else round(peak / 2**20),
    }
    for name, value in run.sums.items():
        kind, slash, statistic = name.partition("/")
        part = record.setdefault(kind, {}) if slash else record["train"]
        part[statistic or name] = value / run.images
    score = -float(run.epoch)  # without validation, the score selects the last epoch
    if data.val is not None:
        scores = validate(run, data.val, stop)
        if scores is None:
            run.save()
            _leave(run, max(distributed.gather(stop.signal or 0)))
        record["val"], score = scores, scores["loss"]
    if board:
        board.add_epoch(run, record.get("val", {}), data.val or data.train)
    run.start_epoch(run.epoch + 1)
    if distributed.is_main():
        # The log is written first. If the process is killed before the checkpoint, resuming
        # removes the extra line.
        run_folder.add_to_log(run.output, record)
    run.log_lines += 1
    run.save(score if score < run.best["score"] else None)
    if distributed.is_main():
        print(announce.describe_epoch(record, run.config.epochs), flush=True)


def _leave(run: Run, signal: int) -> NoReturn:
    """Raise Stopped for a run that was saved."""
    raise Stopped(
        signal,
        f"saved {run.output} in epoch {run.epoch + 1} of {run.config.epochs}, after update "
        f"{run.step} of {run.updates_per_epoch}: the same command with --resume continues",
    )
