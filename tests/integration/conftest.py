"""A small set of scenes and a finished run on them."""

import functools
import logging
from pathlib import Path

import pytest
from browser import chromium, chromium_page  # noqa: F401 (fixtures)
from demo_server import demo_server  # noqa: F401 (fixture)
from tool_runs import train_small

from mutualformer_sod import Predictor
from mutualformer_sod.data.synthetic.scenes import write_samples


@pytest.fixture(autouse=True)
def unsilenced():
    """What a tool silences in its process (tools/launch.py) is heard again after the test."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """A root with 12 sample scenes in SAMPLES."""
    root = tmp_path_factory.mktemp("scenes")
    write_samples(root, 12, seed=7)
    return root


@pytest.fixture(scope="module")
def shared_predictors():
    """Read each weights file once for the tests of a module; a predictor keeps no state."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "from_weights", functools.cache(Predictor.from_weights))
        yield


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, scenes) -> tuple[Path, str]:
    """The folder of a finished training run of the cut-down model, and what the run printed."""
    folder = tmp_path_factory.mktemp("run") / "tiny-scratch"
    done = train_small(folder, scenes)
    assert done.status == 0, done.error
    return folder, done.output


@pytest.fixture(scope="session")
def run_folder(finished_run) -> Path:
    """The folder of that run."""
    return finished_run[0]


@pytest.fixture(scope="session")
def run_folder_output(finished_run) -> str:
    """What that run printed."""
    return finished_run[1]
