"""The C sources compile without a warning and need next to no library; other processors answer the same."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from grunlock.artifact import Artifact
from grunlock.export.c import CExport
from grunlock.export.c.constants import c_string
from tests.conftest import one_in
from tests.parity.c_models import (
    CONTEXT,
    exported,
    series_artifact,
    some_series,
    some_texts,
    text_artifact,
)

STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
NEEDED = {"memcpy", "memset", "memmove"}  # which a compiler may call anyway
BOARD = Path(__file__).with_name("cortex_m")
CORTEX_M4 = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
MOST_CODE = 8000  # bytes, beside the arrays
CORTEX_M0 = ["-mcpu=cortex-m0", "-mthumb"]
QEMU_BOARD = ["qemu-system-arm", "-machine", "mps2-an386", "-display", "none", "-monitor", "none",
              "-serial", "none", "-chardev", "stdio,id=debugger",
              "-semihosting-config", "enable=on,target=native,chardev=debugger", "-kernel"]  # fmt: skip

STEM = ["stem.widths=[4, 3]"]
WIDE = ["wide.characters=true"]
MODELS = {
    "words, wide": lambda: text_artifact(WIDE),
    "words, one direction": lambda: text_artifact(
        [
            "wide.characters=true",
            "wide.training=together",
            "encoder.bidirectional=false",
            "encoder.norm=layer",
        ]
    ),
    "words with n-grams, cut": lambda: text_artifact(
        ["embedding.ngrams.buckets=64", "text.max_tokens=8", "text.cut=middle", "pooling.inputs=true"]
    ),
    "characters in context, layers": lambda: text_artifact(
        [*CONTEXT, "encoder.num_layers=3", "data.empty_texts=keep"]
    ),
    "characters in context, cut": lambda: text_artifact([*CONTEXT, "text.max_tokens=8", "text.cut=middle"]),
    "bag": lambda: text_artifact(["encoder.kind=bag", 'pooling.parts=["mean"]']),
    "lstm": lambda: text_artifact(["encoder.kind=lstm", 'pooling.parts=["last"]']),
    "reset before": lambda: text_artifact(["encoder.reset_after=false", "text.lowercase=false"]),
    "stem": lambda: text_artifact([*STEM, "stem.norm=layer", *WIDE]),
    "series, stem": lambda: series_artifact(["stem.widths=[8, 5, 3]", "encoder.bidirectional=false"]),
    "series": lambda: series_artifact(["series.changes=true", "series.size=4"]),
    "series alone": lambda: series_artifact(["series.each_alone=true", "encoder.bidirectional=false"]),
}


def present(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def compile_sources(export: CExport, compiler: list[str], *flags: str) -> list[Path]:
    """Object files of all sources, main.c left out."""
    objects = []
    for name in export.sources:
        target = export.folder / f"{name}.o"
        command = [*compiler, *STRICT, *flags, "-c", str(export.folder / name), "-o", str(target)]
        subprocess.run(command, check=True)
        objects.append(target)
    return objects


def outside_symbols(objects: list[Path], nm: str = "nm") -> set[str]:
    """What the objects together ask others for."""
    asked, offered = set(), set()
    for path in objects:
        listing = subprocess.run([nm, str(path)], check=True, capture_output=True, text=True).stdout
        for line in listing.splitlines():
            *_, kind, name = line.split()
            (asked if kind == "U" else offered).add(name)
    return asked - offered


BUILDS = {"gcc": (False, True), "clang": (True,)}  # whether int8


@pytest.mark.parametrize("model", one_in(4, MODELS))
@pytest.mark.parametrize("compiler", BUILDS)
def test_no_warning_and_no_library(compiler: str, model: str, tmp_path: Path) -> None:
    present(compiler, "nm")
    for int8 in BUILDS[compiler]:
        export = exported(MODELS[model](), tmp_path, int8=int8)
        assert outside_symbols(compile_sources(export, [compiler], "-O2")) <= NEEDED
        subprocess.run([compiler, *STRICT, "-c", tmp_path / "main.c", "-o", tmp_path / "main.o"], check=True)


def test_ascii_alone_compiles_too(tmp_path: Path) -> None:
    present("cc")
    compile_sources(exported(MODELS["words, wide"](), tmp_path, unicode="ascii"), ["cc"], "-O2")


@pytest.mark.parametrize("model", ["words with n-grams, cut", "characters in context, layers", "series"])
def test_the_compiler_may_be_given_another_length(model: str, tmp_path: Path) -> None:
    """The header checks that the state then has the size that it states."""
    present("cc")
    export = exported(MODELS[model](), tmp_path, int8=True)
    compile_sources(export, ["cc"], "-O1", "-DGRUNLOCK_MAX_STEPS=20")
    with pytest.raises(subprocess.CalledProcessError):
        compile_sources(export, ["cc"], "-DGRUNLOCK_MAX_STEPS=21")  # is no multiple of 4


def test_arithmetic_that_would_go_wrong_is_refused(tmp_path: Path) -> None:
    present("cc")
    export = exported(MODELS["series"](), tmp_path)
    with pytest.raises(subprocess.CalledProcessError):
        compile_sources(export, ["cc"], "-ffast-math")


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_the_stated_size_is_that_of_the_objects(int8: bool, tmp_path: Path) -> None:
    """But for names of labels and pointers to arrays."""
    present("cc", "size")
    export = exported(text_artifact(WIDE), tmp_path, int8=int8)
    objects = [
        path for path in compile_sources(export, ["cc"], "-O2") if not path.name.startswith("grunlock")
    ]
    listing = subprocess.run(["size", "-A", *objects], check=True, capture_output=True, text=True).stdout
    sections = [line.split() for line in listing.splitlines() if line.startswith((".rodata", ".data.rel.ro"))]
    stored = sum(int(size) for _, size, _ in sections)
    assert export.const_bytes <= stored <= export.const_bytes + 1000


def test_the_makefile_builds_the_program(tmp_path: Path) -> None:
    present("make", "cc", "ar")
    artifact = text_artifact(WIDE)
    exported(artifact, tmp_path)
    subprocess.run(["make", "-C", str(tmp_path), "FLAGS=-O1 -Werror", "classify", "shared"], check=True)
    check_program([str(tmp_path / "classify")], artifact)


def test_the_program_reads_series(tmp_path: Path) -> None:
    present("make", "cc", "ar")
    artifact = series_artifact(["series.changes=true"])
    exported(artifact, tmp_path)
    subprocess.run(["make", "-C", str(tmp_path), "FLAGS=-O1 -Werror", "classify"], check=True)
    series = some_series()[:5]
    lines = [" ".join(f"{value:.9g}" for value in steps.ravel()) for steps in series]
    check_answers(artifact, series, asked([str(tmp_path / "classify")], "\n".join(lines)))


def test_the_header_is_for_cpp_too(tmp_path: Path) -> None:
    present("g++")
    exported(text_artifact(WIDE), tmp_path)
    program = tmp_path / "user.cpp"
    main = "int main() { grunlock_init(&s); return 0; }"
    program.write_text(f'#include "grunlock_model.h"\nstatic grunlock_state s;\n{main}\n')
    strict = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    subprocess.run(["g++", *strict, program], check=True)


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("architecture", ["aarch64", "riscv64"])
def test_other_processors_answer_the_same(architecture: str, int8: bool, tmp_path: Path) -> None:
    check_processor(architecture, text_artifact(WIDE), tmp_path, int8=int8)


@pytest.mark.parametrize(("architecture", "int8"), [("aarch64", True), ("riscv64", False)])
def test_other_processors_have_a_stem(architecture: str, int8: bool, tmp_path: Path) -> None:
    check_processor(architecture, text_artifact(STEM), tmp_path, int8=int8)


def check_processor(architecture: str, artifact: Artifact, tmp_path: Path, *, int8: bool) -> None:
    compiler, emulator = f"{architecture}-linux-gnu-gcc", f"qemu-{architecture}"
    present(compiler, emulator)
    export = exported(artifact, tmp_path, int8=int8)
    objects = compile_sources(export, [compiler], "-O3")
    program = tmp_path / "classify"
    command = [compiler, *STRICT, "-O3", "-static", tmp_path / "main.c", *objects, "-o", program]
    subprocess.run(command, check=True)
    check_program([emulator, str(program)], artifact, tolerance=0.05 if int8 else 1e-5)


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("flags", [CORTEX_M4, CORTEX_M0], ids=["cortex-m4", "cortex-m0"])
def test_a_board_without_system_answers_the_same(flags: list[str], int8: bool, tmp_path: Path) -> None:
    check_board(flags, text_artifact(WIDE), tmp_path, int8=int8)


@pytest.mark.parametrize(("flags", "int8"), [(CORTEX_M4, True), (CORTEX_M0, False)], ids=["m4", "m0"])
def test_a_board_without_system_has_a_stem(flags: list[str], int8: bool, tmp_path: Path) -> None:
    check_board(flags, text_artifact([*STEM, "encoder.bidirectional=false"]), tmp_path, int8=int8)


def check_board(flags: list[str], artifact: Artifact, tmp_path: Path, *, int8: bool) -> None:
    present("arm-none-eabi-gcc", "arm-none-eabi-nm", "qemu-system-arm")
    export = exported(artifact, tmp_path, int8=int8, max_steps=400)
    objects = compile_sources(export, ["arm-none-eabi-gcc"], "-Os", *flags)
    outside = outside_symbols(objects, "arm-none-eabi-nm") - NEEDED
    assert all(name.startswith("__aeabi_") for name in outside)  # the compiler's own arithmetic
    assert not any(
        name.startswith(("__aeabi_d", "__aeabi_f2d", "__aeabi_i2d")) for name in outside
    )  # no double
    assert code_bytes(objects) < MOST_CODE
    texts = some_texts()
    strings = ", ".join(map(c_string, texts))
    (tmp_path / "texts.h").write_text(f"static const char *const texts[] = {{{strings}}};\n")
    link = ["-nostartfiles", "-T", BOARD / "memory.ld", "-lc", "-lgcc", "-o", tmp_path / "board.elf"]
    sources = [f"-I{tmp_path}", BOARD / "board.c", *objects]
    command = ["arm-none-eabi-gcc", "-std=c99", "-Os", *flags, *sources, *link]
    subprocess.run(command, check=True)
    result = subprocess.run(
        [*QEMU_BOARD, str(tmp_path / "board.elf")], check=True, capture_output=True, text=True, timeout=300
    )
    bits = np.array([int(line, 16) for line in result.stdout.split()], np.uint32)
    found = bits.view(np.float32).reshape(-1, len(artifact.labels))
    expected = artifact.classifier().predict_proba(texts)
    np.testing.assert_allclose(found, expected, atol=0.05 if int8 else 1e-5, rtol=0)


def code_bytes(objects: list[Path]) -> int:
    sources = [path for path in objects if path.name.startswith("grunlock")]
    listing = subprocess.run(
        ["arm-none-eabi-size", *sources], check=True, capture_output=True, text=True
    ).stdout
    return sum(int(line.split()[0]) for line in listing.splitlines()[1:])


def asked(program: list[str], lines: str) -> list[dict]:
    result = subprocess.run(program, input=lines.encode(), check=True, capture_output=True, timeout=300)
    return [json.loads(line) for line in result.stdout.decode().splitlines()]


def check_program(program: list[str], artifact: Artifact, tolerance: float = 1e-5) -> None:
    texts = some_texts()
    *found, refused = asked(program, "\n".join([*texts, ""]) + "\n")
    assert refused == {"error": "empty"}
    check_answers(artifact, texts, found, tolerance)


def check_answers(artifact: Artifact, inputs: list, found: list[dict], tolerance: float = 1e-5) -> None:
    classifier = artifact.classifier()
    probabilities = np.array([answer["probabilities"] for answer in found])
    np.testing.assert_allclose(probabilities, classifier.predict_proba(inputs), atol=tolerance, rtol=0)
    most = probabilities.argmax(axis=1)
    assert [answer["label"] for answer in found] == [artifact.labels[k] for k in most]
