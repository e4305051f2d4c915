"""Measure parameters, MACs, time and memory of a network, and MACs and time of its parts."""

import contextlib
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm import trange

from mutualformer_sod.benchmark.timing import CLOCKS, in_turn
from mutualformer_sod.configs.model import make_config
from mutualformer_sod.errors import InputError
from mutualformer_sod.memory import peak_resident_memory
from mutualformer_sod.models import build_model
from mutualformer_sod.models.detector import SaliencyDetector
from mutualformer_sod.models.device import autocast, optimise_for_cpu
from mutualformer_sod.models.weights import load_weights, read_metadata
from mutualformer_sod.workers import worker_pool

PARTS = ("encoder", "fusion", "decoder")
_FILE = ".safetensors"
MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """Settings common to all networks."""

    size: int  # pixels per side
    batch_size: int = 1
    device: str = "cpu"
    amp: str = "off"
    compile: bool = False
    clock: str = "wall"  # "cpu" counts CPU seconds of the process, for a shared machine
    overrides: dict[str, Any] = field(default_factory=dict)


class Backbones(nn.ModuleList):
    """Bare timm backbones, run one after the other on the same images."""

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Return timm's last features of each backbone for (B, 3, H, W) float images."""
        return [backbone.forward_features(rgb) for backbone in self]


class Contestant:
    """A network with random inputs; on a CPU, ``models.device`` prepares the network for inference.

    Args:
        spec: a preset; a weights file; ``timm:NAME`` for a bare backbone; ``2x timm:NAME`` for two
            backbones in turn.

    Raises:
        InputError: the preset, backbone or file does not exist.
    """

    def __init__(self, spec: str, settings: Settings) -> None:
        self.spec = spec
        self.settings = settings
        self.device = torch.device(settings.device)
        self.model = _build(spec, settings).to(self.device).eval()
        generator = torch.Generator().manual_seed(0)
        shape = (settings.batch_size, 3, settings.size, settings.size)
        self.inputs = [torch.rand(shape, generator=generator)]
        if isinstance(self.model, SaliencyDetector):
            self.inputs.append(torch.rand(shape, generator=generator)[:, :1].contiguous())
        self.inputs = [item.to(self.device) for item in self.inputs]
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        if self.device.type == "cpu":
            optimise_for_cpu(self.model)
        self.network: Callable = torch.compile(self.model) if settings.compile else self.model

    @cached_property
    def macs(self) -> dict[str, int]:
        """Multiply-accumulates of a batch, see `count_macs`."""
        return count_macs(self.model, self.inputs)

    @torch.inference_mode()
    def run(self, network: Callable | None = None) -> None:
        """Run one batch through ``network``, by default through ``self.network``."""
        with autocast(self.device, self.settings.amp):
            (network or self.network)(*self.inputs)

    def now(self) -> float:
        """Return the seconds of the clock after all started kernels have ended."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return CLOCKS[self.settings.clock]()

    def run_in_parts(self) -> dict[str, float]:
        """Run one batch uncompiled; return the seconds by part, with the remainder as ``rest``."""
        seconds: dict[str, float] = {}

        def begin(name: str, *_: Any) -> None:
            seconds[name] = -self.now()

        def end(name: str, *_: Any) -> None:
            seconds[name] += self.now()

        with contextlib.ExitStack() as stack:
            for name in PARTS:
                if (part := getattr(self.model, name, None)) is not None:
                    stack.enter_context(part.register_forward_pre_hook(partial(begin, name)))
                    stack.enter_context(part.register_forward_hook(partial(end, name)))
            started = self.now()
            self.run(self.model)
            whole = self.now() - started
        if seconds:
            seconds["rest"] = whole - sum(seconds.values())
        return seconds

    def peak_memory(self) -> int | None:
        """Return the peak memory of a batch in bytes, without weights and inputs.

        On CUDA, torch's allocator reports the peak. On a CPU, a new process measures the increase
        of its resident memory over two batches. The result is None if the system does not report
        memory.
        """
        if self.device.type == "cuda":
            self.run()
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            self.run()
            return torch.cuda.max_memory_allocated(self.device) - before
        arguments = self.spec, self.settings, torch.get_num_threads(), len(self.inputs)
        with worker_pool(1) as pool:
            return pool.submit(_measure_peak, *arguments).result()


def count_macs(model: nn.Module, inputs: list[Tensor]) -> dict[str, int]:
    """Count multiply-accumulates of matrix products and convolutions with torch's counter.

    A MAC is two FLOPs. Element-wise operations, normalisations and interpolations are not counted.
    ``inputs`` are the arguments of the model, which must be in eval mode.

    Returns:
        MACs by name: ``total``, and each of ``PARTS`` that the model has.
    """
    with torch.no_grad(), make_counter() as counter:
        model(*inputs)
    by_module = counter.get_flop_counts()
    macs = {"total": counter.get_total_flops() // 2}
    for part in PARTS:
        if (flops := by_module.get(f"{type(model).__name__}.{part}")) is not None:
            macs[part] = sum(flops.values()) // 2
    return macs


@contextlib.contextmanager
def make_counter() -> Iterator[FlopCounterMode]:
    """Yield torch's FLOP counter, extended by the products that it misses.

    torch's counter misses the in-place product of row tiles, and attention in some fused kernels,
    such as the CPU kernel of torch 2.14. In this context, attention runs as two plain products, so
    that counts do not depend on the processor, the device or torch's version.
    """
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.baddbmm_: _baddbmm_flops}
    )
    with sdpa_kernel(SDPBackend.MATH), counter:
        yield counter


def _baddbmm_flops(sums: Any, left: Any, right: Any, **_: Any) -> int:
    batch, rows, inner = left  # shapes: (b, n, k) and (b, k, m)
    return 2 * batch * rows * inner * right[-1]


def time_in_turn(contestants: list[Contestant], rounds: int) -> list[list[float]]:
    """Return the seconds of each batch of each network, timed in turn."""
    calls = [contestant.run for contestant in contestants]
    return in_turn(calls, rounds, warm_up=2, clock=contestants[0].now)


def measure(contestants: list[Contestant], rounds: int) -> list[dict[str, Any]]:
    """Time networks in turn, so that a busy machine slows all of them equally.

    Returns:
        One dictionary per network, in order: ``name``, ``parameters``, ``macs`` and ``flops`` (of
        a batch, by part), ``seconds`` (``fastest``, ``median``, ``quartiles`` of a batch),
        ``images_per_second`` (from the median), ``seconds_by_part`` (fastest times) and
        ``peak_memory_mib`` (beyond ``weights_mib`` and inputs).
    """
    seconds = time_in_turn(contestants, rounds)
    by_part: list[dict[str, float]] = [{} for _ in contestants]
    for _ in trange(rounds, desc="parts", leave=False, disable=None):
        for contestant, fastest in zip(contestants, by_part, strict=True):
            for name, value in contestant.run_in_parts().items():
                fastest[name] = min(value, fastest.get(name, value))
    results = []
    for contestant, times, parts in zip(contestants, seconds, by_part, strict=True):
        median, peak_memory = statistics.median(times), contestant.peak_memory()
        low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
        weights = sum(p.numel() * p.element_size() for p in contestant.model.parameters())
        results.append(
            {
                "name": contestant.spec,
                "parameters": contestant.parameters,
                "macs": contestant.macs,
                "flops": {name: 2 * count for name, count in contestant.macs.items()},
                "seconds": {"fastest": min(times), "median": median, "quartiles": [low, high]},
                "images_per_second": contestant.settings.batch_size / median,
                "seconds_by_part": parts,
                "peak_memory_mib": None if peak_memory is None else peak_memory / MIB,
                "weights_mib": weights / MIB,
            }
        )
    return results


def default_size(specs: list[str], overrides: dict[str, Any]) -> int:
    """Return the image size of the first preset or weights file, or 384 for backbones alone."""
    for spec in specs:
        if spec.endswith(_FILE):
            return read_metadata(spec)[0].image_size
        if not _backbone_spec(spec):
            return make_config(spec, **overrides).image_size
    return 384


def _backbone_spec(name: str) -> tuple[str, int] | None:
    """Parse ``2x timm:NAME`` as (NAME, 2); return None for a preset or a weights file."""
    copies, separator, backbone = name.rpartition("timm:")
    if not separator:
        return None
    found = re.fullmatch(r"(?:(0*[1-9]\d*)x)?", copies.strip())
    if found is None:
        raise InputError(f"{name!r} is unknown. Fix: pass timm:{backbone} or '2x timm:{backbone}'.")
    return backbone, int(found[1] or 1)


def _build(name: str, settings: Settings) -> nn.Module:
    if bare := _backbone_spec(name):
        backbone, copies = bare
        return Backbones(_bare_backbone(backbone, settings.size) for _ in range(copies))
    if name.endswith(_FILE):
        return load_weights(name)[0]
    return build_model(name, **({"image_size": settings.size} | settings.overrides))


def _bare_backbone(name: str, size: int) -> nn.Module:
    if not timm.is_model(name):
        raise InputError(f"timm:{name} is unknown to timm. Fix: pass a name of timm.list_models().")
    try:
        return timm.create_model(name, num_classes=0, img_size=size)
    except TypeError:  # convolutional models accept any size and have no img_size
        return timm.create_model(name, num_classes=0)


def _measure_peak(spec: str, settings: Settings, threads: int, inputs: int) -> int | None:
    torch.set_num_threads(threads)
    # The peak must not include the memory of a compiler.
    contestant = Contestant(spec, replace(settings, compile=False))
    del contestant.inputs[inputs:]
    before = peak_resident_memory(reset=True)
    for _ in range(2):
        contestant.run()
    return None if before is None else max(0, peak_resident_memory() - before)
