"""Finding, loading and setting up the compiled kernels, and refusing what cannot be used."""

import ctypes.util
import os
import platform
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from grunlock.errors import KernelError
from grunlock.kernels import library
from grunlock.kernels.library import MissingKernelsWarning, kernel_choice, native_library, use_kernel
from grunlock.kernels.processors import cpu_quota, usable_processors

ROOT = Path(__file__).parents[2]
compiled = pytest.mark.skipif(not library.LIBRARY_PATH.is_file(), reason="installed without compiled kernels")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if no kernel had been used in this process; afterwards as the environment says."""
    for variable in (library.KERNEL_VARIABLE, library.THREADS_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(library, "_choice", None)
    monkeypatch.setattr(library, "_warned", False)
    yield
    monkeypatch.undo()
    use_kernel(None)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "LIBRARY_PATH", tmp_path / "libgrunlock_native.so")


def usable() -> list[str]:
    sets = library.load_library(library.LIBRARY_PATH).instruction_sets
    return [s.name for s in sets if s.compiled and s.supported]


def test_the_package_and_the_header_speak_of_one_interface() -> None:
    header = (ROOT / "native" / "include" / "grunlock.h").read_text()
    found = re.search(r"#define GRUNLOCK_ABI_VERSION (\d+)", header)
    assert found is not None
    assert int(found[1]) == library.ABI_VERSION


@compiled
def test_the_most_capable_usable_kernel_is_the_default() -> None:
    loaded = native_library()
    assert loaded is not None
    assert loaded.kernel == usable()[-1]
    asked = os.environ.get("OMP_NUM_THREADS")
    assert loaded.num_threads == (usable_processors().count if asked is None else int(asked))
    assert loaded is native_library()


@compiled
@pytest.mark.skipif(platform.machine() != "x86_64" or platform.system() != "Linux", reason="other flags")
def test_this_cpu_is_recognised() -> None:
    found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    assert found is not None
    flags = set(found[1].split())
    avx2 = {"avx2", "fma", "f16c"} <= flags
    avx512 = avx2 and {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags
    bf16 = avx512 and {"avx512_bf16", "avx512_vnni"} <= flags
    expected = {"baseline": True, "avx2": avx2, "avx512": avx512, "avx512_bf16": bf16, "neon": False}
    sets = library.load_library(library.LIBRARY_PATH).instruction_sets
    assert {s.name: s.supported for s in sets} == expected


@compiled
def test_every_usable_kernel_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in usable():
        monkeypatch.setenv("GRUNLOCK_KERNEL", name)
        use_kernel(None)
        assert kernel_choice().why == "forced by GRUNLOCK_KERNEL"
        loaded = native_library()
        assert loaded is not None
        assert loaded.kernel == name


@compiled
def test_a_kernel_can_be_chosen_again_in_a_process() -> None:
    use_kernel("reference")
    assert native_library() is None
    use_kernel(usable()[0])
    loaded = native_library()
    assert loaded is not None
    assert loaded.kernel == usable()[0]
    use_kernel(None)
    assert loaded.kernel == usable()[-1]


def test_reference_can_be_forced_and_is_silent(monkeypatch: pytest.MonkeyPatch, missing: None) -> None:
    monkeypatch.setenv("GRUNLOCK_KERNEL", "reference")
    assert native_library() is None


@compiled
def test_an_unknown_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRUNLOCK_KERNEL", "avx-512")
    with pytest.raises(KernelError, match="Unknown kernel") as refused:
        native_library()
    assert refused.value.where == "GRUNLOCK_KERNEL"
    assert refused.value.expected == "one of reference, baseline, avx2, avx512, avx512_bf16, neon"
    assert refused.value.cure == "did you mean avx512?"


@compiled
def test_a_kernel_of_another_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = "avx2" if "neon" in usable() else "neon"
    monkeypatch.setenv("GRUNLOCK_KERNEL", foreign)
    with pytest.raises(KernelError, match=f"{foreign} cannot be used here: this CPU") as refused:
        native_library()
    assert refused.value.expected == f"one of reference, {', '.join(usable())}"


@compiled
def test_a_kernel_this_build_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = library.load_library(library.LIBRARY_PATH)
    lacking = library.InstructionSet("avx512_bf16", compiled=False, supported=True)
    built = library.NativeLibrary(real.handle, real.path, "GNU 9.4.0", (*real.instruction_sets[:1], lacking))
    monkeypatch.setattr(library, "load_library", lambda path: built)
    with pytest.raises(KernelError, match=r"cannot be used here: GNU 9\.4\.0 could not compile it"):
        use_kernel("avx512_bf16")


@compiled
@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "1025", " 2"])
def test_threads_must_be_a_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GRUNLOCK_THREADS", text)
    with pytest.raises(KernelError, match="Not a number of threads") as refused:
        native_library()
    assert (refused.value.where, refused.value.got) == ("GRUNLOCK_THREADS", text)
    assert refused.value.expected == "a whole number from 1 to 1024"


@compiled
def test_threads_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRUNLOCK_THREADS", "3")
    loaded = native_library()
    assert loaded is not None
    assert loaded.num_threads == 3
    loaded.set_num_threads(1)
    assert loaded.num_threads == 1
    with pytest.raises(KernelError, match="Not a number of threads"):
        loaded.set_num_threads(0)


@compiled
@pytest.mark.parametrize(("text", "count"), [("5", 5), ("6,2", 6), ("0", None), ("many", None), ("-2", None)])
def test_threads_are_what_openmp_is_kept_to(
    monkeypatch: pytest.MonkeyPatch, text: str, count: int | None
) -> None:
    monkeypatch.delenv("GRUNLOCK_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    loaded = native_library()
    assert loaded is not None
    assert loaded.num_threads == (count or usable_processors().count)


@compiled
def test_many_threads_may_come_first() -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(native_library())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(each is found[0] is not None for each in found)


def test_missing_kernels_are_said_once(missing: None) -> None:
    with pytest.warns(MissingKernelsWarning, match=r"install a C\+\+ compiler .*, then install"):
        assert native_library() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native_library() is None
    assert kernel_choice().missing


def test_a_missing_kernel_cannot_be_forced(monkeypatch: pytest.MonkeyPatch, missing: None) -> None:
    monkeypatch.setenv("GRUNLOCK_KERNEL", "avx2")
    with pytest.raises(KernelError, match="the package was installed without them") as refused:
        native_library()
    assert refused.value.got == "avx2"
    assert refused.value.cure == library.REINSTALL


@compiled
def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "ABI_VERSION", 999)
    with pytest.raises(KernelError, match="of another version than the package") as refused:
        native_library()
    assert refused.value.expected == "interface 999"
    assert "make setup" in str(refused.value)


def test_another_library_is_refused() -> None:
    name = ctypes.util.find_library("m")
    if name is None:
        pytest.skip("no mathematics library to be found")
    with pytest.raises(KernelError, match="of another version") as refused:
        library.load_library(Path(name))
    assert refused.value.got == "interface None"


def test_a_damaged_library_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "libgrunlock_native.so"
    damaged.write_bytes(b"\x7fELF and then nothing")
    with pytest.raises(KernelError, match="cannot be loaded") as refused:
        library.load_library(damaged)
    assert refused.value.where == damaged
    assert "GRUNLOCK_KERNEL=reference" in str(refused.value)


def control_group(root: Path, membership: str, files: dict[str, str]) -> Path:
    for name, content in {"proc/self/cgroup": membership, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        (  # a group above has the smaller quota
            "0::/a/b\n",
            {"sys/fs/cgroup/a/cpu.max": "50000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "200000 100000\n"},
            0.5,
        ),
        ("0::/host/path\n", {"sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3.0),  # inside a container
        ("0::/../other\n", {"sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1.0),
        (
            "3:cpu,cpuacct:/x\n2:memory:/y\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            "3:cpu:/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            None,
        ),
    ],
)
def test_cpu_quotas(tmp_path: Path, membership: str, files: dict[str, str], quota: float | None) -> None:
    assert cpu_quota(control_group(tmp_path, membership, files)) == quota


def test_a_quota_limits_the_threads(tmp_path: Path) -> None:
    unlimited = usable_processors(tmp_path)
    assert unlimited.count >= 1
    assert unlimited.why == "CPUs this process may run on"
    root = control_group(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": "10000 100000\n"})
    limited = usable_processors(root)
    assert limited.count == 1
    if unlimited.count > 1:
        assert limited.why == "the control group's quota is 0.1 CPUs"
