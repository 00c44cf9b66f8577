#!/usr/bin/env bash
# Wrong files against everything that reads files: model files (a third of the time), exported folders, prepared data,
# vectors, series, checkpoints, resumed runs, pretrained networks. Needs an environment that can run the tests; with
# $ATHERIS_PYTHON, a Python with atheris and the libraries for prediction, model files are fuzzed by coverage as well,
# for as long again. What goes wrong is left as TARGET-NUMBER.txt, or crash-*, where this is run.
#
#   scripts/fuzz_loaders.sh [SECONDS-IN-ALL]
set -euo pipefail
here=$PWD
root=$(cd "$(dirname "$0")/.." && pwd)
seconds=${1:-600}
python=${PYTHON:-$root/.venv/bin/python}
case $python in /*) ;; *) python=$here/$python ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$root/src:$root OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

"$python" -m tests.fuzz.seeds "$work/seeds"
failed=0
fuzz() {
  "$python" -m tests.fuzz.loaders "$work/seeds" "$1" --seconds "$2" --current "$work/case" 2> "$work/log" || {
    failed=1
    echo "$1, case $(cat "$work/case"): $(tail -n 20 "$work/log")" >&2
  }
}
fuzz model_file $((seconds / 3))
for target in onnx_folder prepared_data vectors_file series_file checkpoint resumed_run pretrained_folder; do
  fuzz "$target" $((seconds * 2 / 21))
done
if [ -n "${ATHERIS_PYTHON:-}" ]; then
  "$ATHERIS_PYTHON" -m tests.fuzz.loaders "$work/seeds" model_file --guided --seconds "$seconds" 2>&1 | tail -n 3
fi
exit $failed
