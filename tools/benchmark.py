"""Measure networks: parameters, products, images/s, memory; encoder, fusion and decoder apart."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mutualformer_sod import cli
from mutualformer_sod.config import list_presets
from mutualformer_sod.errors import InputError

EPILOG = """\
MACs are the multiply-accumulates of matrix products and convolutions; a MAC is two FLOPs. Memory is
what a batch needs beyond weights and inputs. Networks are timed in turn; --compare gives the ratio
of the fastest rounds to the first network's. Contestants: a preset, timm:NAME (a bare backbone),
"2x timm:NAME" (two, one after the other), a file of weights; on a CPU all of them are rearranged as
tools/test.py does it (models/cpu.py), but for those with "plain:" before them. OMP_NUM_THREADS sets
the threads.

    python tools/benchmark.py --compare "plain:2x timm:deit_small_patch16_224" plain:small small
"""


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--preset", help=f"one of {', '.join(list_presets())}")
    who.add_argument("--weights", metavar="FILE", help="weights.safetensors")
    who.add_argument("--compare", nargs="+", metavar="NETWORK", help="several, side by side")
    parser.add_argument("--size", type=int, metavar="S", help="pixels a side (default: preset's)")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--amp", default="auto", help="auto, off, bf16 or fp16 (default: auto, which is off on CPU)"
    )
    parser.add_argument("--compile", action="store_true", help="time torch.compile's network")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="default: 9")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        dest="fields",
        help="model options of the presets, as in tools/train.py",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    for flag, value, least in (
        ("--size", args.size, 32),
        ("--batch-size", args.batch_size, 1),
        ("--rounds", args.rounds, 1),
    ):
        if value is not None and value < least:
            raise InputError(f"{flag} {value} is not usable: give {least} or more")
    fields = cli.parse_fields(args.fields)
    if args.weights and fields:
        raise InputError("--set does not go with --weights: they bring their configuration along")
    if args.weights and not args.weights.endswith(".safetensors"):
        raise InputError(f"--weights {args.weights}: give a .safetensors file of tools/train.py")

    import torch  # only now: --help needs none of these

    from mutualformer_sod.engine.speed import Contestant, Settings, default_size, measure
    from mutualformer_sod.files import write_json
    from mutualformer_sod.inference import pick_amp, pick_device

    specs = args.compare or [args.preset or args.weights]
    device = pick_device(args.device)
    size = args.size or default_size(specs, fields)
    amp = pick_amp(args.amp, device)
    settings = Settings(size, args.batch_size, str(device), amp, args.compile, fields)
    machine = {
        "processor": processor(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch_threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    results = measure([Contestant(spec, settings) for spec in specs], args.rounds)
    for result in results:
        fastest = result["seconds"]["fastest"]
        result["times_the_first"] = fastest / results[0]["seconds"]["fastest"]
    print(
        f"{size} x {size}, batch {args.batch_size}, {machine['device']}, amp {settings.amp}"
        f"{', compiled' if args.compile else ''}; {machine['processor']},"
        f" {machine['torch_threads']} threads, torch {machine['torch']}\n"
    )
    print_table(results, args.batch_size)
    print_parts(results)
    if args.json is not None:
        chosen = {"size": size, "batch_size": args.batch_size, "amp": settings.amp}
        chosen |= {"compile": args.compile, "rounds": args.rounds, "fields": fields}
        write_json(args.json, {"machine": machine, "settings": chosen, "results": results})


def print_table(results: list[dict[str, Any]], batch_size: int) -> None:
    """One row a network; MACs and FLOPs of an image, times of a batch."""
    width = max(len(result["name"]) for result in results) + 2
    heads = ("params M", "GMACs", "GFLOPs", "images/s", "median ms", "quartiles", "fastest")
    row = "{:<{width}}" + "{:>10}" * 5 + "{:>16}" + "{:>10}{:>8}{:>12}"
    print(row.format("network", *heads, "ratio", "memory MiB", width=width))
    for result in results:
        seconds = result["seconds"]
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
            f"{result['peak_memory_mib']:.0f}",
        )
        print(row.format(result["name"], *cells, width=width))


def print_parts(results: list[dict[str, Any]]) -> None:
    """Where time and products go, for every network that has parts."""
    for result in results:
        parts = result["seconds_by_part"]
        if not parts:
            continue
        whole = sum(parts.values())
        print(f"\n{result['name']}, by part (fastest of each)")
        for name, seconds in parts.items():
            macs = result["macs"].get(name)
            share = "" if macs is None else f"{macs / result['macs']['total']:>8.1%} of the MACs"
            print(f"  {name:<10}{1e3 * seconds:>10.1f} ms{seconds / whole:>8.1%}{share}")


def processor() -> str:
    """The processor's name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for row in cpuinfo.read_text(errors="replace").splitlines():
            if row.startswith("model name"):
                return row.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    cli.run(main)
