"""Which process takes which images of an epoch, update by update."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MicroBatch:
    """What one process feeds the network at a time.

    Attributes:
        indices: of the images.
        share: these images' share of the update's images. 0 where this process has none left: it
            then computes on one image that does not count, because all processes must take part.
        ends_update: whether the optimiser steps after it.
    """

    indices: tuple[int, ...]
    share: float
    ends_update: bool


def epoch_order(images: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch's images, a function of (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(images).tolist()


def updates_per_epoch(images: int, global_batch: int) -> int:
    """Optimiser steps that see every image once; the last may hold fewer than ``global_batch``."""
    return math.ceil(images / global_batch)


def plan_epoch(
    order: list[int], global_batch: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> list[list[MicroBatch]]:
    """Split an epoch into updates, and each update over the processes.

    Update k takes ``order[k G : (k + 1) G]`` whatever the number of processes, so that the same
    global batch means the same training. Over all processes every image occurs exactly once.

    Args:
        order: image numbers.
        global_batch: images of one update, G.
        batch_size: images that one process takes at a time.
        rank, world_size: this process and how many there are.

    Returns:
        For each update the micro-batches of this process, equally many in every process.
    """
    updates = []
    for start in range(0, len(order), global_batch):
        images = order[start : start + global_batch]
        rounds = math.ceil(len(images) / (batch_size * world_size))
        # Parts as equal as they can be: the last update of an epoch keeps all processes busy.
        bounds = [len(images) * k // (rounds * world_size) for k in range(rounds * world_size + 1)]
        parts = []
        for number in range(rounds):
            part = number * world_size + rank
            mine = images[bounds[part] : bounds[part + 1]]
            parts.append(
                MicroBatch(tuple(mine or images[:1]), len(mine) / len(images), number == rounds - 1)
            )
        updates.append(parts)
    return updates
