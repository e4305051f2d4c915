"""Time several functions in turn."""

import math
import time
from collections.abc import Callable, Collection

from tqdm import trange

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}  # seconds


def in_turn(
    calls: Collection[Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    enough: float = math.inf,
    label: str = "rounds",
) -> list[list[float]]:
    """Time several functions in turn, so that a busy machine slows all of them equally.

    Args:
        rounds: number of timed runs of each function.
        warm_up: number of runs of each function before the timed runs; their times are omitted.
        clock: function that returns seconds, for example a value of ``CLOCKS``.
        enough: total seconds of a function, including the warm-up, after which the function is not
            run again.
        label: text of the progress bar.

    Returns:
        The seconds of every timed run of each function; if no run was timed, those of its warm-up.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in trange(warm_up + rounds, desc=label, leave=False, disable=None):
        for call, runs in zip(calls, seconds, strict=True):
            if sum(runs) < enough:
                started = clock()
                call()
                runs.append(clock() - started)
    return [runs[warm_up:] or runs for runs in seconds]
