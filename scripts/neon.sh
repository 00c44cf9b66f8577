#!/usr/bin/env bash
# Compile the kernel library for AArch64 and run its C++ tests in an emulator. On Debian:
#
#   apt install g++-aarch64-linux-gnu qemu-user
set -euo pipefail
cd "$(dirname "$0")"
compiler=aarch64-linux-gnu-g++
emulator=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
if ! command -v "$compiler" >/dev/null || [ -z "$emulator" ]; then
  echo "Needed: $compiler and qemu-aarch64. On Debian: apt install g++-aarch64-linux-gnu qemu-user" >&2
  exit 1
fi
BUILD_DIR=build/neon ./native_tests.sh -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_CROSSCOMPILING_EMULATOR="$emulator;-L;/usr/aarch64-linux-gnu"
