#!/usr/bin/env bash
# The test suite: lint, then pytest. Arguments go to pytest: bash tests/run.sh -k polarity
set -euo pipefail
cd "$(dirname "$0")/.."
EXTRAS="test plot tensorboard export demo" source tools/env.sh
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
exec "$PYTHON" -m pytest "$@"
