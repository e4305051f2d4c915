#!/usr/bin/env bash
# Test and evaluate: write maps to DIR/maps/METHOD/SET and scores to DIR/scores, print a table.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
    cat <<'HELP'
Usage: bash test_sod.sh                                the shipped weights on generated scenes
       bash test_sod.sh --data ROOT [--sets A B] [--weights FILE|NAME] [--output DIR] [options]
       bash test_sod.sh ... -- [options of the evaluation]
Maps go to DIR/maps/METHOD/SET, scores to DIR/scores (default DIR: outputs/test). GPUS=4 divides the
images among four processes. Options after -- are those of tools/evaluate.py, the others are those
of tools/test.py:

HELP
    source "$here/tools/env.sh"
    exec "$PYTHON" "$here/tools/test.py" --help
fi
source "$here/tools/env.sh"
output="outputs/test" data=() both=() test_options=() # data and both are for both tools
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    case "$1" in
        --output) [[ "${2:---}" != --* ]] || { echo "test_sod.sh: error: --output: no value. Fix: pass a folder." >&2; exit 2; }
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
