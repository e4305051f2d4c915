"""Device and precision of a computation: ``--device`` and ``--amp``."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import torch

from mutualformer_sod.configs.training import AMP
from mutualformer_sod.errors import InputError

_log = logging.getLogger(__name__)
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Instructions that multiply in a type; oneDNN, which computes for torch, has no others for it.
_INSTRUCTIONS = {
    "bf16": {"avx512_bf16", "amx_bf16"},
    "fp16": {"avx512_fp16", "amx_fp16"},
}
# Values of ONEDNN_MAX_CPU_ISA under which oneDNN does not use them, in oneDNN's order.
_LIMITS = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
_LIMITS_OF = {"bf16": _LIMITS, "fp16": (*_LIMITS, "AVX512_CORE_BF16")}


def pick_device(name: str = "auto") -> torch.device:
    """The device of a ``--device`` flag: auto (CUDA where there is one), cpu, cuda, cuda:N or mps.

    Raises:
        InputError: unknown name, or no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name!r} is unknown: choose auto, cpu, cuda or mps") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"--device {name!r} is not supported: choose auto, cpu, cuda or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {name}: no such CUDA device here; choose auto or cpu")
    # Parts of the network leave autocast, which early versions of torch do not know for mps.
    has_mps = torch.backends.mps.is_available() and torch.amp.is_autocast_available("mps")
    if device.type == "mps" and not has_mps:
        raise InputError(f"--device {name}: torch has no Apple GPU here; choose auto or cpu")
    return device


def pick_amp(name: str, device: torch.device) -> str:
    """The precision of an ``--amp`` flag on a device.

    Args:
        name: "off", "bf16" or "fp16", which are taken as they are, with a warning where a CPU
            does not compute in that type; "auto": bf16 on a CUDA device or a CPU that computes
            in it, else off.
        device: that computes.

    Raises:
        InputError: unknown name.
    """
    if name not in AMP:
        raise InputError(f"--amp {name!r} is unknown: choose from {', '.join(AMP)}")
    if name == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return "bf16" if native or (device.type == "cpu" and cpu_computes_in("bf16")) else "off"
    if name != "off" and device.type == "cpu" and not cpu_computes_in(name):
        _log.warning(
            "--amp %s is slow: this CPU does not compute in it. Measured on AVX2, against float32: "
            "a ViT-S takes 4 to 5 times as long (docs/speed.md). Fix: give --amp auto.",
            name,
        )
    return name


def autocast(device: torch.device, amp: str) -> contextlib.AbstractContextManager:
    """The context of ``amp`` "off", "bf16" or "fp16" on a device."""
    if amp == "off":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[amp])


def cpu_computes_in(name: str) -> bool:
    """Whether this CPU multiplies matrices in "bf16" or "fp16" and torch may let it.

    Other CPUs convert every operand to float32 and back. The limits that ATEN_CPU_CAPABILITY and
    ONEDNN_MAX_CPU_ISA (or DNNL_MAX_CPU_ISA) set for a process count as limits of the CPU.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA", "")
    if limit.upper() in _LIMITS_OF[name] or not torch.backends.mkldnn.is_available():
        return False
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX", "AVX2"):
        return False
    return not _INSTRUCTIONS[name].isdisjoint(_cpu_flags())


def _cpu_flags() -> set[str]:
    """The instruction sets of this CPU by Linux's names; none where nothing reports them."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for row in cpuinfo.read_text(errors="replace").splitlines():
            name, _, values = row.partition(":")
            if name.strip() == "flags":
                return set(values.split())
    if hasattr(torch.cpu, "get_capabilities"):  # not in torch 2.4
        return {name for name, there in torch.cpu.get_capabilities().items() if there is True}
    return set()
