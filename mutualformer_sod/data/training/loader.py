"""The loader of batches that were chosen beforehand."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from mutualformer_sod.workers import worker_context

_PREFETCH = 4  # batches a worker keeps ready


def make_loader(
    dataset: Dataset,
    batches: Sequence[Sequence[int]],
    workers: int = 0,
    pin_memory: bool = False,
    *,
    patient: bool = False,
) -> DataLoader:
    """Load given batches in their order.

    Args:
        dataset: of items that the default collation puts together.
        batches: indices of the items of each batch.
        workers: processes that load; 0: this one.
        pin_memory: put batches where a CUDA device copies them from without waiting.
        patient: see ``open_stream``, the only caller that gives it.
    """
    return DataLoader(
        dataset,
        batch_sampler=[list(batch) for batch in batches],
        num_workers=workers,
        multiprocessing_context=worker_context() if workers else None,
        pin_memory=pin_memory,
        worker_init_fn=_start_patient_worker if patient else _start_worker,
        prefetch_factor=_PREFETCH if workers else None,
        # Unused, but drawn from torch's global generator without it: a loader must not decide
        # what comes after it.
        generator=torch.Generator().manual_seed(0),
    )


@contextlib.contextmanager
def open_stream(
    dataset: Dataset,
    batches: Sequence[Sequence[int]],
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Iterator[Any]]:
    """The batches of ``make_loader``, from workers that a SIGTERM does not end.

    Schedulers send it to all processes of a job, and the main one still needs some batches until it
    has saved. Such workers must be told to end, which this context does.
    """
    stream = iter(make_loader(dataset, batches, workers, pin_memory, patient=True))
    try:
        yield stream
    finally:
        if workers:
            stream._shutdown_workers()


def _start_patient_worker(number: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _start_worker(number)


def _start_worker(_: int) -> None:
    # Ctrl-C reaches all processes of a terminal; the main one alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
