#!/usr/bin/env bash
# The test suite: lint, then pytest. Arguments go to pytest: bash tests/run.sh -k polarity
set -euo pipefail
cd "$(dirname "$0")/.."
EXTRAS="test plot tensorboard export demo serve video" source tools/env.sh
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
# A process a core, each with one thread; the tests of a file share what they set up. In the order of
# the folders the long files of tests/integration come first, and both processes end together.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "$PYTHON" -m pytest --numprocesses "${JOBS:-auto}" --maxprocesses 4 --dist loadfile \
    --no-loadscope-reorder "$@"
