"""What a user is told of work that takes long: its cost before, a running clock during it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from mutualformer_sod.inference.predictor import Predictor

_LARGE = 2  # times the size that a network was built for: 4 times the tokens


@contextlib.contextmanager
def ticking(bar: tqdm, every: float = 1.0) -> Iterator[tqdm]:
    """Yield a bar whose clock goes on, also while one step of it takes minutes.

    Args:
        bar: closed at the end.
        every: seconds between two looks.
    """
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(every):
            bar.refresh()

    thread = threading.Thread(target=tick, daemon=True)
    try:
        with bar:
            if not bar.disable:
                thread.start()
            yield bar
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()


def forecast(predictor: Predictor) -> str | None:
    """Estimate what an image costs where the network sees far more pixels than it was built for.

    The time at its own size and at twice that is measured. Of the tokens' number one part of the
    work is a multiple and another, attention, a multiple of the square.

    Returns:
        A line for the user; None for the usual sizes, which cost what one expects.
    """
    built_for, size = predictor.model.config.image_size, predictor.size
    if size <= _LARGE * built_for:
        return None
    once, twice = (_seconds(predictor, side) for side in (built_for, 2 * built_for))
    square = max(0.0, (twice - 4 * once) / 12)
    tokens = (size / built_for) ** 2
    seconds = (once - square) * tokens + square * tokens**2
    return (
        f"--size {size}: the network was built for {built_for}; an image takes about "
        f"{_told(seconds)} here, {_told(once)} at {built_for}"
    )


def _seconds(predictor: Predictor, side: int) -> float:
    import torch

    rgb, depth = torch.zeros(1, 3, side, side), torch.zeros(1, 1, side, side)
    times = []
    for _ in range(2):  # the first one warms up
        begun = time.perf_counter()
        predictor.logits(rgb, depth, None)
        times.append(time.perf_counter() - begun)
    return min(times)


def _told(seconds: float) -> str:
    if seconds < 1:
        return f"{max(1, round(1000 * seconds))} ms"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
