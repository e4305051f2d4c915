"""The Dockerfile of the service, as far as it can be checked without Docker."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def instructions():
    """Pairs of instruction and arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def values(name):
    return [value for instruction, value in instructions() if instruction == name]


@pytest.fixture
def image(tmp_path):
    """A folder with what the image has in /app; weights are links."""
    for value in values("COPY"):
        *sources, target = value.split()
        for source in sources:
            place = tmp_path / target / (source if target == "./" else "")
            if target.endswith("/") and target != "./":
                place = tmp_path / target / Path(source).name
            if (ROOT / source).is_dir():
                copy = shutil.copy if source != "weights" else link
                shutil.copytree(ROOT / source, place, copy_function=copy, dirs_exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
    return tmp_path


def link(source, target):
    Path(target).symlink_to(source)


def run(folder, *command):
    """Run Python in the folder of an image; the package of this checkout is not in reach."""
    code = "import sys; sys.path.insert(0, ''); " + " ".join(command)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env={}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_dockerignore_keeps_exactly_the_copied_files():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert kept == {source.split("/")[0] for v in values("COPY") for source in v.split()[:-1]}


def test_image_has_the_default_weights_and_all_modules(image):
    code = (
        "from mutualformer_sod.configs.released import DEFAULT_WEIGHTS, find_weights;",
        "import mutualformer_sod.serving.pictures, mutualformer_sod.cli.serve;",
        "print(find_weights(DEFAULT_WEIGHTS))",
    )
    assert run(image, *code) == str(image / "weights/mutualformer_small_dinov2.safetensors")


def test_image_starts_the_service_with_flags_that_exist(image):
    python, *arguments = json.loads(values("ENTRYPOINT")[-1])
    assert (python, arguments[:3]) == ("python", ["-m", "mutualformer_sod", "serve"])
    given = ["mutualformer-sod serve", *arguments[3:], "--help"]
    code = f"sys.argv = {given}; from mutualformer_sod.cli.serve import main; main()"
    assert "usage: mutualformer-sod serve" in run(image, code)
    assert values("EXPOSE") == [arguments[arguments.index("--port") + 1]]


def test_image_runs_as_another_user_and_checks_its_health():
    (user,) = values("USER")
    assert int(user) > 0
    (check,) = values("HEALTHCHECK")
    program, flag, code = json.loads(check.partition("CMD ")[2])
    assert (program, flag) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert f"127.0.0.1:{values('EXPOSE')[0]}/health" in code


def test_image_installs_the_pinned_versions():
    (install,) = [value for value in values("RUN") if value.startswith("pip")]
    assert "--constraint constraints.txt" in install
    assert "'.[serve]'" in install
