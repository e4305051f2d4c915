"""Write the network of a weights file as ONNX or as a torch.export program."""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mutualformer_sod.benchmark.timing import in_turn
from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

    from mutualformer_sod.inference.export import Network
    from mutualformer_sod.models.detector import SaliencyDetector

SUFFIXES = {"onnx": ".onnx", "exported-program": ".pt2"}
TOLERANCE = 1e-4  # maximum difference of saliency
EPILOG = """\
The inputs are rgb, depth and has_depth; the output is logits. The metadata of the file contain the
shapes and ranges of inputs and output, the model's configuration and the training protocol. The
batch size is variable. Without --size, the image size is variable too, in multiples of the
network's stride.
docs/export.md shows how to use a file.
"""


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--weights", required=True)
    cli.add_flags(parser, "--output", metavar="FILE", help=".onnx or .pt2")
    cli.add_flags(parser, "--overwrite", help="replace FILE")
    cli.add_flags(parser, "--size", type=int, help="fixed image size S x S")
    cli.add_flags(parser, "--limit", default=8, help="number of images for --check (default: 8)")
    cli.add_flags(parser, "--rounds", help="timed rounds of --benchmark (default: 9)")
    add = cli.flag_adder(parser)
    parser.add_argument("--format", default="onnx", help="onnx (default) or exported-program")
    # 18 is the oldest opset of torch's exporter.
    add("--opset", "ONNX opset (default: torch's)", "N", cli.at_least(18))
    parser.add_argument(
        "--check",
        metavar="ROOT",
        help="folder of sets: compare the file with PyTorch on the images of the sets; a file that "
        f"differs by more than {TOLERANCE:g} in saliency is not written",
    )
    cli.add_flags(parser, "--near", help="for --check: which depth values are near (default: auto)")
    add("--benchmark", "compare images/s with PyTorch")
    args = parser.parse_args()
    if args.check is None:
        parser.refuse_unused(args, ("near", "limit"), "without --check")
    if not args.benchmark:
        parser.refuse_unused(args, ("rounds",), "without --benchmark")
    return args


def main() -> None:
    args = parse_arguments()
    if args.format not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise InputError(f"--format {args.format!r} is unknown. Fix: pass one of {known}")
    suffix = SUFFIXES[args.format]
    if args.output.suffix != suffix:
        raise InputError(f"--output {args.output}: wrong suffix. Fix: pass a {suffix} file")
    if args.opset is not None and args.format != "onnx":
        raise InputError("--opset has no effect without --format onnx. Fix: omit it")
    cli.check_result_files(args, "output")
    # Import late, because --help and wrong flags need no torch.
    from mutualformer_sod.inference import export
    from mutualformer_sod.models.weights import load_weights

    export.needs_extra(*(("onnx", "onnxscript", "onnxruntime") if args.format == "onnx" else ()))
    model, protocol = load_weights(args.weights)
    exportable = export.ExportableDetector(model, protocol.get("modality", "both"))
    size = args.size or -(-model.config.image_size // exportable.stride) * exportable.stride
    images = load_images(args, size, model) if args.check else None
    print("tracing the network, which may take minutes", flush=True)
    started = time.perf_counter()
    program, any_size = export.trace(exportable, args.size)
    metadata = export.describe(exportable, any_size, protocol, size)
    with replacing(args.output) as temporary:
        print(f"traced in {time.perf_counter() - started:.0f} s; writing {args.format}", flush=True)
        if args.format == "onnx":
            export.save_onnx(program, temporary, metadata, args.opset)
        else:
            export.save_program(program, temporary, metadata)
        print(f"written after {time.perf_counter() - started:.0f} s", flush=True)
        if images is not None:
            print("check: comparing the file with PyTorch", flush=True)
            check(export.load_exported(temporary), exportable, images, args.output)
    megabytes = args.output.stat().st_size / 1e6
    print(f"{args.output}: {megabytes:.1f} MB, any batch size, images of {metadata['sizes']}")
    if args.size is None and not any_size:
        print(f"the graph of this backbone accepts one image size only: {size} x {size}")
    if args.benchmark:
        print(f"benchmark: {args.rounds} rounds", flush=True)
        benchmark(export.load_exported(args.output), model, exportable.modality, size, args)
    suggest("benchmark", "--weights", args.weights, "--device", "cpu")


def load_images(
    args: argparse.Namespace, size: int, model: SaliencyDetector
) -> tuple[Tensor, Tensor, Tensor]:
    """Load the first images of the sets of ``--check`` as a batch of rgb, depth and has_depth."""
    from torch.utils.data import default_collate

    from mutualformer_sod.data.depth.polarity import with_encodings
    from mutualformer_sod.data.discovery.sets import discover_sets, refuse_other_modality
    from mutualformer_sod.data.training.dataset import SodDataset

    sets = [item for item in discover_sets([args.check]) if item.has_rgb]
    if not sets:
        raise InputError(
            f"--check {args.check}: no set with colour images. Fix: pass a folder of RGB sets"
        )
    second = model.config.second_modality
    refuse_other_modality(sets, second, "the network", f"pass a folder with {second} to --check")
    sets = with_encodings(sets, args.near, quiet=True, ask_disparity=True)
    dataset = SodDataset(sets, size, depth_rule=model.config.depth_rule, with_gt=False)
    batch = default_collate([dataset[index] for index in range(min(args.limit, len(dataset)))])
    return batch["rgb"], batch["depth"], batch["has_depth"]


def check(exported: Network, original: Any, images: tuple[Tensor, ...], output: Path) -> None:
    """Compare two networks on images, singly and as a batch.

    Depth is used for all images that have depth, for no image, and for every second image.

    Raises:
        InputError: the saliency of the networks differs by more than ``TOLERANCE``.
    """
    import torch

    from mutualformer_sod.models.inputs import hide_modality

    rgb, depth, has_depth = images
    mixed = has_depth & (torch.arange(len(rgb)) % 2 == 0)
    logits = saliency = 0.0
    with torch.inference_mode():
        for real in (has_depth, torch.zeros_like(has_depth), mixed):
            want = original.detector(*hide_modality(original.modality, rgb, depth, real))
            singly = [exported(rgb[i:][:1], depth[i:][:1], real[i:][:1]) for i in range(len(rgb))]
            for got in (exported(rgb, depth, real), torch.cat(singly)):
                logits = max(logits, (got - want).abs().max().item())
                difference = (got.sigmoid() - want.sigmoid()).abs().max().item()
                saliency = max(saliency, difference) if difference == difference else 1.0  # NaN
    if saliency > TOLERANCE:
        raise InputError(
            f"{output}: not written: its saliency differs from PyTorch's by up to {saliency:.1e}. "
            "Fix: pass another --format or --opset"
        )
    shown = f"{int(has_depth.sum())} of them with depth; inputs with depth, without and mixed"
    print(f"check: {counted(len(rgb), 'image')}, {shown}")
    print(f"largest difference: {logits:.1e} in logits, {saliency:.1e} in saliency")


def benchmark(
    exported: Network, model: SaliencyDetector, modality: str, size: int, args: argparse.Namespace
) -> None:
    """Print images/s of the exported file and of PyTorch, for batches of one image with depth."""
    import torch

    from mutualformer_sod.inference.predictor import Predictor

    predictor = Predictor(model, size, "cpu", "off", modality)
    inputs = (torch.rand(1, 3, size, size), torch.rand(1, 1, size, size), torch.tensor([True]))
    runner = "onnxruntime" if args.format == "onnx" else "torch.export"
    contestants = {"PyTorch": predictor.logits, runner: exported}
    seconds = in_turn([partial(run, *inputs) for run in contestants.values()], args.rounds)
    threads = counted(torch.get_num_threads(), "thread")
    print(f"one image of {size} x {size} at a time, CPU, {threads}:\n")
    print(f"| {model.config.preset} | images/s (median) | range in {args.rounds} rounds |")
    print("|---|---|---|")
    for name, times in zip(contestants, seconds, strict=True):
        speed = 1 / statistics.median(times)
        print(f"| {name} | {speed:.2f} | {1 / max(times):.2f} to {1 / min(times):.2f} |")
