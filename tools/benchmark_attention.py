"""Time and peak memory of cross-diffusion attention, beside the released code's computation."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from mutualformer_sod.cli import common as cli
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing, write_json
from mutualformer_sod.memory import peak_resident_memory
from mutualformer_sod.models.affinity import cross_diffusion_attention, self_affinity
from mutualformer_sod.models.block import MutualFormerBlock
from mutualformer_sod.workers import worker_context

EPILOG = """\
"released" is the published formula written out: explicit D^-1/2 and identity matrices, four
N x N x N products a direction and head. "dense" and "tiled" are this package's two ways, "auto" its
choice between them. "cda" goes from q, k, v of both modalities to the four attention outputs,
"block" is a whole MutualFormer block. The contestants take turns; the best run counts. Peak memory
is a fresh process' resident peak above what it was before the one call. CPU only.
"""
CONTESTANTS = ("released", "dense", "tiled", "auto")
PARTS = ("cda", "block")
MODES = ("forward", "forward+backward")
TOKENS = (100, 196, 400, 576, 784, 1024, 2304)
EPSILON = 0.6


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS, metavar="N")
    parser.add_argument("--dim", type=int, default=384, metavar="C", help="default: 384")
    parser.add_argument("--heads", type=int, default=8, metavar="H", help="default: 8")
    parser.add_argument("--batch-size", type=int, default=1, metavar="B", help="default: 1")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="default: 9")
    parser.add_argument(
        "--seconds",
        type=float,
        default=6.0,
        metavar="S",
        help="a contestant that has run this long at one size gets no further round (default: 6)",
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: the process' own seconds, for a machine that others use (one thread)",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--fit-from", type=int, default=400, metavar="N", help="sizes in the fit (default: 400 on)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the growth (matplotlib)")
    args = parser.parse_args()
    counts = (*args.tokens, args.dim, args.heads, args.batch_size, args.rounds, args.threads)
    if min(counts) < 1 or args.dim % args.heads:
        raise InputError("give sizes and counts of 1 or more, and --dim a multiple of --heads")
    if not args.seconds > 0:
        raise InputError(f"--seconds {args.seconds} is not usable: give a positive number")
    if args.plot is not None and args.plot.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise InputError(f"--plot {args.plot}: give a .png, .pdf or .svg file")
    if args.clock == "cpu" and args.threads > 1:
        raise InputError("--clock cpu adds the threads' seconds up: give --threads 1 with it")
    return args


def main() -> None:
    args = parse_arguments()
    if args.plot is not None:
        import_pyplot()  # a missing matplotlib is told now, not after minutes
    if peak_resident_memory() is None:
        raise InputError("this system does not report a process' peak memory; use Linux or macOS")
    figures = []
    for part in args.parts:
        for mode in args.modes:
            print(f"\n{part}, {mode}: C {args.dim}, {args.heads} heads, batch {args.batch_size}")
            print(f"{'N':>6}" + "".join(f"{name:>26}" for name in args.contestants))
            for tokens in args.tokens:
                cells = measure(args, part, mode, tokens)
                print(f"{tokens:>6}" + "".join(map(describe, cells)), flush=True)
                figures += cells
    fits = fit_exponents(figures, args.fit_from)
    print(f"\nexponent of the time's growth with N, fitted from N = {args.fit_from} on")
    for fit in fits:
        print(f"{fit['part']}, {fit['mode']}, {fit['contestant']}: N^{fit['exponent']:.2f}")
    if args.json is not None:
        options = {"dim": args.dim, "heads": args.heads, "batch_size": args.batch_size}
        options |= {"threads": args.threads, "clock": args.clock, "torch": torch.__version__}
        write_json(args.json, {"options": options, "figures": figures, "exponents": fits})
    if args.plot is not None:
        plot(args.plot, figures, args)


def describe(cell: dict[str, Any]) -> str:
    if cell["seconds"] is None:
        return f"{'ran out of memory':>26}"
    ratio = f" {cell['times_released']:.1f}x" if cell.get("times_released") else ""
    return f"{cell['seconds'] * 1e3:.1f} ms {cell['peak_bytes'] / 2**20:.0f} MiB{ratio}".rjust(26)


def measure(args: argparse.Namespace, part: str, mode: str, tokens: int) -> list[dict[str, Any]]:
    """One cell a contestant: best and median seconds, number of runs, peak memory in bytes."""
    # Times first: the sizes' page faults are not the first contestant's alone.
    times = in_child(time_in_turn, args, part, mode, tokens) or {}
    cells = []
    for name in args.contestants:
        peak = in_child(peak_memory, args, part, mode, tokens, name)
        runs = times.get(name)
        cell = {"part": part, "mode": mode, "tokens": tokens, "contestant": name}
        cell |= {
            "seconds": min(runs) if runs and peak is not None else None,
            "median_seconds": statistics.median(runs) if runs else None,
            "runs": len(runs or ()),
            "peak_bytes": peak,
        }
        cells.append(cell)
    released = next((c["seconds"] for c in cells if c["contestant"] == "released"), None)
    for cell in cells:
        if released and cell["seconds"]:
            cell["times_released"] = released / cell["seconds"]
    return cells


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the function's result from a new process; None if it was killed for its memory."""
    context = worker_context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_result, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return None
    finally:
        process.join()
        if process.exitcode not in (0, -9):
            raise InputError(f"the measurement of {arguments[1:]} failed (see above)")


def send_result(sender: Any, function: Callable[..., Any], arguments: tuple) -> None:
    sender.send(function(*arguments))


def time_in_turn(
    args: argparse.Namespace, part: str, mode: str, tokens: int
) -> dict[str, list[float]]:
    """Seconds of each run of each contestant; each one's first run is left out if there are more.

    A contestant whose --seconds are spent rests while the others go on.
    """
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    calls = {name: make_call(args, part, mode, tokens, name) for name in args.contestants}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(args.rounds + 1):
        for name, call in calls.items():
            if sum(times[name]) < args.seconds:
                started = clock()
                call()
                times[name].append(clock() - started)
    return {name: runs[1:] or runs for name, runs in times.items()}


def peak_memory(args: argparse.Namespace, part: str, mode: str, tokens: int, name: str) -> int:
    """Bytes that one call adds to the process' peak."""
    make_call(args, part, mode, 8, name)()  # libraries are loaded and threads started
    call = make_call(args, part, mode, tokens, name)
    before = peak_resident_memory(reset=True)
    call()
    return peak_resident_memory() - before


def make_call(
    args: argparse.Namespace, part: str, mode: str, tokens: int, name: str
) -> Callable[[], None]:
    """A function to time: inputs are drawn once, the same for every contestant."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    shape = (args.batch_size, args.heads, tokens, args.dim // args.heads)
    if part == "cda":
        inputs = [torch.randn(shape) for _ in range(6)]
        if name == "released":
            function = released_attention
        else:

            def function(*heads: Tensor) -> tuple[Tensor, ...]:
                return cross_diffusion_attention(heads[:3], heads[3:], attention=name)
    else:
        inputs = [torch.randn(args.batch_size, tokens, k * args.dim) for k in (2, 1)]
        options = {} if name == "released" else {"attention": name}
        kind = ReleasedBlock if name == "released" else MutualFormerBlock
        function = kind(args.dim, args.heads, **options)
    backward = mode == "forward+backward"
    leaves = [item.requires_grad_(backward) for item in inputs]

    def call() -> None:
        with torch.set_grad_enabled(backward):
            outputs = function(*leaves)
            if backward:
                outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
                parameters = function.parameters() if isinstance(function, torch.nn.Module) else ()
                ones = [torch.ones_like(output) for output in outputs]
                torch.autograd.grad(outputs, (*leaves, *parameters), ones)

    return call


def released_attention(*heads: Tensor) -> tuple[Tensor, ...]:
    """(q, k, v) of rgb and of depth -> O_r, O_d, O_rd, O_dr by the released code's computation."""
    rgb_query, rgb_key, rgb_values, depth_query, depth_key, depth_values = heads
    rgb_affinity = self_affinity(rgb_query, rgb_key)
    depth_affinity = self_affinity(depth_query, depth_key)
    rgb_normal, depth_normal = released_normalise(rgb_affinity), released_normalise(depth_affinity)
    joint = rgb_affinity + depth_affinity
    identity = torch.diag_embed(joint.new_ones(joint.shape[:-1]))
    rgb_side = EPSILON * rgb_normal @ identity @ depth_normal.mT + (1 - EPSILON) * joint
    depth_side = EPSILON * depth_normal @ identity @ rgb_normal.mT + (1 - EPSILON) * joint
    return (
        rgb_affinity @ rgb_values,
        depth_affinity @ depth_values,
        rgb_side @ depth_values,
        depth_side @ rgb_values,
    )


def released_normalise(affinity: Tensor) -> Tensor:
    """D^-1/2 W D^-1/2 with explicit diagonal matrices, transposed as it was published."""
    root = torch.diag_embed(affinity.sum(dim=-1).rsqrt())
    return (root @ affinity @ root).mT


class ReleasedBlock(MutualFormerBlock):
    """The block with the released computation, and its self-attentions written plainly, too."""

    def _modality_attention(self, rgb: Tensor, depth: Tensor) -> Tensor:
        heads = (*self._heads(self.rgb_qkv(rgb)), *self._heads(self.depth_qkv(depth)))
        rgb_own, depth_own, rgb_cross, depth_cross = map(merge, released_attention(*heads))
        rgb_joined = self.rgb_aggregate(torch.cat((rgb_own, rgb_cross), dim=-1))
        depth_joined = self.depth_aggregate(torch.cat((depth_own, depth_cross), dim=-1))
        return self.joint_aggregate(torch.cat((rgb_joined, depth_joined), dim=-1))

    def _fused_self_attention(self, fused: Tensor) -> Tensor:
        query, key, values = self._heads(self.fused_qkv(fused))
        return self.fused_proj(merge(self_affinity(query, key) @ values))


def merge(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)  # (B, heads, N, d) -> (B, N, C)


def fit_exponents(figures: list[dict[str, Any]], fit_from: int) -> list[dict[str, Any]]:
    """Slopes of log seconds over log N, by least squares, where two sizes or more were timed."""
    lines: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for cell in figures:
        if cell["seconds"] is not None and cell["tokens"] >= fit_from:
            line = lines.setdefault((cell["part"], cell["mode"], cell["contestant"]), [])
            line.append((math.log(cell["tokens"]), math.log(cell["seconds"])))
    return [
        {
            "part": part,
            "mode": mode,
            "contestant": name,
            "exponent": statistics.linear_regression(*zip(*line, strict=True)).slope,
        }
        for (part, mode, name), line in lines.items()
        if len({tokens for tokens, _ in line}) > 1
    ]


def import_pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("--plot needs matplotlib: pip install 'matplotlib>=3.7'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def plot(path: Path, figures: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Seconds (above) and peak memory (below) over N, one column a part and mode."""
    plt = import_pyplot()
    columns = [(part, mode) for part in args.parts for mode in args.modes]
    figure, axes = plt.subplots(
        2, len(columns), figsize=(3.6 * len(columns), 6.4), layout="constrained", squeeze=False
    )
    for column, (part, mode) in enumerate(columns):
        for row, (key, unit, label) in enumerate(
            (("seconds", 1.0, "seconds"), ("peak_bytes", 2.0**20, "peak memory, MiB"))
        ):
            panel = axes[row][column]
            for name, style in zip(CONTESTANTS, ("o-", "s--", "^-.", "x:"), strict=True):
                points = [
                    (cell["tokens"], cell[key] / unit)
                    for cell in figures
                    if (cell["part"], cell["mode"], cell["contestant"]) == (part, mode, name)
                    and cell["seconds"] is not None
                    and cell[key] > 0
                ]
                if points:
                    panel.plot(*zip(*points, strict=True), style, label=name, markersize=4)
            panel.set(xscale="log", yscale="log", xlabel="tokens N", title=f"{part}, {mode}")
            panel.set_ylabel(label)
            panel.grid(alpha=0.3, which="both")
    axes[0][0].legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    cli.run(main)
