"""Training checkpoints: all that a run needs to go on, in one file of tensors and plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import load_torch_file, replacing


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the one that was there stays until the new one is on disk.

    Args:
        path: the file.
        state: tensors, numbers, strings, and lists and dictionaries of them.
    """
    with replacing(path, sync=True) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what ``save_checkpoint`` wrote, on the CPU, without running any code in it.

    Raises:
        InputError: missing, truncated, or not a checkpoint.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    state = load_torch_file(path)
    if not isinstance(state, dict) or "epoch" not in state:
        raise InputError(
            f"{path}: not a readable checkpoint (truncated, or not written by tools/train.py)"
        )
    return state
