"""Select the device, the precision and the memory layout of a computation."""

import contextlib
import logging
import os
import re
from pathlib import Path

import torch
from torch import nn

from mutualformer_sod.configs.training import AMP
from mutualformer_sod.errors import InputError

_log = logging.getLogger(__name__)
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# CPU instructions with which oneDNN, torch's CPU library, multiplies matrices of each type.
_INSTRUCTIONS = {"bf16": {"avx512_bf16", "amx_bf16"}, "fp16": {"avx512_fp16", "amx_fp16"}}
# Values of ONEDNN_MAX_CPU_ISA that disable these instructions, in oneDNN's order.
_LIMITS = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
_LIMITS_OF = {"bf16": _LIMITS, "fp16": (*_LIMITS, "AVX512_CORE_BF16")}


def pick_device(name: str = "auto") -> torch.device:
    """Return the torch device of ``--device`` auto, cpu, cuda, cuda:N or mps; auto prefers CUDA.

    Raises:
        InputError: the name is unknown, or torch does not find the device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"--device {name!r} is unknown. Fix: pass auto, cpu, cuda or mps"
        ) from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"--device {name!r} is not supported. Fix: pass auto, cpu, cuda or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {name}: torch finds no such CUDA device. Fix: pass auto or cpu")
    # Parts of the network disable autocast; early versions of torch have no autocast for mps.
    has_mps = torch.backends.mps.is_available() and torch.amp.is_autocast_available("mps")
    if device.type == "mps" and not has_mps:
        raise InputError(f"--device {name}: torch finds no Apple GPU. Fix: pass auto or cpu")
    return device


def pick_amp(name: str, device: torch.device) -> str:
    """Return the precision of ``--amp`` on a device.

    "auto" becomes "bf16" on a CUDA device or a CPU that computes in bf16, and "off" on other
    devices. Other names are returned unchanged, with a warning if the CPU does not compute in this
    type.

    Raises:
        InputError: the name is unknown.
    """
    if name not in AMP:
        raise InputError(f"--amp {name!r} is unknown. Fix: pass one of {', '.join(AMP)}")
    if name == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return "bf16" if native or (device.type == "cpu" and cpu_computes_in("bf16")) else "off"
    if name != "off" and device.type == "cpu" and not cpu_computes_in(name):
        _log.warning(
            "--amp %s is slow: this CPU has no instructions for this type. On AVX2, a ViT-S takes "
            "4 to 5 times as long as in float32 (docs/speed.md). Fix: pass --amp auto.",
            name,
        )
    return name


def autocast(device: torch.device, amp: str) -> contextlib.AbstractContextManager:
    """Return the autocast context of a device for ``amp`` "off", "bf16" or "fp16"."""
    if amp == "off":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[amp])


def optimise_for_cpu(model: nn.Module) -> nn.Module:
    """Store the weights of convolutions channels-last, which changes results only by rounding.

    oneDNN then does not convert the outputs of the convolutions (docs/speed.md). Training is slower
    with channels-last weights (docs/experiments.md). The model, whose parameters must be on a CPU,
    is changed in place and returned.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return model


def cpu_computes_in(name: str) -> bool:
    """Return whether torch can use matrix instructions of this CPU for "bf16" or "fp16".

    A CPU without them converts every operand to float32 and back. Instructions that
    ATEN_CPU_CAPABILITY or ONEDNN_MAX_CPU_ISA (or DNNL_MAX_CPU_ISA) disables count as absent.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA", "")
    if limit.upper() in _LIMITS_OF[name] or not torch.backends.mkldnn.is_available():
        return False
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX", "AVX2"):
        return False
    return not _INSTRUCTIONS[name].isdisjoint(_cpu_flags())


def _cpu_flags() -> set[str]:
    """Return the instruction sets of this CPU by Linux's names, or an empty set if unknown."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else ""
    if found := re.search(r"^flags\s*:(.*)", text, re.MULTILINE):
        return set(found[1].split())
    if hasattr(torch.cpu, "get_capabilities"):  # torch 2.4 does not have this function
        return {name for name, there in torch.cpu.get_capabilities().items() if there is True}
    return set()
