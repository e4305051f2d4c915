"""Data loader for batches whose item indices are known in advance."""

import contextlib
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from mutualformer_sod.errors import InputError
from mutualformer_sod.workers import worker_context

_PREFETCH = 4  # batches that a worker loads in advance


def _load(dataset: Dataset, batch: Sequence[int]) -> Any:
    """Return a batch; return an InputError instead of raising it: torch would add a traceback."""
    try:
        return default_collate([dataset[index] for index in batch])
    except InputError as error:
        return error


def _raise_error(batch: Any) -> Any:
    if isinstance(batch, InputError):
        raise batch
    return batch


class _Loader(DataLoader):
    """A DataLoader that raises the InputError of a worker in this process."""

    def __iter__(self) -> Iterator[Any]:
        return map(_raise_error, super().__iter__())


def make_loader(
    dataset: Dataset,
    batches: Sequence[Sequence[int]],
    workers: int = 0,
    pin_memory: bool = False,
    *,
    patient: bool = False,
) -> _Loader:
    """Make a loader that yields the given batches in their order.

    Args:
        dataset: dataset whose items torch's `default_collate` can join to a batch.
        workers: number of loading processes; 0 loads in this process.
        patient: whether workers ignore SIGTERM, as in `open_stream`.
    """
    return _Loader(
        [list(batch) for batch in batches],  # one item of torch's dataset is a batch
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=worker_context() if workers else None,
        collate_fn=partial(_load, dataset),
        pin_memory=pin_memory,
        worker_init_fn=partial(_start_worker, patient=patient),
        prefetch_factor=_PREFETCH if workers else None,
        # The generator is unused, but without this argument the loader would draw from torch's
        # global generator and change later random numbers.
        generator=torch.Generator().manual_seed(0),
    )


@contextlib.contextmanager
def open_stream(
    dataset: Dataset, batches: Sequence[Sequence[int]], workers: int = 0, pin_memory: bool = False
) -> Iterator[Iterator[Any]]:
    """Open a stream of the batches of ``make_loader``, from workers that ignore SIGTERM.

    Schedulers send SIGTERM to all processes of a job, but the main process still needs batches
    until it has saved its state. At the end of this context the workers end, too.
    """
    stream = DataLoader.__iter__(make_loader(dataset, batches, workers, pin_memory, patient=True))
    try:
        yield map(_raise_error, stream)
    finally:
        if workers:
            stream._shutdown_workers()


def _start_worker(_: int, patient: bool) -> None:
    if patient:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Ctrl-C reaches all processes of a terminal; only the main process handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
