#!/usr/bin/env bash
# Build wheels as users would: with a compiler, without one, and with the kernels left out on purpose; check what is in
# them. Takes a minute and downloads the build tools, so it is not part of the test suite.
#
#   scripts/check_install.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# build NAME EXPECTED-TAG EXPECTED-LIBRARIES [VARIABLE=VALUE ...]
build() {
  local name=$1 tag=$2 libraries=$3
  shift 3
  env "$@" "$python" -m pip wheel --quiet --no-deps --wheel-dir "$work/$name" .
  "$python" - "$work/$name" "$tag" "$libraries" <<'PYTHON'
import sys, zipfile
from pathlib import Path

[wheel] = Path(sys.argv[1]).glob("*.whl")
names = zipfile.ZipFile(wheel).namelist()
libraries = [name for name in names if name.endswith((".so", ".dylib"))]
assert f"-py3-none-{sys.argv[2]}" in wheel.name, wheel.name
assert len(libraries) == int(sys.argv[3]), libraries
assert all(name.startswith("grunlock/kernels/libgrunlock_native.") for name in libraries), libraries
sources = {path.relative_to("src").as_posix() for path in Path("src/grunlock").rglob("*") if path.is_file()}
expected = {s for s in sources if "__pycache__" not in s and not s.endswith((".so", ".dylib"))}
assert expected <= set(names), expected - set(names)
strangers = {n for n in names if ".dist-info/" not in n} - expected - set(libraries)
assert not strangers, strangers
print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size:,} bytes, kernels: {libraries or 'none'}")
PYTHON
}

build compiled "" 1
build without_compiler "" 0 CXX=/nonexistent/c++ CC=/nonexistent/cc
build left_out any 0 GRUNLOCK_NATIVE=off
