"""The loader of batches that were chosen beforehand."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

_PREFETCH = 4  # batches a worker keeps ready


def make_loader(
    dataset: Dataset,
    batches: Sequence[Sequence[int]],
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader:
    """Load given batches in their order.

    Args:
        dataset: of items that the default collation puts together.
        batches: indices of the items of each batch.
        workers: processes that load; 0: this one.
        pin_memory: put batches where a CUDA device copies them from without waiting.
    """
    if workers:
        # Before the workers are forked: OpenCV would wait in them for threads of this process.
        cv2.setNumThreads(1)
    return DataLoader(
        dataset,
        batch_sampler=[list(batch) for batch in batches],
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        prefetch_factor=_PREFETCH if workers else None,
        # Unused, but drawn from torch's global generator without it: a loader must not decide
        # what comes after it.
        generator=torch.Generator().manual_seed(0),
    )


def _start_worker(_: int) -> None:
    # Signals may reach all processes of a group; the main one alone decides what they mean.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if multiprocessing.get_start_method() != "fork":
        cv2.setNumThreads(1)
