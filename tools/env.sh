# Sourced by train_sod.sh, test_sod.sh and tests/run.sh: sets PYTHON to an interpreter that can run
# this project, and LAUNCH to what starts a tool with it. The active environment is used where it has
# everything; otherwise .venv is made and the project installed into it, once. The caller may ask for
# extras: EXTRAS="test plot".
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

mutualformer_usable() { # interpreter: Python 3.10 or newer with the core's and the extras' modules?
    "$1" - ${EXTRAS:-} >/dev/null 2>&1 <<'PY'
import sys
from importlib.util import find_spec

modules = ["torch", "torchvision", "cv2", "timm", "numpy", "scipy", "tqdm", "safetensors"]
extras = {"test": ["pytest", "pytest_timeout", "ruff", "playwright"], "plot": ["matplotlib"],
          "tensorboard": ["tensorboard"], "export": ["onnx", "onnxscript", "onnxruntime"],
          "pretrained": ["onnx"], "demo": ["gradio"]}
for extra in sys.argv[1:]:
    modules += extras[extra]
sys.exit(sys.version_info < (3, 10) or any(find_spec(name) is None for name in modules))
PY
}

mutualformer_install() { # make .venv and install the project with its extras into it
    local base= candidate extras=${EXTRAS:-}
    for candidate in python3 python python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' \
            >/dev/null 2>&1; then base=$candidate && break; fi
    done
    if [ -z "$base" ]; then
        echo "error: no Python 3.10 or newer with its venv module: install one (Debian: python3-venv)" >&2
        return 2
    fi
    echo "Installing mutualformer_sod into $ROOT/.venv (once; torch is large, this takes minutes) ..." >&2
    [ -x "$ROOT/.venv/bin/python" ] || "$base" -m venv "$ROOT/.venv" || return 2
    if ! "$ROOT/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --editable "$ROOT${extras:+[${extras// /,}]}" >&2; then
        echo "error: the installation into $ROOT/.venv failed (see above): is the package index in reach?" >&2
        return 2
    fi
}

PYTHON=
for candidate in python python3 "$ROOT/.venv/bin/python"; do
    if mutualformer_usable "$candidate"; then PYTHON=$candidate && break; fi
done
if [ -z "$PYTHON" ]; then
    PYTHON="$ROOT/.venv/bin/python"
    # Of two runs started together one installs and the other waits.
    if command -v flock >/dev/null; then exec 9>"$ROOT/.venv.lock" && flock 9; fi
    mutualformer_usable "$PYTHON" || mutualformer_install || exit 2
    if command -v flock >/dev/null; then exec 9>&-; fi
fi
export PYTHON

# How train.py and test.py are started: by torchrun where several processes are asked for.
LAUNCH=("$PYTHON")
if [[ ! "${GPUS:-1}" =~ ^[1-9][0-9]*$ ]]; then
    echo "error: GPUS=$GPUS: give the number of processes, 1 or more" >&2
    exit 2
fi
if [ -n "${TORCHRUN:-}" ] || [ "${GPUS:-1}" != 1 ]; then
    # shellcheck disable=SC2206 # torchrun's flags are words
    LAUNCH+=("$ROOT/tools/launch.py" --nproc-per-node "${GPUS:-1}" ${TORCHRUN:---standalone})
fi
