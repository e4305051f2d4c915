"""Compare the speeds of the data loader and a training step."""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from tqdm import trange

from mutualformer_sod import list_presets
from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.configs.model import DEFAULT_PRESET, make_config
from mutualformer_sod.configs.training import CACHES, TrainConfig
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.files import write_json

EPILOG = """\
Each figure is the median of --windows windows of --batches batches, after a warm-up window. Items
are augmented as in training; a step is forward, backward and optimiser on one batch that stays on
the device. A ratio above 1 means that the loader is faster than the network.
"""


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--data", "--near", "--limit", "--size", "--batch-size", "--amp")
    cli.add_flags(parser, "--device", "--json")
    cli.add_flags(parser, "--overwrite", help="replace the file of --json")
    add = cli.flag_adder(parser)
    add("--workers", "loader processes, compared with 0", "N", cli.at_least(0), default=2)
    add("--train-sets", "sets to load", "SET", nargs="+", default=[])
    parser.add_argument("--preset", default=DEFAULT_PRESET, help=", ".join(list_presets()))
    effect = "caches to compare: off, ram, disk (default: off ram)"
    add("--cache", effect, "MODE", nargs="+", choices=CACHES, default=["off", "ram"])
    add("--cache-side", "maximum side of cached images (default: 1.25 x the size)", "S", int)
    add("--cache-dir", "folder of --cache disk", "DIR")
    add("--batches", "batches per window", "N", cli.COUNT, default=20)
    add("--windows", "timed windows", "N", cli.COUNT, default=5)
    args = parser.parse_args()
    cli.check_result_files(args, "json")
    if "disk" not in args.cache:
        parser.refuse_unused(args, ("cache_dir",), "without --cache disk")
    elif args.cache_dir is None:
        raise InputError("--cache disk needs a folder. Fix: pass --cache-dir DIR")
    if args.cache == ["off"]:
        parser.refuse_unused(args, ("cache_side",), "with --cache off")
    return args


def main() -> None:
    args = parse_arguments()
    import torch  # late, because --help needs no torch

    from mutualformer_sod.models.device import pick_amp, pick_device

    device = pick_device(args.device)
    args.amp = pick_amp(args.amp, device)
    model = make_config(args.preset, **({} if args.size is None else {"image_size": args.size}))
    loaders = []
    for cache in dict.fromkeys(args.cache):
        figures, batch = time_loaders(args, cache, model, device)
        loaders += figures
    step = training_step(train_config(args, cache), model, batch, device, args.amp)
    speed = args.batch_size / time_windows(step, args)
    for loader in loaders:
        loader["times_the_network"] = loader["images_per_second"] / speed
        print(
            f"loader, cache {loader['cache']}, {counted(loader['workers'], 'worker')}:"
            f" {loader['images_per_second']:.1f} images/s,"
            f" {loader['times_the_network']:.2f} x the speed of the network"
        )
    print(
        f"network, {args.preset} at {model.image_size} px, batches of {args.batch_size}, amp"
        f" {args.amp}, {device}: {speed:.1f} images/s"
    )
    suggest("train", "--data", *args.data, "--preset", args.preset, "--output", "runs/mine")
    if args.json is not None:
        options = {
            "preset": args.preset,
            "size": model.image_size,
            "batch_size": args.batch_size,
            "amp": args.amp,
            "device": str(device),
            "torch_threads": torch.get_num_threads(),
        }
        network = {"images_per_second": speed}
        write_json(args.json, {"options": options, "loaders": loaders, "network": network})


def train_config(args: argparse.Namespace, cache: str) -> TrainConfig:
    """Return the configuration of the run whose data and optimiser are timed."""
    same = ("preset", "data", "train_sets", "near", "limit", "cache_side", "cache_dir")
    fields = {name: getattr(args, name) for name in (*same, "batch_size", "workers")}
    # An overlap with test sets has no effect, because the benchmark evaluates nothing.
    return TrainConfig(**fields, cache=cache, holdout=0.0, allow_overlap=True)


def time_loaders(
    args: argparse.Namespace, cache: str, model: Any, device: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the speed of the loader without and with workers, and the first batch."""
    import torch

    from mutualformer_sod.data.training.loader import make_loader
    from mutualformer_sod.training.sets import gather_training_data

    started = time.perf_counter()
    train = gather_training_data(train_config(args, cache), model).train
    setup = time.perf_counter() - started
    count = args.batches * (args.windows + 1)
    order = torch.arange(count * args.batch_size) % len(train)
    order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(0))]
    batches = order.view(count, args.batch_size).tolist()
    figures = []
    for workers in dict.fromkeys((0, args.workers)):
        stream = iter(make_loader(train, batches, workers, device.type == "cuda"))
        speed = args.batch_size / time_windows(stream.__next__, args)
        figures.append(
            {
                "cache": cache,
                "workers": workers,
                "images_per_second": speed,
                "setup_seconds": setup,
            }
        )
    return figures, next(iter(make_loader(train, batches[:1])))


def time_windows(step: Callable[[], object], args: argparse.Namespace) -> float:
    """Return the median seconds of one call of ``step`` over all windows except the first."""
    seconds = []
    for _ in trange(args.windows + 1, desc="windows", leave=False, disable=None):
        started = time.perf_counter()
        for _ in range(args.batches):
            step()
        seconds.append((time.perf_counter() - started) / args.batches)
    return statistics.median(seconds[1:])


def training_step(
    config: TrainConfig, model_config: Any, batch: dict[str, Any], device: Any, amp: str
) -> Callable[[], None]:
    """Return a function that makes one training step on ``batch``; initial weights are random."""
    import torch

    from mutualformer_sod.models.detector import SaliencyDetector
    from mutualformer_sod.models.device import autocast
    from mutualformer_sod.training.optimiser import make_optimizer
    from mutualformer_sod.training.update import losses_of

    torch.manual_seed(0)
    model = SaliencyDetector(model_config).to(device).train()
    optimizer = make_optimizer(model, config)
    *inputs, gt = (batch[part].to(device) for part in ("rgb", "depth", "has_depth", "gt"))

    def step() -> None:
        with autocast(device, amp):
            output = model(*inputs)
        losses = losses_of(output, gt, config)
        optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        losses["total"].item()  # waits for the device

    return step
