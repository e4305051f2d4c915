"""Compare cross-diffusion attention with the released code in time and peak memory."""

import argparse
import itertools
from pathlib import Path
from typing import Any

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing, write_json
from mutualformer_sod.memory import peak_resident_memory

EPILOG = """\
"released" is the published formula written out: explicit D^-1/2 and identity matrices, four
N x N x N products per direction and head. "dense" and "tiled" are the two implementations of this
package; "auto" chooses between them. "cda" computes the four attention outputs from q, k, v of both
modalities; "block" is one MutualFormer block. The implementations are timed in turn; the best
run counts. Peak memory is the increase of resident memory during one call in a new process. All
runs use one CPU thread and 8 heads.
"""
HEADS = 8
TOKENS = (100, 196, 400, 576, 784, 1024, 2304)


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--rounds", "--clock", "--json")
    cli.add_flags(parser, "--overwrite", help="replace the files of --json and --plot")
    cli.add_flags(parser, "--batch-size", default=1)
    add = cli.flag_adder(parser)
    add("--dim", "token width", "C", cli.COUNT, default=384)
    add("--tokens", "tokens per modality", "N", cli.COUNT, default=TOKENS, nargs="+")
    effect = "stop timing an implementation at one size after S seconds in total"
    add("--seconds", effect, "S", float, default=6.0)
    add("--plot", "draw time and memory over N (matplotlib)", "FILE", Path)
    args = parser.parse_args()
    if args.dim % HEADS:
        raise InputError(f"--dim {args.dim} is not usable. Fix: pass a multiple of {HEADS}.")
    if not args.seconds > 0:
        raise InputError(f"--seconds {args.seconds} is not usable. Fix: pass a positive number.")
    if args.plot is not None and args.plot.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise InputError(f"--plot {args.plot}: wrong suffix. Fix: pass a .png, .pdf or .svg file.")
    cli.check_result_files(args, "json", "plot")
    return args


def main() -> None:
    args = parse_arguments()
    # Import late, because --help and wrong flags need no torch.
    import torch

    from mutualformer_sod.benchmark import attention
    from mutualformer_sod.report.curves import check_matplotlib

    if args.plot is not None:
        check_matplotlib("--plot")
    if peak_resident_memory() is None:
        raise InputError("this system does not report peak memory. Fix: use Linux or macOS.")
    figures = []
    for part, mode in itertools.product(attention.PARTS, attention.MODES):
        print(f"\n{part}, {mode}: C {args.dim}, {HEADS} heads, batch {args.batch_size}")
        print(f"{'N':>6}" + "".join(f"{name:>26}" for name in attention.CONTESTANTS))
        for tokens in args.tokens:
            case = attention.Case(part, mode, tokens, args.dim, HEADS, args.batch_size)
            cells = attention.measure(case, args.rounds, args.clock, args.seconds)
            print(f"{tokens:>6}" + "".join(map(describe, cells)), flush=True)
            figures += cells
    fits = attention.fit_exponents(figures)
    print(f"\nexponent of the growth of time with N, fitted for N >= {attention.FIT_FROM}")
    for fit in fits:
        print(f"{fit['part']}, {fit['mode']}, {fit['contestant']}: N^{fit['exponent']:.2f}")
    if args.json is not None:
        options = {"dim": args.dim, "heads": HEADS, "batch_size": args.batch_size}
        options |= {"threads": 1, "clock": args.clock, "torch": torch.__version__}
        write_json(args.json, {"options": options, "figures": figures, "exponents": fits})
    if args.plot is not None:
        plot(args.plot, figures)
    suggest("benchmark", "--fusions", "all", "--dim", args.dim, "--tokens", *args.tokens)


def describe(cell: dict[str, Any]) -> str:
    if cell["seconds"] is None:
        return f"{'ran out of memory':>26}"
    ratio = f" {cell['times_released']:.1f}x" if cell.get("times_released") else ""
    return f"{cell['seconds'] * 1e3:.1f} ms {cell['peak_bytes'] / 2**20:.0f} MiB{ratio}".rjust(26)


def plot(path: Path, figures: list[dict[str, Any]]) -> None:
    """Draw seconds (above) and peak memory (below) over N, one column per part and mode."""
    from matplotlib.figure import Figure  # an optional package

    rows = (("seconds", 1.0, "seconds"), ("peak_bytes", 2.0**20, "peak memory, MiB"))
    columns = list(dict.fromkeys((cell["part"], cell["mode"]) for cell in figures))
    names = dict.fromkeys(cell["contestant"] for cell in figures)
    figure = Figure(figsize=(3.6 * len(columns), 6.4), layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False)
    for panels, (part, mode) in zip(axes.T, columns, strict=True):
        for panel, (key, unit, label) in zip(panels, rows, strict=True):
            for name, style in zip(names, ("o-", "s--", "^-.", "x:"), strict=True):
                points = [
                    (cell["tokens"], cell[key] / unit)
                    for cell in figures
                    if (cell["part"], cell["mode"], cell["contestant"]) == (part, mode, name)
                    and cell["seconds"] is not None
                    and cell[key] > 0
                ]
                if points:
                    panel.plot(*zip(*points, strict=True), style, label=name, markersize=4)
            panel.set(xscale="log", yscale="log", xlabel="tokens N", ylabel=label)
            panel.set_title(f"{part}, {mode}")
            panel.grid(alpha=0.3, which="both")
    axes[0][0].legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
