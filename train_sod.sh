#!/usr/bin/env bash
# Train. Without --data: the tiny preset on generated scenes, as the shipped weights were.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
    cat <<'HELP'
Usage: bash train_sod.sh                          the tiny preset on 2000 generated scenes
       bash train_sod.sh --data ROOT [options]    your sets; --protocol 2185 or --train-sets A B
       bash train_sod.sh --epochs 2 --output DIR  options go to tools/train.py, whose help follows
An interrupted run goes on with the same command and --resume.

HELP
    source "$here/tools/env.sh"
    exec "$PYTHON" "$here/tools/train.py" --help
fi
source "$here/tools/env.sh"
if [[ " $* " == *" --data"[\ =]* ]]; then
    exec "$PYTHON" "$here/tools/train.py" --output runs/train "$@"
fi
samples="$here/outputs/train_scenes"
"$PYTHON" "$here/tools/make_samples.py" --output "$samples" --count 2000 --seed 1
exec "$PYTHON" "$here/tools/train.py" --data "$samples" --train-sets SAMPLES --preset tiny --size 128 \
    --epochs 6 --batch-size 16 --lr 1e-3 --depth-dropout 0.1 --amp bf16 --no-multi-scale \
    --workers 1 --weights-dtype float16 --output runs/tiny "$@"
