# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
LOCKED_DEV := $(VENV)/.locked-dev
INSTALLED := $(VENV)/.installed
LIBRARY := src/grunlock/kernels/libgrunlock_native

.PHONY: demo test check setup setup-dev native-test sanitize clean

demo: setup
	$(BIN)/grunlock demo

# The tests of a file stay together, long ones first. A process for each processor, a thread for each process.
TEST_PROCESSES ?= auto

test: setup-dev check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --maxprocesses 8 \
	  --dist loadfile --no-loadscope-reorder

check: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The kernel library in a build of its own, with its C++ tests; plain, then under sanitizers.
native-test:
	scripts/native_tests.sh

sanitize:
	scripts/sanitize.sh

# On all processors; pip uses one. Templates among the packages that are no Python are passed over, as pip does.
COMPILE = $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true

setup: $(INSTALLED)

setup-dev: $(LOCKED_DEV) $(INSTALLED)

# torch's own index has the small CPU build; elsewhere `torch==2.13.0` may bring CUDA packages along.
$(LOCKED): requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --requirement requirements.lock
	$(COMPILE)
	touch $@

$(LOCKED_DEV): requirements-dev.lock $(LOCKED)
	$(BIN)/python -m pip install --quiet --no-compile --requirement requirements-dev.lock
	$(COMPILE)
	touch $@

# Compiles what has changed in native/ and puts the library beside the sources in src/. GRUNLOCK_NATIVE=off leaves it
# out, an older one too.
$(INSTALLED): $(LOCKED) pyproject.toml $(shell find native)
	$(if $(GRUNLOCK_NATIVE),rm -f $(LIBRARY).so $(LIBRARY).dylib)
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis $(LIBRARY).so $(LIBRARY).dylib
