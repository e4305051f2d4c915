"""Versions: the bounds of setup.cfg, the pins of the constraints, the check of tools/env.sh."""

import ast
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "setup" / "requirements.py"
EXTRAS = ("test", "plot", "tensorboard", "export", "pretrained", "demo", "serve", "video")
MODULES = {"py_sod_metrics": "pysodmetrics", "cv2": "opencv-python-headless", "PIL": "Pillow"}
# An optional reference, and the server of gradio.
OF_DEPENDENCIES = {"pysodmetrics", "starlette"}

requirements = runpy.run_path(str(SCRIPT))
fits, find_lacking = requirements["fits"], requirements["find_lacking"]


def read_pins(path):
    pins = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = line.split(";")[0].strip().split("==")
            pins[normal(name)] = version
    return pins


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def split(line):
    name, bounds = re.match(r"([A-Za-z0-9._-]+)\s*(.*)", line).groups()
    return normal(name), bounds


WANTED = [split(line) for line in requirements["read_requirements"](EXTRAS)[0]]
OLDEST, NEWEST = (
    read_pins(ROOT / name) for name in ("tests/constraints-oldest.txt", "constraints.txt")
)


@pytest.mark.parametrize(("name", "bounds"), WANTED, ids=[name for name, _ in WANTED])
def test_oldest_constraint_equals_the_lower_bound(name, bounds):
    lowest = re.search(r">=([\d.]+)", bounds)[1]
    assert re.match(rf"{re.escape(lowest)}(\.\d+)*$", OLDEST[name])


@pytest.mark.parametrize(("name", "bounds"), WANTED, ids=[name for name, _ in WANTED])
def test_newest_constraint_is_within_the_bounds(name, bounds):
    assert fits(NEWEST[name], bounds)


def test_oldest_constraints_name_nothing_else():
    assert OLDEST.keys() == {name for name, _ in WANTED}


def test_setup_cfg_declares_every_imported_package():
    declared = {name for name, _ in WANTED}
    paths = [*(ROOT / "mutualformer_sod").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names}:
                if name in sys.stdlib_module_names or name == "mutualformer_sod":
                    continue
                assert normal(MODULES.get(name, name)) in declared | OF_DEPENDENCIES, (path, name)


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("2.4.0+cpu", ">=2.4", True),
        ("2.4", ">=2.4.0", True),
        ("2.10.1", ">=2.4", True),
        ("2.3.1", ">=2.4", False),
        ("1.0.9.dev0", ">=1.0.9", True),
        ("0.17.6", ">=0.17,<0.18", True),
        ("0.18.0", ">=0.17,<0.18", False),
    ],
)
def test_fits_compares_version_with_bounds(version, bounds, expected):
    assert fits(version, bounds) is expected


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({"numpy": "1.24.0", "opencv-python": "4.9.0"}, []),
        (
            {"numpy": "1.23.5", "opencv-python": "4.9.0"},
            ["numpy 1.23.5 is installed, >=1.24 is required"],
        ),
        ({"numpy": "1.24.0"}, ["opencv-python-headless is missing"]),
    ],
)
def test_find_lacking_lists_missing_and_old_packages(installed, expected):
    wanted = ["numpy>=1.24", "opencv-python-headless>=4.8"]
    assert find_lacking(wanted, installed.get) == expected


def test_requirements_script_with_old_version_fails(tmp_path):
    packages = tmp_path / "packages"
    (packages / "numpy-1.0.dist-info").mkdir(parents=True)
    (packages / "numpy-1.0.dist-info" / "METADATA").write_text("Name: numpy\nVersion: 1.0\n")
    environment = os.environ | {"PYTHONPATH": str(packages)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "numpy 1.0 is installed, >=1.24 is required" in done.stdout.splitlines()
