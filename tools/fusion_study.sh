#!/usr/bin/env bash
# The comparison of docs/fusion_comparison.md. A stopped step continues with the same command.
#   bash tools/fusion_study.sh DATA OUTPUT [STEP]
#   bash tools/fusion_study.sh --benchmarks DATA OUTPUT
# DATA: the project's data, or with --benchmarks the RGB-D benchmarks of docs/data.md.
# STEP: prepare, encoder, main or ablations (default: all steps in this order).
# JOBS (default 1): runs at a time. FUSIONS: the main rows. SEEDS: number of seeds (default: 3;
# 2 for the ablations). EXTRA: further options of tools/compare_fusions.py.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
benchmarks=
if [ "${1-}" = --benchmarks ]; then benchmarks=1; shift; fi
if [ $# -lt 2 ]; then sed -n '2,8s/^# //p' "$0" >&2; exit 2; fi
data=$1 output=$2 step=${3:-all}
case $step in all | prepare | encoder | main | ablations) ;; *)
    echo "fusion_study.sh: error: STEP $step is unknown. Fix: pass prepare, encoder, main or ablations." >&2
    exit 2 ;;
esac
run() { python "$here/$1.py" "${@:2}"; }
wanted() { [ "$step" = all ] || [ "$step" = "$1" ]; }

read -ra main <<< "${FUSIONS:-all rgb_only}"
ablations=(
    mutualformer_no_cda mutualformer_cross_attention mutualformer_paper
    mutualformer_epsilon_0.3 mutualformer_epsilon_0.9 mutualformer_steps_2 mutualformer_steps_3
    token_fusion:sparsity=0.001 token_fusion:head=ensemble gemini_fusion:head=ensemble
    channel_exchange:head=ensemble
)
tests=(--test-depth hidden exchanged constant noise)
if [ -n "$benchmarks" ]; then
    # The protocol of the paper: 2,185 images, and ImageNet weights of the backbone.
    options=(--data "$data" --sets NJU2K NLPR --test-data "$data" --recipe mutualformer-2185)
else
    photos=train_rgb/DUTS_TR
    rgbd=(train_rgbd/HOTS train_rgbd/gqcnn train_rgbd/UW train_rgbd/tracebot train_rgbd/pothole
        train_rgbd/pipe)
    options=(--data "$data" "$output/labelled" --sets "$photos" "${rgbd[@]}" NLPR-labelled
        --limit 2400 --near pothole=white pipe=white --estimated-depth "$output/depth"
        --test-data "$output/ECSSD-depth" "$data/spot" --holdout 0.2 --holdout-sets "${rgbd[@]}" --test-limit 300
        --recipe fusion-study --init-weights "$output/encoder/weights.safetensors")
fi

if wanted prepare && [ -z "$benchmarks" ]; then
    estimate=(estimate_depth maps --weights "$here/../weights/depth_estimator.safetensors")
    run "${estimate[@]}" --data "$data" --sets "$photos" --limit 2400 --output "$output/depth"
    run "${estimate[@]}" --data "$data" --sets test_rgb/ECSSD --limit 300 --output "$output/depth"
    # Make a set with depth of the images that have a map.
    whole=$data/test_rgb/ECSSD maps=$output/depth/test_rgb/ECSSD part=$output/ECSSD-depth/ECSSD
    for map in "$maps"/*.png; do
        [ -e "$map" ] || continue
        mkdir -p "$part/RGB" "$part/GT"
        for role in RGB GT; do
            ln -sf "$(realpath "$whole/$role/$(basename "${map%.png}")".*)" "$part/$role/"
        done
        ln -sfn "$(realpath "$maps")" "$part/depth"
    done
    run test --weights small-dinov2 --data "$data/unlabelled_rgbd" --modality rgb \
        --output "$output/label_maps"
    run pseudo_label --data "$data/unlabelled_rgbd" --sets NLPR \
        --maps "$output"/label_maps/* --output "$output/labels"
    if [ -d "$output/labels/NLPR" ]; then  # another name than the benchmark's
        mkdir -p "$output/labelled"
        ln -sfn ../labels/NLPR "$output/labelled/NLPR-labelled"
    fi
fi
if wanted encoder && [ -z "$benchmarks" ]; then
    # The encoder is trained on colour alone, so that it favours no fusion.
    run train --data "$data" --train-sets "$photos" --modality rgb --preset tiny --pretrained auto \
        --size 160 --progressive 0.7 --epochs 2 --batch-size 16 --lr 1e-3 --encoder-lr-scale 0.5 \
        --warmup-epochs 0.1 --ema-decay 0.998 --no-multi-scale --holdout 0 --cache ram --workers 0 \
        --output "$output/encoder" --resume
fi
compare() {
    run compare_fusions "${options[@]}" "${tests[@]}" --set head=merge --jobs "${JOBS:-1}" \
        --output "$output/runs" ${EXTRA-} "$@"
}
if wanted main; then compare --seeds "${SEEDS:-3}" --fusions "${main[@]}"; fi
if wanted ablations; then compare --seeds "${SEEDS:-2}" --fusions "${main[@]}" "${ablations[@]}"; fi
