"""A small set of scenes and a finished run on them."""

from pathlib import Path

import pytest
from tool_runs import train_small

from mutualformer_sod.data.samples import write_samples


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """A root with 12 sample scenes in SAMPLES."""
    root = tmp_path_factory.mktemp("scenes")
    write_samples(root, 12, seed=7)
    return root


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory, scenes) -> Path:
    """A finished training run of the cut-down model."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    done = train_small(folder, scenes)
    assert done.status == 0, done.error
    return folder
