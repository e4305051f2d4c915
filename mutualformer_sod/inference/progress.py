"""Estimate the time of long work before its start, and show a clock during the work."""

import contextlib
import threading
import timeit
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from mutualformer_sod.inference.predictor import Predictor


@contextlib.contextmanager
def ticking(bar: tqdm, every: float = 1.0) -> Iterator[tqdm]:
    """Update the clock of a progress bar every ``every`` s, and close the bar at the end."""
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


def forecast(predictor: "Predictor") -> str | None:
    """Estimate the time of one image, and return a line for the user.

    For input sizes up to twice the size that the network was built for, the result is None. The
    network is timed at the size that it was built for and at twice that size. The time of attention
    grows quadratically with the number of tokens, and the time of the other work grows linearly.
    """
    built_for, size = predictor.model.config.image_size, predictor.size
    if size <= 2 * built_for:  # 4 times the tokens
        return None
    once, twice = (_seconds(predictor, side) for side in (built_for, 2 * built_for))
    square = max(0.0, (twice - 4 * once) / 12)  # part of ``once`` that grows quadratically
    tokens = (size / built_for) ** 2
    seconds = (once - square) * tokens + square * tokens**2
    return (
        f"`size` {size}: the network was built for {built_for}; an image takes about "
        f"{_in_words(seconds)} here, and {_in_words(once)} at size {built_for}"
    )


def _seconds(predictor: "Predictor", side: int) -> float:
    import torch

    rgb, depth = torch.zeros(1, 3, side, side), torch.zeros(1, 1, side, side)
    # The first run is a warm-up.
    return min(timeit.repeat(lambda: predictor.logits(rgb, depth, None), number=1, repeat=2))


def _in_words(seconds: float) -> str:
    if seconds < 1:
        return f"{max(1, round(1000 * seconds))} ms"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
