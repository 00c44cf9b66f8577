#!/usr/bin/env bash
# The C++ tests under AddressSanitizer with UndefinedBehaviorSanitizer, then under ThreadSanitizer.
#
#   scripts/sanitize.sh [address,undefined] [thread]
set -euo pipefail
cd "$(dirname "$0")"
if [ $# -eq 0 ]; then set -- address,undefined thread; fi
export UBSAN_OPTIONS=print_stacktrace=1
for sanitizers in "$@"; do
  echo "== $sanitizers"
  BUILD_DIR=build/sanitize-${sanitizers//,/-} ./native_tests.sh -DGRUNLOCK_SANITIZE="$sanitizers" \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo
done
