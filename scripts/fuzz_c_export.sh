#!/usr/bin/env bash
# Fuzz exported models of texts with libFuzzer under AddressSanitizer and UndefinedBehaviorSanitizer. Needs clang with its
# runtime libraries (on Debian: apt install clang libclang-rt-14-dev) and an environment that can run the tests. Inputs
# that fail are left as crash-* where this is run.
#
#   scripts/fuzz_c_export.sh [SECONDS-IN-ALL]
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."
seconds=${1:-600}
python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m tests.fuzz.models "$work"
models=("$work"/*/)
for model in "${models[@]}"; do
  name=$(basename "$model")
  mapfile -t sources < "$model/sources.txt"
  clang -std=c99 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I"$model" \
    tests/fuzz/c_text_model.c "${sources[@]/#/$model/}" -o "$work/$name.fuzz" -lm
  echo "== $name"
  if ! "$work/$name.fuzz" -max_total_time=$((seconds / ${#models[@]})) -max_len=600 -timeout=20 -use_value_profile=1 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="$here/crash-$name-" "$model/texts" 2> "$work/log"; then
    tail -n 50 "$work/log" >&2
    exit 1
  fi
  grep stat:: "$work/log"
done
