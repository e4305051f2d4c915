"""Compare the attention and the block of this package with the released code in time and memory."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mutualformer_sod.benchmark.timing import CLOCKS, in_turn
from mutualformer_sod.errors import InputError
from mutualformer_sod.memory import peak_resident_memory
from mutualformer_sod.models.affinity import Heads, cross_diffusion_attention, self_affinity
from mutualformer_sod.models.block import MutualFormerBlock
from mutualformer_sod.workers import worker_context

CONTESTANTS = ("released", "dense", "tiled", "auto")
PARTS = ("cda", "block")
MODES = ("forward", "forward+backward")
FIT_FROM = 400  # smallest number of tokens that the fit of the exponents uses
EPSILON = 0.6  # epsilon of the released code


@dataclass(frozen=True)
class Case:
    """One workload, which every implementation runs."""

    part: str  # one of PARTS: the four attention outputs, or a complete block
    mode: str  # one of MODES
    tokens: int
    dim: int  # a multiple of ``heads``
    heads: int
    batch_size: int


def released_attention(rgb: Heads, depth: Heads) -> tuple[Tensor, ...]:
    """Compute O_r, O_d, O_rd, O_dr from (q, k, v) of rgb and depth as the released code does."""
    rgb_affinity, depth_affinity = self_affinity(*rgb[:2]), self_affinity(*depth[:2])
    rgb_values, depth_values = rgb[2], depth[2]
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
    """Compute (D^-1/2 W D^-1/2)^T with explicit diagonal matrices, as published."""
    root = torch.diag_embed(affinity.sum(dim=-1).rsqrt())
    return (root @ affinity @ root).mT


class ReleasedBlock(MutualFormerBlock):
    """A MutualFormerBlock with the released computation and plain self-attention."""

    attend = staticmethod(released_attention)

    def attend_to_itself(self, query: Tensor, key: Tensor, values: Tensor) -> Tensor:
        return self_affinity(query, key) @ values


def measure(case: Case, rounds: int, clock: str, seconds: float) -> list[dict[str, Any]]:
    """Return best and median seconds, number of runs and peak bytes of each implementation.

    Each implementation has ``rounds`` timed runs by a ``clock`` of `timing.CLOCKS`, but is not run
    again after ``seconds`` in total.
    """
    # Time is measured before memory: otherwise page faults slow only the first implementation.
    times = in_child(time_contestants, case, rounds, clock, seconds) or {}
    cells = []
    for name in CONTESTANTS:
        peak = in_child(peak_memory, case, name)
        runs = times.get(name, [])
        cell = {"part": case.part, "mode": case.mode, "tokens": case.tokens, "contestant": name}
        cell |= {
            "seconds": min(runs) if runs and peak is not None else None,
            "median_seconds": statistics.median(runs) if runs else None,
            "runs": len(runs),
            "peak_bytes": peak,
        }
        cells.append(cell)
        if cells[0]["seconds"] and cell["seconds"]:  # the first cell is "released"
            cell["times_released"] = cells[0]["seconds"] / cell["seconds"]
    return cells


def in_child(function: Callable[..., Any], case: Case, *options: Any) -> Any:
    """Return the result of a function in a new process; None if the system killed the process."""
    context = worker_context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_result, args=(sender, function, case, *options))
    process.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        result = None
    finally:
        process.join()
    if process.exitcode not in (0, -9):
        raise InputError(f"the measurement of {case} failed. Fix: see the error above.")
    return result


def send_result(sender: Any, function: Callable[..., Any], *arguments: Any) -> None:
    sender.send(function(*arguments))


def time_contestants(case: Case, rounds: int, clock: str, seconds: float) -> dict[str, list[float]]:
    """Time the implementations in turn, and return the seconds of each run, by name."""
    calls = {name: make_call(case, name) for name in CONTESTANTS}
    label = f"N = {case.tokens}"
    runs = in_turn(calls.values(), rounds, clock=CLOCKS[clock], enough=seconds, label=label)
    return dict(zip(calls, runs, strict=True))


def peak_memory(case: Case, name: str) -> int:
    """Return the bytes that one call adds to the process' peak memory."""
    make_call(replace(case, tokens=8), name)()  # load libraries and start threads
    call = make_call(case, name)
    before = peak_resident_memory(reset=True)
    call()
    return peak_resident_memory() - before


def make_call(case: Case, name: str) -> Callable[[], None]:
    """Return the function to time, with the same random inputs for every implementation."""
    torch.set_num_threads(1)  # --clock cpu would add up the seconds of several threads
    torch.manual_seed(0)
    released, parameters = name == "released", ()
    if case.part == "cda":
        shape = (case.batch_size, case.heads, case.tokens, case.dim // case.heads)
        inputs = [torch.randn(shape) for _ in range(6)]
        own = partial(cross_diffusion_attention, attention=name)
        attention = released_attention if released else own

        def function(*heads: Tensor) -> tuple[Tensor, ...]:
            return attention(heads[:3], heads[3:])
    else:
        inputs = [torch.randn(case.batch_size, case.tokens, k * case.dim) for k in (2, 1)]
        block = ReleasedBlock if released else partial(MutualFormerBlock, attention=name)
        function = block(case.dim, case.heads)
        parameters = tuple(function.parameters())
    backward = case.mode == "forward+backward"
    leaves = [item.requires_grad_(backward) for item in inputs]

    def call() -> None:
        with torch.set_grad_enabled(backward):
            outputs = function(*leaves)
            if backward:
                outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
                ones = [torch.ones_like(output) for output in outputs]
                torch.autograd.grad(outputs, (*leaves, *parameters), ones)

    return call


def fit_exponents(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fit the slope of log seconds over log N by least squares, if two sizes or more were timed."""
    lines = defaultdict(list)
    for cell in figures:
        if cell["seconds"] is not None and cell["tokens"] >= FIT_FROM:
            point = math.log(cell["tokens"]), math.log(cell["seconds"])
            lines[cell["part"], cell["mode"], cell["contestant"]].append(point)
    fits = []
    for (part, mode, name), line in lines.items():
        if len({tokens for tokens, _ in line}) > 1:
            slope = statistics.linear_regression(*zip(*line, strict=True)).slope
            fits.append({"part": part, "mode": mode, "contestant": name, "exponent": slope})
    return fits
