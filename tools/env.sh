# This file, sourced by train_sod.sh, test_sod.sh and tests/run.sh, sets PYTHON, an interpreter with all
# packages, and LAUNCH, the command that starts a tool. The active environment is used if it satisfies
# setup.cfg; if not, .venv is created once with the versions of constraints.txt. UPGRADE=1 installs the
# newest versions into .venv. EXTRAS="test plot" adds extras of setup.cfg.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

mutualformer_lacks() { # INTERPRETER: print its missing packages; status 0 if there are none
    # shellcheck disable=SC2086 # extras are words
    "$1" "$ROOT/tools/setup/requirements.py" ${EXTRAS:-} 2>/dev/null
}

mutualformer_install() { # create .venv and install the project and its extras into it
    local base= candidate lacking extras=${EXTRAS:-} versions=(--constraint "$ROOT/constraints.txt")
    if [ -n "${UPGRADE:-}" ]; then versions=(--upgrade --upgrade-strategy eager); fi
    for candidate in python3 python python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' \
            >/dev/null 2>&1; then base=$candidate && break; fi
    done
    if [ -z "$base" ]; then
        echo "error: no Python 3.10 or newer with the module venv. Fix: install one (Debian: python3-venv)." >&2
        return 2
    fi
    lacking=$(mutualformer_lacks "$base" | grep "is installed" || true)
    echo "Installing mutualformer_sod into $ROOT/.venv (once; this takes minutes, because torch is large) ..." \
        "${lacking:+($base: ${lacking//$'\n'/, })}" >&2
    [ -x "$ROOT/.venv/bin/python" ] || "$base" -m venv "$ROOT/.venv" || return 2
    if ! "$ROOT/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        "${versions[@]}" --editable "$ROOT${extras:+[${extras// /,}]}" >&2; then
        echo "error: $ROOT/.venv: the installation failed (see above)." \
            "Fix: connect to the package index, or try other versions with UPGRADE=1." >&2
        return 2
    fi
}

PYTHON=
for candidate in python python3 "$ROOT/.venv/bin/python"; do
    if [ -z "${UPGRADE:-}" ] && mutualformer_lacks "$candidate" >/dev/null; then
        PYTHON=$candidate && break
    fi
done
if [ -z "$PYTHON" ]; then
    PYTHON="$ROOT/.venv/bin/python"
    # If two runs start together, one installs and the other waits.
    if command -v flock >/dev/null; then exec 9>"$ROOT/.venv.lock" && flock 9; fi
    if [ -n "${UPGRADE:-}" ] || ! mutualformer_lacks "$PYTHON" >/dev/null; then
        mutualformer_install || exit 2
        if ! lacking=$(mutualformer_lacks "$PYTHON"); then
            echo "error: $ROOT/.venv: does not satisfy setup.cfg: ${lacking//$'\n'/, }. Fix: delete .venv and start again." >&2
            exit 2
        fi
    fi
    if command -v flock >/dev/null; then exec 9>&-; fi
fi
export PYTHON

# train.py and test.py start with torchrun if several processes are requested.
LAUNCH=("$PYTHON")
if [[ ! "${GPUS:-1}" =~ ^[1-9][0-9]*$ ]]; then
    echo "error: GPUS=$GPUS: not a number of processes. Fix: set GPUS to 1 or more." >&2
    exit 2
fi
if [ -n "${TORCHRUN:-}" ] || [ "${GPUS:-1}" != 1 ]; then
    # shellcheck disable=SC2206 # torchrun's flags are words
    LAUNCH+=("$ROOT/tools/launch.py" --nproc-per-node "${GPUS:-1}" ${TORCHRUN:---standalone})
fi
