"""Distribution of an epoch's images over updates and processes."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MicroBatch:
    """Images that one process computes at a time.

    Attributes:
        indices: indices of the images.
        ratio: number of images divided by the number of images of the update. A process
            without a remaining image computes one image with ratio 0, because every process must
            participate.
    """

    indices: list[int]
    ratio: float


def epoch_order(images: int, seed: int, epoch: int, replayed: int = 0, pool: int = 0) -> list[int]:
    """Return the order of an epoch's images, which depends only on seed and epoch.

    Args:
        images: number of images that every epoch uses; their indices start at 0.
        replayed: number of images that are drawn from the pool.
        pool: number of images in the pool, whose indices start at ``images``.
    """
    rng = np.random.default_rng([seed, epoch])
    if not replayed:
        return rng.permutation(images).tolist()
    drawn = images + rng.choice(pool, replayed, replace=False)
    return rng.permutation(np.concatenate((np.arange(images), drawn))).tolist()


def count_replayed(images: int, pool: int, ratio: float) -> int:
    """Return how many of ``pool`` images to replay, so that they are a ``ratio`` of an epoch."""
    return min(pool, round(images * ratio / (1 - ratio)))


def plan_epoch(
    order: list[int], global_batch: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> list[list[MicroBatch]]:
    """Split an epoch into updates, and divide each update among the processes.

    Update k uses ``order[k G : (k + 1) G]`` for any number of processes; the last update of an
    epoch may have fewer images. Every image is in exactly one micro-batch of positive ``ratio``.

    Args:
        global_batch: number G of images of one update.
        batch_size: maximum number of images that one process computes at a time.
        rank, world_size: number of this process, from 0, and number of processes.

    Returns:
        The micro-batches of this process for each update, as many as in every other process.
    """
    updates = []
    for start in range(0, len(order), global_batch):
        images = order[start : start + global_batch]
        rounds = math.ceil(len(images) / (batch_size * world_size))
        # With equal parts, all processes also work in the last update of an epoch.
        bounds = [len(images) * k // (rounds * world_size) for k in range(rounds * world_size + 1)]
        parts = []
        for number in range(rounds):
            part = number * world_size + rank
            mine = images[bounds[part] : bounds[part + 1]]
            parts.append(MicroBatch(mine or images[:1], len(mine) / len(images)))
        updates.append(parts)
    return updates
