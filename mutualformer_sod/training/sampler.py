"""Distribution of an epoch's images over updates and processes."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MicroBatch:
    """Images that one process computes at a time.

    A process without a remaining image computes one image with ratio 0, because every process must
    participate.
    """

    indices: tuple[int, ...]
    ratio: float  # number of these images divided by the number of images of the update
    ends_update: bool  # whether the optimiser steps after this micro-batch


def epoch_order(images: int, seed: int, epoch: int, replayed: int = 0, pool: int = 0) -> list[int]:
    """Return the order of an epoch's images, which depends only on seed and epoch.

    Every epoch uses the indices below ``images``, and ``replayed`` of the next ``pool`` indices.
    """
    rng = np.random.default_rng([seed, epoch])
    if not replayed:
        return rng.permutation(images).tolist()
    drawn = images + rng.choice(pool, replayed, replace=False)
    return rng.permutation(np.concatenate((np.arange(images), drawn))).tolist()


def count_replayed(images: int, pool: int, ratio: float) -> int:
    """Return the number of replayed images, at most ``pool``, as a ``ratio`` of an epoch."""
    return min(pool, round(images * ratio / (1 - ratio)))


def plan_epoch(
    order: list[int], global_batch: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> list[list[MicroBatch]]:
    """Split an epoch into updates; return the micro-batches of this process for each update.

    Update k uses ``order[k G : (k + 1) G]`` for any number of processes; the last update of an
    epoch may have fewer images. Every image has a positive ratio in exactly one process. Every
    process has the same number of micro-batches.

    Args:
        global_batch: number G of images of one update.
        batch_size: maximum number of images that one process computes at a time.
        rank, world_size: number of this process, from 0, and number of processes.
    """
    updates = []
    for start in range(0, len(order), global_batch):
        images = order[start : start + global_batch]
        rounds = math.ceil(len(images) / (batch_size * world_size))
        # With equal parts, all processes also work in the last update of an epoch.
        bounds = [len(images) * k // (rounds * world_size) for k in range(rounds * world_size + 1)]
        updates.append([])
        for part in range(rank, rounds * world_size, world_size):
            mine = images[bounds[part] : bounds[part + 1]]
            ratio, is_last = len(mine) / len(images), part + world_size >= rounds * world_size
            updates[-1].append(MicroBatch(tuple(mine or images[:1]), ratio, is_last))
    return updates
