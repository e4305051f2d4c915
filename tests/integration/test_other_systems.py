"""What Windows and macOS lack is not needed: modules and start methods of Unix."""

import subprocess
import sys

import pytest
import torch
from tool_runs import ROOT, SMALL_MODEL

from mutualformer_sod import Predictor
from mutualformer_sod.data.synthetic.scenes import write_samples
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.device import pick_device
from mutualformer_sod.output_folder import OutputFolder

# What a process finds on Windows.
WINDOWS = """
import multiprocessing, os, runpy, signal, sys
for name in ("fcntl", "resource"):
    sys.modules[name] = None
multiprocessing.get_all_start_methods = lambda: ["spawn"]
del signal.pthread_sigmask, os.sched_getaffinity
"""
IMPORT_ALL = """
import importlib, pathlib, pkgutil
import mutualformer_sod
for module in pkgutil.walk_packages(mutualformer_sod.__path__, "mutualformer_sod."):
    importlib.import_module(module.name)
for path in sorted(pathlib.Path("tools").glob("*.py")):
    runpy.run_path(str(path), run_name="imported")
print("all imported", flush=True)
"""
TRAIN = """
sys.argv = ["train.py", *sys.argv[1:]]
if __name__ == "__main__":
    runpy.run_path("tools/train.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def on_windows(tmp_path_factory):
    """The folder of a training, and how the process that imported all modules and trained ended."""
    folder = tmp_path_factory.mktemp("windows")
    write_samples(folder / "data", 6, 1, size=(64, 72))
    arguments = [
        *("--data", folder / "data", "--train-sets", "SAMPLES", "--preset", "tiny-scratch"),
        *("--output", folder / "run", "--epochs", 1, "--batch-size", 4, "--size", 32),
        *("--workers", 1, "--holdout", 0, "--device", "cpu", "--set", *SMALL_MODEL),
    ]
    command = [sys.executable, "-c", WINDOWS + IMPORT_ALL + TRAIN, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    return folder, done


def test_every_module_is_imported_without_modules_of_unix(on_windows):
    _, done = on_windows
    assert "all imported" in done.stdout, done.stderr


def test_training_runs_without_modules_of_unix(on_windows):
    folder, done = on_windows
    assert done.returncode == 0, done.stderr
    assert (folder / "run" / "weights.safetensors").is_file()


def test_locked_in_use_raises_and_is_released(tmp_path):
    folder = OutputFolder(tmp_path, "run.json", "run")
    for _ in range(2):
        with folder.locked(), pytest.raises(InputError, match="in use"), folder.locked():
            pass


def test_mps_is_accepted_where_torch_has_it(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda _: True)
    assert pick_device("mps") == torch.device("mps")


@pytest.mark.parametrize(("available", "autocast"), [(False, True), (True, False)])
def test_mps_is_refused_in_one_line_where_torch_lacks_it(monkeypatch, available, autocast):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: available)
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda _: autocast)
    with pytest.raises(InputError, match=r"--device mps.*Fix: pass auto or cpu"):
        Predictor.from_weights(ROOT / "weights" / "mutualformer_tiny.safetensors", device="mps")
