"""Functions for the processes that torchrun starts for one run.

All functions also work in a run of one process, which has no process group.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from mutualformer_sod.errors import InputError, ReportedElsewhere
from mutualformer_sod.models.device import pick_device


def start_processes(device: str) -> torch.device:
    """Connect the processes that torchrun started, and return the device of this process.

    The backend is nccl for CUDA devices, one per process, and gloo for CPUs.

    Raises:
        InputError: the device is unknown, several processes cannot share this device, or the host
            has fewer CUDA devices than processes.
    """
    chosen = pick_device(device)
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return chosen
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if chosen.type == "mps":
        raise InputError("`device` mps: several processes cannot use mps. Fix: pass `device` cpu.")
    if chosen.type == "cuda":
        if local >= torch.cuda.device_count():
            raise InputError(
                f"process {local + 1} of this host has no CUDA device: the host has only "
                f"{torch.cuda.device_count()}. Fix: start one process per device (GPUS=N, "
                "--nproc-per-node), or pass `device` cpu."
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return chosen


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Context that reports an error only once, and leaves the process group at the end.

    Before the processes are connected, all processes of a host raise the same error, and only the
    first process reports the error. A connected process that loses another process reports the
    loss in one line.
    """
    try:
        yield
    except InputError as error:
        if not is_connected() and int(os.environ.get("LOCAL_RANK", "0")) > 0:
            raise ReportedElsewhere from error
        raise
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or "by peer" in str(error)
        if is_connected() and lost:
            raise InputError(
                "another process of this run ended. Fix: see the message of that process."
            ) from error
        raise
    finally:
        if is_connected():
            dist.destroy_process_group()


def is_connected() -> bool:
    """Return whether this process is in a process group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return the rank of this process, counted from 0."""
    return dist.get_rank() if is_connected() else 0


def world_size() -> int:
    """Return the number of processes of the run."""
    return dist.get_world_size() if is_connected() else 1


def is_main() -> bool:
    """Return whether this process has rank 0; only rank 0 prints and writes shared files."""
    return rank() == 0


def all_reduce(values: list[float], device: torch.device, operation: str) -> list[float]:
    """Return the element-wise "SUM" or "MAX" of a list over all processes, in float64."""
    if world_size() == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(tensor, getattr(dist.ReduceOp, operation))
    return tensor.tolist()


def share_buffers(model: nn.Module) -> None:
    """Copy the buffers (running statistics of BatchNorm) of process 0 to all other processes."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def gather(value: Any) -> list[Any]:
    """Return the list of the values of all processes, in process order, on every process."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    with torch.inference_mode(False):  # old versions of torch change their own tensors in place
        dist.all_gather_object(values, value)
    return values


def wait_for_all() -> None:
    """Wait until all processes have called this function."""
    if world_size() > 1:
        dist.barrier()
