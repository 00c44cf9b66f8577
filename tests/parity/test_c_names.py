"""Several exported models in one program: names with a prefix of their own."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grunlock.artifact import Artifact
from grunlock.errors import ExportError
from grunlock.export.c import CExport, CModel, constants
from grunlock.export.c.names import renamed
from tests.parity.c_models import QUICK, exported, series_artifact, some_series, some_texts, text_artifact

STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
DEFINING = set("TDRBC")  # kinds of symbols that others may see

PROGRAM = """\
#include <stdio.h>
#include <string.h>

#include "{texts}/words_model.h"
#include "{series}/gesture_model.h"

static words_state words;
static gesture_state gesture;

int main(void) {{
  static const float steps[][GESTURE_NUM_CHANNELS] = {{ {steps} }};
  float of_text[WORDS_NUM_CLASSES], of_series[GESTURE_NUM_CLASSES];
  size_t i;
  words_init(&words);
  gesture_init(&gesture);
  words_step_text(&words, "the cat ", 8);
  for (i = 0; i < sizeof steps / sizeof steps[0]; ++i) {{
    gesture_step_values(&gesture, steps[i]);
  }}
  words_step_text(&words, "sat", 3);
  if (words_finish(&words, of_text) != WORDS_OK || gesture_finish(&gesture, of_series) != GESTURE_OK) {{
    return 1;
  }}
  for (i = 0; i < WORDS_NUM_CLASSES; ++i) {{
    printf("%.9g\\n", (double)of_text[i]);
  }}
  for (i = 0; i < GESTURE_NUM_CLASSES; ++i) {{
    printf("%.9g\\n", (double)of_series[i]);
  }}
  return 0;
}}
"""


@pytest.fixture(scope="module")
def texts() -> Artifact:
    """A label with our prefix in it must come through as it is."""
    artifact = text_artifact(["wide.characters=true", "stem.widths=[3]"])
    return replace(artifact, labels=('a "grunlock_model.h"', "grunlock_yes", "GRUNLOCK_no"))


@pytest.fixture(scope="module")
def series() -> Artifact:
    return series_artifact(["stem.widths=[8, 5, 3]", "encoder.bidirectional=false"])


def objects(export: CExport, folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    made = [folder / f"{name}.o" for name in export.sources]
    for name, path in zip(export.sources, made, strict=True):
        subprocess.run(["cc", *STRICT, "-O1", "-c", export.folder / name, "-o", path], check=True)
    return made


@pytest.mark.parametrize("together", [False, True], ids=["two folders", "one folder"])
def test_two_models_in_one_program(together: bool, texts: Artifact, series: Artifact, tmp_path: Path) -> None:
    """Of long arrays with files of their own too."""
    places = (tmp_path / "a", tmp_path / ("a" if together else "b"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "LONG_ARRAY", 20)
        words = exported(texts, places[0], prefix="words")
        gesture = exported(series, places[1], prefix="gesture", int8=True)
    values = some_series()[4][:20].astype(np.float32)
    steps = ", ".join(
        "{" + ", ".join("NAN_" if np.isnan(v) else f"{float(v)!r}f" for v in step) + "}" for step in values
    ).replace("NAN_", "0.0f / 0.0f")
    program = tmp_path / "main.c"
    program.write_text(PROGRAM.format(texts=places[0], series=places[1], steps=steps))
    built = [*objects(words, tmp_path / "of words"), *objects(gesture, tmp_path / "of series")]
    subprocess.run(["cc", "-std=c99", "-O1", program, *built, "-o", tmp_path / "both"], check=True)
    answer = subprocess.run([tmp_path / "both"], check=True, capture_output=True, text=True).stdout
    found = np.array([float(line) for line in answer.split()]).reshape(2, 3)
    np.testing.assert_allclose(found[0], texts.classifier().predict_proba(["the cat sat"])[0], atol=1e-5)
    np.testing.assert_allclose(found[1], CModel(gesture, QUICK).probabilities([values])[0], atol=1e-6)


def test_every_symbol_has_the_prefix(texts: Artifact, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "LONG_ARRAY", 20)
        for prefix in ("grunlock", "my_2nd"):
            export = exported(texts, tmp_path / prefix, prefix=prefix)
            listing = subprocess.run(
                ["nm", "-P", *objects(export, tmp_path / "o")], check=True, capture_output=True, text=True
            ).stdout
            symbols = [line.split()[:2] for line in listing.splitlines() if len(line.split()) > 2]
            shown = {name for name, kind in symbols if kind in DEFINING}
            assert shown
            assert all(name.startswith(f"{prefix}_") for name in shown)


def test_a_renamed_model_answers_the_same(texts: Artifact, tmp_path: Path) -> None:
    model = CModel(exported(texts, tmp_path, prefix="other"), QUICK)
    expected = texts.classifier().predict_proba(some_texts())
    np.testing.assert_allclose(model.probabilities(some_texts()), expected, atol=1e-5)
    subprocess.run(
        ["make", "-C", tmp_path, "FLAGS=-O1 -Werror", "classify", "shared"], check=True, capture_output=True
    )
    done = subprocess.run([tmp_path / "classify"], input=b"the cat\n", check=True, capture_output=True)
    assert any(
        f'"label": "{label}"'.encode() in done.stdout for label in ("grunlock_yes", "GRUNLOCK_no")
    ) or (b'a \\"grunlock_model.h\\"' in done.stdout)
    page = (tmp_path / "README.md").read_text()
    assert "other_finish" in page
    assert "OTHER_OK" in page
    left = [path.name for path in tmp_path.glob("*.[ch]") if _names_ours(path.read_text())]
    assert left == []
    assert not list(tmp_path.glob("*grunlock*"))


def _names_ours(text: str) -> bool:
    for label in ('a \\"grunlock_model.h\\"', "a \\042grunlock_model.h\\042", "grunlock_yes", "GRUNLOCK_no"):
        text = text.replace(label, "")
    return re.search("grunlock_", text, re.IGNORECASE) is not None


@pytest.mark.parametrize("prefix", ["", "2nd", "Mine", "a__b", "a_", "_a", "a-b", "ä", "a" * 32])
def test_what_c_names_cannot_begin_with(prefix: str, series: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot begin with this"):
        exported(series, tmp_path / "out", prefix=prefix)
    assert not (tmp_path / "out").exists()


def test_a_prefix_that_makes_a_name_twice(series: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="such names already") as caught:
        exported(series, tmp_path / "out", prefix="state")
    assert "state_operand" in str(caught.value.expected)
    assert not (tmp_path / "out").exists()


def test_strings_stay_and_includes_do_not() -> None:
    text = '#include "grunlock_a.h"\nconst char *grunlock_x = "a \\"grunlock_b\\" c"; /* model_weights.h */'
    wanted = '#include "z_a.h"\nconst char *z_x = "a \\"grunlock_b\\" c"; /* z_model_weights.h */'
    assert renamed(text, "z") == wanted
    assert renamed(text, "grunlock") == text
