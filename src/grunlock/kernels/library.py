"""The compiled kernels: find the library, load it once, choose an instruction set and a number of threads.

Two environment variables are read when a kernel is used for the first time:

    GRUNLOCK_KERNEL   `reference` for no compiled kernel, or the name of an instruction set; default: the
                      most capable one that the library and this CPU have
    GRUNLOCK_THREADS  threads of one call; default: OMP_NUM_THREADS, or the processors this process may use

The calls that compute are in native.py. This module knows neither numpy nor torch.
"""

import ctypes
import difflib
import os
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from grunlock.errors import KernelError
from grunlock.kernels.processors import Processors, usable_processors

REFERENCE = "reference"
KERNEL_VARIABLE = "GRUNLOCK_KERNEL"
THREADS_VARIABLE = "GRUNLOCK_THREADS"
OPENMP_VARIABLE = "OMP_NUM_THREADS"
ABI_VERSION = 5  # GRUNLOCK_ABI_VERSION in native/include/grunlock.h
MAX_THREADS = 1024
LIBRARY_PATH = Path(__file__).with_name(f"libgrunlock_native.{'dylib' if sys.platform == 'darwin' else 'so'}")
REINSTALL = "install a C++ compiler (Debian: apt install g++), then install grunlock again"

_PROTOTYPES = {
    "grunlock_compiler": (ctypes.c_char_p, ()),
    "grunlock_isa_count": (ctypes.c_int32, ()),
    "grunlock_isa_name": (ctypes.c_char_p, (ctypes.c_int32,)),
    "grunlock_isa_compiled": (ctypes.c_int32, (ctypes.c_int32,)),
    "grunlock_isa_supported": (ctypes.c_int32, (ctypes.c_int32,)),
    "grunlock_select": (ctypes.c_int32, (ctypes.c_char_p,)),
    "grunlock_selected": (ctypes.c_char_p, ()),
    "grunlock_use_openmp": (None, (ctypes.c_void_p,) * 3),
    "grunlock_set_num_threads": (None, (ctypes.c_int32,)),
    "grunlock_num_threads": (ctypes.c_int32, ()),
}


class MissingKernelsWarning(UserWarning):
    """The package was installed without its compiled kernels; everything works, slowly."""


@dataclass(frozen=True)
class InstructionSet:
    """What the kernels can be compiled for, such as avx2."""

    name: str
    compiled: bool  # into this library
    supported: bool  # by this CPU and its operating system


@dataclass(frozen=True)
class NativeLibrary:
    """The loaded library. `handle` is for native.py, which declares the calls that compute."""

    handle: ctypes.CDLL
    path: Path
    compiler: str
    instruction_sets: tuple[InstructionSet, ...]

    @property
    def kernel(self) -> str:
        """Name of the instruction set in use."""
        return str(self.handle.grunlock_selected().decode())

    @property
    def num_threads(self) -> int:
        """Threads that one call may use, the calling one included."""
        return int(self.handle.grunlock_num_threads())

    def set_num_threads(self, count: int) -> None:
        """From the next call on. Results do not depend on it. Raises KernelError outside [1, MAX_THREADS]."""
        _check_threads(count, where="set_num_threads")
        self.handle.grunlock_set_num_threads(count)


@dataclass(frozen=True)
class KernelChoice:
    """What computes, and why. `library` is None for the reference path."""

    library: NativeLibrary | None
    why: str
    threads: Processors | None  # None: the reference path, whose libraries have settings of their own
    missing: bool = False  # the reference path for want of a library, not by wish


_lock = threading.Lock()
_choice: KernelChoice | None = None
_warned = False


def native_library() -> NativeLibrary | None:
    """The compiled kernels, or None if the reference path is to be used.

    Loaded and set up at the first call. Warns once if the package was installed without them. Raises
    KernelError for a GRUNLOCK_KERNEL or GRUNLOCK_THREADS that cannot be met, and for a library of another
    version.
    """
    choice = _choice or kernel_choice()
    if choice.missing:
        _warn_once()
    return choice.library


def kernel_choice() -> KernelChoice:
    """What native_library() uses, with the reasons; warns of nothing."""
    global _choice
    with _lock:
        if _choice is None:
            _choice = _choose(os.environ.get(KERNEL_VARIABLE) or None, KERNEL_VARIABLE)
        return _choice


def use_kernel(name: str | None) -> None:
    """Choose again for this process: a name as in GRUNLOCK_KERNEL, or None for what the environment says.

    Made for tests and benchmarks. Calls that already run are not changed. Raises KernelError.
    """
    global _choice
    with _lock:
        _choice = None if name is None else _choose(name, "use_kernel")
    kernel_choice()


def load_library(path: Path) -> NativeLibrary:
    """Load this file, choosing nothing. Raises KernelError if it is damaged or of another version."""
    try:
        handle = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelError(
            "The compiled kernels cannot be loaded.",
            where=path,
            got=error,
            cure=f"install grunlock again, or go without them: {KERNEL_VARIABLE}={REFERENCE}",
        ) from error
    version = handle.grunlock_abi_version() if hasattr(handle, "grunlock_abi_version") else None
    if version != ABI_VERSION:
        raise KernelError(
            "The compiled kernels are of another version than the package.",
            where=path,
            got=f"interface {version}",
            expected=f"interface {ABI_VERSION}",
            cure="install grunlock again; in a checkout: make setup",
        )
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(handle, name)
        function.restype, function.argtypes = result, arguments
    sets = tuple(
        InstructionSet(
            handle.grunlock_isa_name(i).decode(),
            bool(handle.grunlock_isa_compiled(i)),
            bool(handle.grunlock_isa_supported(i)),
        )
        for i in range(handle.grunlock_isa_count())
    )
    return NativeLibrary(handle, path, handle.grunlock_compiler().decode(), sets)


def _choose(name: str | None, asked_by: str) -> KernelChoice:
    if name == REFERENCE:
        return KernelChoice(None, f"forced by {asked_by}", None)
    if not LIBRARY_PATH.is_file():
        if name is not None:
            _refuse_without_library(name, asked_by)
        why = "the package was installed without its compiled kernels"
        return KernelChoice(None, why, None, missing=True)
    library = load_library(LIBRARY_PATH)
    usable = [s.name for s in library.instruction_sets if s.compiled and s.supported]
    if name is not None and name not in usable:
        _refuse(name, asked_by, library, usable)
    threads = _threads()
    library.handle.grunlock_select((name or usable[-1]).encode())
    library.handle.grunlock_set_num_threads(threads.count)
    best = "the most capable one that the library and this CPU have"
    return KernelChoice(library, best if name is None else f"forced by {asked_by}", threads)


def _threads() -> Processors:
    text = os.environ.get(THREADS_VARIABLE)
    if not text:
        return _openmp_threads() or usable_processors()
    count = int(text) if text.isascii() and text.isdigit() else None
    _check_threads(count, where=THREADS_VARIABLE, got=text)
    return Processors(int(text), f"set by {THREADS_VARIABLE}")


def _openmp_threads() -> Processors | None:
    """What keeps torch and numpy to fewer threads keeps the kernels to them, too."""
    # It may be a list, one number a nesting level; the outermost counts.
    outermost = os.environ.get(OPENMP_VARIABLE, "").split(",")[0].strip()
    known = outermost.isascii() and outermost.isdigit() and 1 <= int(outermost) <= MAX_THREADS
    return Processors(int(outermost), f"set by {OPENMP_VARIABLE}") if known else None


def _check_threads(count: int | None, *, where: str, got: object = None) -> None:
    if count is None or not 1 <= count <= MAX_THREADS:
        raise KernelError(
            "Not a number of threads.",
            where=where,
            got=count if got is None else got,
            expected=f"a whole number from 1 to {MAX_THREADS}",
        )


def _refuse_without_library(name: str, asked_by: str) -> NoReturn:
    raise KernelError(
        "A compiled kernel is asked for, and the package was installed without them.",
        where=asked_by,
        got=name,
        expected=f"{REFERENCE}, or not set",
        cure=REINSTALL,
    )


def _refuse(name: str, asked_by: str, library: NativeLibrary, usable: list[str]) -> NoReturn:
    known = {s.name: s for s in library.instruction_sets}
    if name not in known:
        near = difflib.get_close_matches(name, [REFERENCE, *known], n=1)
        raise KernelError(
            "Unknown kernel.",
            where=asked_by,
            got=name,
            expected=f"one of {', '.join([REFERENCE, *known])}",
            cure=f"did you mean {near[0]}?" if near else None,
        )
    lacks = "this CPU does not have it"
    if known[name].supported:
        lacks = f"{library.compiler} could not compile it"
    raise KernelError(
        f"The kernel {name} cannot be used here: {lacks}.",
        where=asked_by,
        got=name,
        expected=f"one of {', '.join([REFERENCE, *usable])}",
        cure="grunlock doctor --kernels shows what there is",
    )


def _warn_once() -> None:
    global _warned
    with _lock:
        if _warned:
            return
        _warned = True
    warnings.warn(
        "grunlock's compiled kernels are missing; the slow reference path is used. "
        f"To cure this, {REINSTALL}. To be silent about it, set {KERNEL_VARIABLE}={REFERENCE}.",
        MissingKernelsWarning,
        stacklevel=3,
    )
