"""Released weights by their names."""

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mutualformer_sod
from mutualformer_sod import Predictor
from mutualformer_sod.configs.released import DEFAULT_WEIGHTS, find_weights, released_weights
from mutualformer_sod.errors import InputError


def test_released_default_weights_are_listed():
    assert DEFAULT_WEIGHTS in released_weights()


@pytest.mark.parametrize("name", released_weights())
def test_predictor_released_name_loads(name):
    assert Predictor.from_weights(name, device="cpu").model.config.preset == name


def test_find_weights_file_precedes_released_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-scratch").touch()
    assert find_weights("tiny-scratch").resolve() == tmp_path / "tiny-scratch"


def test_find_weights_unknown_name_lists_names(tmp_path):
    with pytest.raises(InputError, match=r"^huge: no such weights file\. .*tiny"):
        find_weights("huge")


def test_released_weights_of_an_installation_are_found(tmp_path):
    package = Path(mutualformer_sod.__file__).parent
    shutil.copytree(
        package, tmp_path / "site" / package.name, ignore=shutil.ignore_patterns("__pycache__")
    )
    record = tmp_path / "site" / "mutualformer_sod-9.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: mutualformer_sod\nVersion: 9\n")
    (record / "RECORD").write_text("../share/weights/released.json,,\n")
    installed = tmp_path / "share" / "weights"
    installed.mkdir(parents=True)
    for name in ("released.json", "mutualformer_small_x.safetensors"):
        (installed / name).touch()
    code = (
        "from mutualformer_sod.configs.released import find_weights; print(find_weights('small-x'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(installed / "mutualformer_small_x.safetensors"), done.stderr


def test_installation_takes_every_file_of_the_weights():
    root = Path(mutualformer_sod.__file__).parents[1]
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg")
    patterns = settings["options.data_files"]["share/mutualformer_sod/weights"].split()
    taken = {path for pattern in patterns for path in root.glob(pattern)}
    assert taken == {path for path in (root / "weights").iterdir() if path.is_file()}
