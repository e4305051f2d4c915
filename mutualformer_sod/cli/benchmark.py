"""Measure the MACs, time and memory of networks and of fusion methods."""

import argparse
import platform
import re
from pathlib import Path
from typing import Any

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.configs.fusion import refuse_unused
from mutualformer_sod.configs.fusion_names import fusion_names
from mutualformer_sod.configs.model import DEFAULT_PRESET, list_presets
from mutualformer_sod.configs.released import find_weights
from mutualformer_sod.configs.switches import parse_fields
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.files import write_json

EPILOG = """\
MACs are the multiply-accumulates of matrix products and convolutions; a MAC is two FLOPs. Memory is
the peak of a batch beyond weights and inputs. Networks are timed in turn; "ratio" is the fastest
round of a network divided by that of the first network. NETWORK is a preset, timm:NAME (a bare
backbone), "2x timm:NAME" (two backbones in turn) or a weights file. OMP_NUM_THREADS sets the number
of threads.

--fusions compares fusion methods. Without --preset, --fusions measures the MACs and the seconds
(fastest round) of one layer of each method and of one block of a two-stream ViT, for one image on a
CPU. The part of a layer that does not belong to the method is subtracted. With --preset, --fusions
measures complete networks with a shared encoder; the cost of a method inside the encoder counts as
encoder.

    python tools/benchmark.py --fusions all --dim 384 --tokens 196 784
    python tools/benchmark.py --fusions all --preset small
    python tools/benchmark.py --compare "2x timm:deit_small_patch16_224" small --amp off
"""


def main() -> None:
    parser = cli.Parser(__doc__, EPILOG)
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--preset", help=f"one of {', '.join(list_presets())}")
    cli.add_flags(who, "--weights", default=None)
    who.add_argument("--compare", nargs="+", metavar="NETWORK", help="networks to compare")
    add = cli.flag_adder(parser)
    add("--fusions", f"all, or some of {', '.join(fusion_names())}", "NAME", nargs="+")
    add("--dim", "layer width for --fusions (default: 384)", "C", multiple_of_64)
    add("--tokens", "tokens per modality (default: 196 784)", "N", cli.COUNT, nargs="+")
    add("--compile", "compile the network with torch.compile first")
    cli.add_flags(parser, "--clock", "--size", "--device", "--amp", "--rounds", "--set", "--json")
    cli.add_flags(parser, "--overwrite", help="replace the file of --json")
    cli.add_flags(parser, "--batch-size", default=1)
    args = parser.parse_args()
    check_arguments(args)
    fields = parse_fields(args.fields)
    if args.weights and fields:
        raise InputError("--set has no effect: the weights file sets the options. Fix: omit --set.")
    if args.fusions and not args.preset:
        measure_layers(args, fields)
    else:
        measure_networks(args, fields)


def multiple_of_64(text: str) -> int:
    value = int(text)
    if value < 64 or value % 64:
        raise argparse.ArgumentTypeError(
            f"{text} is not usable. Fix: pass a positive multiple of 64."
        )
    return value


def check_arguments(args: argparse.Namespace) -> None:
    if not (args.fusions or args.preset or args.weights or args.compare):
        raise InputError(
            "nothing to measure. Fix: pass --preset, --weights, --compare or --fusions."
        )
    if args.fusions and (args.weights or args.compare):
        raise InputError("--fusions excludes --weights and --compare. Fix: omit them.")
    cli.check_result_files(args, "json")
    presets = list_presets()
    if args.fields and args.compare and not any(spec in presets for spec in args.compare):
        raise InputError("--set has no effect: no compared network is a preset. Fix: omit --set.")
    if args.weights:
        args.weights = str(find_weights(args.weights))
    layers = args.fusions and not args.preset
    networks_only = args.size, args.compile, args.batch_size != 1, args.amp != "auto"
    if layers and (any(networks_only) or args.device not in ("auto", "cpu")):
        raise InputError(
            "--size, --batch-size, --amp, --compile and a GPU have no effect: --fusions alone "
            "times single layers on a CPU. Fix: pass --preset, too, or omit the flags."
        )
    if not layers and (args.dim or args.tokens):
        raise InputError("--dim and --tokens have no effect on complete networks. Fix: omit them.")


def measure_layers(args: argparse.Namespace, fields: dict[str, Any]) -> None:
    """Print the cost that a layer of each fusion adds to a two-stream ViT block."""
    from mutualformer_sod.benchmark.fusion_cost import check_fusions, layer_costs
    from mutualformer_sod.benchmark.timing import CLOCKS

    check_clock(args, "cpu")
    dim, fusions, figures = args.dim or 384, check_fusions(args.fusions), {}
    machine, text = describe_machine("cpu")
    print(f"C = {dim}, one image, float32; {text}")
    for tokens in args.tokens or (196, 784):
        rows = layer_costs(fusions, dim, tokens, args.rounds, fields, CLOCKS[args.clock])
        print(f"\nN = {tokens:<32}{'MMACs':>10}{'of the block':>14}{'ms':>10}{'of the block':>14}")
        for row in rows:
            print(
                f"{row['name']:<36}{row['macs'] / 1e6:>10.1f}{row['macs_ratio']:>14.1%}"
                f"{1e3 * row['seconds']:>10.2f}{row['seconds_ratio']:>14.1%}",
                flush=True,
            )
        figures[str(tokens)] = rows
    suggest("benchmark", "--fusions", *fusions, "--preset", DEFAULT_PRESET, "--device", "cpu")
    if args.json is not None:
        chosen = {"dim": dim, "rounds": args.rounds, "clock": args.clock, "fields": fields}
        write_json(args.json, {"machine": machine, "settings": chosen, "tokens": figures})


def check_clock(args: argparse.Namespace, device: str) -> None:
    """Refuse --clock cpu if CPU seconds may differ from the elapsed time."""
    import torch

    if args.clock == "cpu" and (torch.get_num_threads() > 1 or device != "cpu"):
        raise InputError(
            "--clock cpu is valid only for one thread on a CPU. Fix: set OMP_NUM_THREADS=1 and "
            "pass --device cpu."
        )


def measure_networks(args: argparse.Namespace, fields: dict[str, Any]) -> None:
    """Measure the named networks, or one preset with each fusion method, in turn."""
    from mutualformer_sod.benchmark.fusion_cost import check_fusions, network_overrides
    from mutualformer_sod.benchmark.speed import Contestant, Settings, default_size, measure
    from mutualformer_sod.models.device import pick_amp, pick_device

    names = args.compare or [args.preset or args.weights]
    entries = [(name, name, fields) for name in names]
    if args.fusions:
        entries = [
            (fusion, args.preset, network_overrides(fusion, args.preset, fields))
            for fusion in check_fusions(args.fusions)
        ]
        refuse_unused(fields, [{"fusion": fusion} for fusion, _, _ in entries])
    size = args.size or default_size([spec for _, spec, _ in entries], entries[0][2])
    device = pick_device(args.device)
    check_clock(args, device.type)
    amp = pick_amp(args.amp, device)
    common = (size, args.batch_size, str(device), amp, args.compile, args.clock)
    contestants = [Contestant(spec, Settings(*common, overrides)) for _, spec, overrides in entries]
    machine, text = describe_machine(str(device))
    results = measure(contestants, args.rounds)
    for result, (name, _, _) in zip(results, entries, strict=True):
        result["name"] = name
        fastest = result["seconds"]["fastest"]
        result["times_the_first"] = fastest / results[0]["seconds"]["fastest"]
    print(
        f"{size} x {size}, batch {args.batch_size}, {machine['device']}, amp {amp}"
        f"{', compiled' if args.compile else ''}, {args.clock} time; {text}\n"
    )
    print_table(results, args.batch_size)
    print_parts(results)
    suggest("benchmark", "--fusions", "all")
    if args.json is not None:
        chosen = {"size": size, "batch_size": args.batch_size, "amp": amp}
        chosen |= {"compile": args.compile, "clock": args.clock, "rounds": args.rounds}
        chosen |= {"fields": fields}
        write_json(args.json, {"machine": machine, "settings": chosen, "results": results})


def print_table(results: list[dict[str, Any]], batch_size: int) -> None:
    """Print one row per network, with MACs and FLOPs of one image and times of one batch."""
    width = max(len(result["name"]) for result in results) + 2
    heads = ("params M", "GMACs", "GFLOPs", "images/s", "median ms", "quartiles", "fastest")
    row = "{:<{width}}" + "{:>10}" * 5 + "{:>16}" + "{:>10}{:>8}{:>12}"
    print(row.format("network", *heads, "ratio", "memory MiB", width=width))
    for result in results:
        seconds, memory = result["seconds"], result["peak_memory_mib"]
        low, high = (1e3 * value for value in seconds["quartiles"])
        cells = (
            f"{result['parameters'] / 1e6:.2f}",
            f"{result['macs']['total'] / batch_size / 1e9:.2f}",
            f"{result['flops']['total'] / batch_size / 1e9:.2f}",
            f"{result['images_per_second']:.2f}",
            f"{1e3 * seconds['median']:.1f}",
            f"{low:.1f} - {high:.1f}",
            f"{1e3 * seconds['fastest']:.1f}",
            f"{result['times_the_first']:.2f}",
            "-" if memory is None else f"{memory:.0f}",
        )
        print(row.format(result["name"], *cells, width=width))


def print_parts(results: list[dict[str, Any]]) -> None:
    """Print the time and the MACs of each part, for every network that has parts."""
    for result in results:
        parts = result["seconds_by_part"]
        if not parts:
            continue
        whole = sum(parts.values())
        print(f"\n{result['name']}, by part (fastest run of each part)")
        for name, seconds in parts.items():
            macs = result["macs"].get(name)
            share = "" if macs is None else f"{macs / result['macs']['total']:>8.1%} of the MACs"
            print(f"  {name:<10}{1e3 * seconds:>10.1f} ms{seconds / whole:>8.1%}{share}")


def describe_machine(device: str) -> tuple[dict[str, Any], str]:
    """Return a dictionary of processor, device, threads and torch version, and a line to print."""
    import torch

    machine = {
        "processor": processor(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "torch_threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    threads = counted(machine["torch_threads"], "thread")
    return machine, f"{machine['processor']}, {threads}, torch {machine['torch']}"


def processor() -> str:
    """Return the name of the processor, or its architecture if the system reports no name."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else ""
    found = re.search(r"^model name.*?:(.*)", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
