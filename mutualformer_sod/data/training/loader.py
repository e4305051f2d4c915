"""Data loader for given batches."""

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


class _ErrorsAsItems(Dataset):
    """Items of a dataset; an InputError is an item: torch would carry its traceback as text."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except InputError as error:
            return error


def _collate(items: list[Any]) -> Any:
    """Return the batch, or the first InputError among the items."""
    errors = [item for item in items if isinstance(item, InputError)]
    return errors[0] if errors else default_collate(items)


def _raise_error(batch: Any) -> Any:
    if isinstance(batch, InputError):
        raise batch
    return batch


class _Loader(DataLoader):
    """A DataLoader that raises the InputError of a worker in this process."""

    def start(self) -> Iterator[Any]:
        """Start the workers; return torch's iterator, which gives errors as batches."""
        return super().__iter__()

    def __iter__(self) -> Iterator[Any]:
        return map(_raise_error, self.start())


def make_loader(
    dataset: Dataset,
    batches: Sequence[Sequence[int]],
    workers: int = 0,
    pin_memory: bool = False,
    *,
    patient: bool = False,
) -> _Loader:
    """Load given batches in their order.

    Args:
        dataset: of items for the default collation.
        batches: indices of the items of each batch.
        workers: processes that load; 0 for this process.
        pin_memory: use page-locked memory, from which copies to a CUDA device are asynchronous.
        patient: workers ignore SIGTERM, as in `open_stream`.
    """
    return _Loader(
        _ErrorsAsItems(dataset),
        batch_sampler=[list(batch) for batch in batches],
        num_workers=workers,
        multiprocessing_context=worker_context() if workers else None,
        collate_fn=_collate,
        pin_memory=pin_memory,
        worker_init_fn=partial(_start_worker, patient=patient),
        prefetch_factor=_PREFETCH if workers else None,
        # Unused. Without it the loader draws from torch's global generator, which would change
        # later random numbers.
        generator=torch.Generator().manual_seed(0),
    )


@contextlib.contextmanager
def open_stream(
    dataset: Dataset, batches: Sequence[Sequence[int]], workers: int = 0, pin_memory: bool = False
) -> Iterator[Iterator[Any]]:
    """Open a stream of the batches of ``make_loader``, from workers that ignore SIGTERM.

    Schedulers send SIGTERM to all processes of a job, but the main process still needs batches
    until it has saved. This context ends the workers.
    """
    stream = make_loader(dataset, batches, workers, pin_memory, patient=True).start()
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
