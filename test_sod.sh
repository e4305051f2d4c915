#!/usr/bin/env bash
# Test, then evaluate: maps to DIR/maps/METHOD/SET, scores to DIR/scores and a table to the screen.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
    cat <<'HELP'
Usage: bash test_sod.sh                                the shipped weights on generated scenes
       bash test_sod.sh --data ROOT [--sets A B] [--weights FILE|NAME] [--output DIR] [options]
       bash test_sod.sh ... -- [options of the evaluation]
Maps go to DIR/maps/METHOD/SET, scores to DIR/scores (DIR: outputs/test). With GPUS=4 four processes
share the images. Options go to tools/test.py (help follows), those after -- to tools/evaluate.py.

HELP
    source "$here/tools/env.sh"
    exec "$PYTHON" "$here/tools/test.py" --help
fi
source "$here/tools/env.sh"
output="outputs/test" data=() both=() test_options=() # data and both go to both tools
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    case "$1" in
        --output) [[ "${2:---}" != --* ]] || { echo "test_sod.sh: error: --output needs a folder" >&2; exit 2; }
            output=$2; shift 2 ;;
        --output=* | --data=* | --sets=* | --limit=* | --images=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        --data | --sets | --limit | --images)
            values=("$1"); shift
            while [ $# -gt 0 ] && [[ "$1" != --* ]]; do values+=("$1"); shift; done
            if [ "${values[0]}" = --data ]; then data=("${values[@]}"); else both+=("${values[@]}"); fi ;;
        *) test_options+=("$1"); shift ;;
    esac
done
if [ "${1:-}" = "--" ]; then shift; fi
if [ ${#data[@]} -eq 0 ]; then
    data=(--data "$here/outputs/samples")
    "$PYTHON" "$here/tools/make_samples.py" --output "$here/outputs/samples" --count 30 --seed 2026
fi
both=("${data[@]}" ${both[@]+"${both[@]}"})
"${LAUNCH[@]}" "$here/tools/test.py" "${both[@]}" --output "$output/maps" ${test_options[@]+"${test_options[@]}"}
exec "$PYTHON" "$here/tools/evaluate.py" "${both[@]}" --maps "$output/maps" --output "$output/scores" "$@"
