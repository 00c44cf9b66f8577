#!/usr/bin/env bash
# Build the kernel library by itself and run its C++ tests. Arguments go to CMake, such as -DCMAKE_CXX_COMPILER=clang++.
#
#   scripts/native_tests.sh [CMAKE-ARGUMENT ...]
#
# BUILD_DIR (default build/native) is kept, so that only what changed is compiled again.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD_DIR:-build/native}
generator=()
if command -v ninja >/dev/null; then generator=(-G Ninja); fi
cmake -S native -B "$build" "${generator[@]}" -DGRUNLOCK_TESTS=ON "$@" >/dev/null
cmake --build "$build" --parallel
ctest --test-dir "$build" --output-on-failure
