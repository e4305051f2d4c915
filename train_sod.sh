#!/usr/bin/env bash
# Train. Without --data: the preset tiny-scratch on generated scenes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
    cat <<'HELP'
Usage: bash train_sod.sh                          the preset tiny-scratch on 2000 generated scenes
       bash train_sod.sh --data ROOT [options]    your sets: --protocol 2185, --train-sets A B, or
                                                  --recipe mutualformer-2185 (see docs/reproduce.md)
       bash train_sod.sh --recipe tiny --data ../shared/data
                                                  the preset tiny on photographs, RGB-D images
                                                  and generated scenes
       GPUS=4 bash train_sod.sh --data ROOT ...   four processes, one per GPU (or all on the CPU)
       TORCHRUN="--nnodes 2 --node-rank 0 --master-addr HOST --master-port 29500" \
           GPUS=8 bash train_sod.sh ...           on each of two hosts, with torchrun's flags
The same command with --resume continues an interrupted run.
The options are those of tools/train.py:

HELP
    source "$here/tools/env.sh"
    exec "$PYTHON" "$here/tools/train.py" --help
fi
# --pretrained auto may need the extra that converts weights.
if [[ " $* " =~ \ --(pretrained[\ =]auto|recipe[\ =](fusion-study|small-dinov2|tiny))\  ]]; then
    export EXTRAS="${EXTRAS:+$EXTRAS }pretrained"
fi
source "$here/tools/env.sh"
samples="$here/outputs/train_scenes"
if [[ " $* " != *" --data"[\ =]* ]]; then
    set -- --recipe samples --output runs/samples "$@"
elif [[ " $* " != *" --recipe tiny "* && " $* " != *" --recipe=tiny "* ]]; then
    exec "${LAUNCH[@]}" "$here/tools/train.py" --output runs/train "$@"
fi
"$PYTHON" "$here/tools/make_samples.py" --output "$samples" --count 2000 --seed 1
exec "${LAUNCH[@]}" "$here/tools/train.py" --data "$samples" --output runs/tiny "$@"
