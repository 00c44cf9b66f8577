"""Bad input: each is refused in words, with exit code 1, and costs nothing already written."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import colour_rows
from tests.workflows.conftest import CommandLine, small

ROWS = colour_rows(45)
TABLE = "label,text\n" + "".join(f"{label},{text}\n" for label, text in ROWS)
MEGABYTES = "red " * 2_500_000  # ten of them
GB18030 = ("label,text\n" + "好评,味道非常好吃\n差评,送餐实在太慢\n" * 20).encode("gb18030")


@pytest.fixture
def refused(grunlock: CommandLine, tmp_path: Path) -> Callable[..., str]:
    """Train on a file and return the message; the refusal must leave no half-made run behind."""

    def run(content: str | bytes, *settings: str, name: str = "data.csv") -> str:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        done = grunlock("train", tmp_path / name, "-o", tmp_path / "run", *small(*settings))
        assert done.code == 1, done.out
        assert "Traceback" not in done.err
        assert not (tmp_path / "run").exists()
        return done.err

    return run


# ---- files that cannot be read ---------------------------------------------------------------------


def test_exit_code_and_message_of_the_real_command(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from grunlock.cli.main import main; main()"]
    arguments = ["train", str(tmp_path / "none.csv"), "-o", str(tmp_path / "run")]
    done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"There is no such file.\n  where:    {tmp_path}/none.csv\n"
    done = subprocess.run([*command, "train", "--nonsense"], check=False, capture_output=True, text=True)
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("content", "got"), [("", ""), ("label,text\n", "a header (label, text) and no row")]
)
def test_empty_file(content: str, got: str, refused: Callable[..., str]) -> None:
    message = refused(content)
    assert "The file is empty." in message
    assert "data.csv" in message
    assert got in message


def test_missing_column(refused: Callable[..., str]) -> None:
    message = refused(TABLE, "data.text_column=texd")
    assert "There is no such text column." in message
    assert "got:      texd" in message
    assert "expected: one of: label, text" in message
    assert "cure:     --set data.text_column=text" in message


def test_ambiguous_columns_and_the_cure(
    refused: Callable[..., str], grunlock: CommandLine, tmp_path: Path
) -> None:
    table = "title,content,label\n" + "".join(
        f"t{i},{text},{label}\n" for i, (label, text) in enumerate(ROWS)
    )
    message = refused(table)
    assert "not clear which column holds the texts" in message
    assert "candidates: " in message
    assert "--set data.text_column=... --set data.label_column=..." in message
    cure = ["--set", "data.text_column=content"]
    data, run = tmp_path / "data.csv", tmp_path / "run"
    assert grunlock("train", data, "-o", run, *small(), *cure).code == 0
    assert "not clear" in grunlock("evaluate", run, data).err
    for command in ("evaluate", "predict"):
        assert grunlock(command, run, data, *cure).code == 0
        assert grunlock(command, run, data, "--text-column", "content").code == 0


def test_invalid_utf8(refused: Callable[..., str]) -> None:
    message = refused(TABLE.encode() + b"red,caf\xe9 noir\n")
    assert "The file is not valid UTF-8." in message
    assert f"line {len(ROWS) + 2}, byte" in message
    assert "bytes e9 20" in message
    assert "--set data.encoding=..." in message


def test_mixed_encodings(refused: Callable[..., str]) -> None:
    mixed = "label,text\nred,很好\n".encode() + "blue,café\n".encode("latin-1") + "red,不好\n".encode()
    message = refused(mixed)
    assert "The file mixes encodings." in message
    assert "line 2 is UTF-8, line 3 is not" in message
    assert "convert the odd lines" in message


def test_gb18030_is_offered_and_the_offer_holds(
    refused: Callable[..., str], grunlock: CommandLine, tmp_path: Path
) -> None:
    message = refused(GB18030)
    assert "looks like GB18030: --set data.encoding=gb18030" in message
    run, cure = tmp_path / "run", ["--set", "data.encoding=gb18030"]
    assert grunlock("train", tmp_path / "data.csv", "-o", run, *small(), *cure).code == 0
    (tmp_path / "utf8.csv").write_bytes(GB18030.decode("gb18030").encode())
    for command in ("evaluate", "predict"):
        assert "--set data.encoding=gb18030" in grunlock(command, run, tmp_path / "data.csv").err
        gb18030 = grunlock(command, run, tmp_path / "data.csv", *cure)
        assert gb18030.code == 0
        # GB18030 decodes nearly anything: had the model's own encoding been used, this would be nonsense
        assert grunlock(command, run, tmp_path / "utf8.csv").out == gb18030.out


def test_a_model_of_utf8_reads_gb18030_as_offered(grunlock: CommandLine, model: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_bytes(GB18030)
    assert "--set data.encoding=gb18030" in grunlock("predict", model, tmp_path / "new.csv").err
    done = grunlock("predict", model, tmp_path / "new.csv", "--set", "data.encoding=gb18030")
    assert done.code == 0
    assert "味道非常好吃" in done.out


# ---- rows that cannot be learned from --------------------------------------------------------------


def test_one_class_only(refused: Callable[..., str]) -> None:
    message = refused("label,text\n" + "".join(f"red,{text}\n" for _, text in ROWS))
    assert "All examples have the same label." in message
    assert "only 'red'" in message
    assert "at least two labels" in message
    assert "data.label_column" in message


def test_a_label_only_in_test(grunlock: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text(TABLE)
    (tmp_path / "data" / "test.csv").write_text("label,text\nred,a red house\npink,a pink house\n")
    run = tmp_path / "run"
    done = grunlock("train", tmp_path / "data", "-o", run, *small())
    assert done.code == 1
    assert "The test split has labels that the training split lacks." in done.err
    assert "test.csv" in done.err
    assert "pink (1 row)" in done.err
    assert "--set data.unseen_labels=keep" in done.err
    done = grunlock("train", tmp_path / "data", "-o", run, *small("data.unseen_labels=keep"))
    assert done.code == 0, done.err
    result = json.loads(grunlock("evaluate", run, "--json").out)
    pink = next(row for row in result["classes"] if row["label"] == "pink")
    assert (result["num_examples"], pink["support"], pink["recall"]) == (2, 1, 0.0)
    assert result["accuracy"] <= 0.5
    balanced = small("data.unseen_labels=keep", "loss.class_weights=balanced")
    done = grunlock("train", tmp_path / "data", "-o", tmp_path / "balanced", *balanced)
    assert done.code == 1
    assert "no balanced weight" in done.err


def test_empty_texts_are_refused_dropped_or_kept(
    refused: Callable[..., str], grunlock: CommandLine, tmp_path: Path
) -> None:
    message = refused(TABLE + 'red," "\nblue,\n')
    assert "2 texts are empty." in message
    assert "data.csv, row 46; " in message
    assert "--set data.empty_texts=drop, or keep" in message
    data = tmp_path / "data.csv"
    for choice, examples in (("drop", 45), ("keep", 47)):
        run = tmp_path / choice
        assert grunlock("train", data, "-o", run, *small(f"data.empty_texts={choice}")).code == 0
        assert json.loads(grunlock("evaluate", run, data, "--json").out)["num_examples"] == examples
    assert len(grunlock("predict", tmp_path / "keep", data).out.splitlines()) == 47
    done = grunlock("predict", tmp_path / "drop", data)  # one prediction per text, or none
    assert done.code == 1
    assert "data.csv, row 46" in done.err


def test_an_empty_text_is_not_predicted(grunlock: CommandLine, model: Path, tmp_path: Path) -> None:
    data = tmp_path / "new.csv"
    data.write_text("label,text\n" + "red,a red house\n" * 1500 + "blue,  \n")
    (tmp_path / "out.csv").write_text("older predictions")
    for arguments in (["predict", model, data, "-o", tmp_path / "out.csv"], ["evaluate", model, data]):
        done = grunlock(*arguments)
        assert done.code == 1
        assert "A text is empty" in done.err
        assert "new.csv, row 1501" in done.err
        assert "data.empty_texts=keep" in done.err
    assert (tmp_path / "out.csv").read_text() == "older predictions"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv", "out.csv"]
    assert "texts are empty" in grunlock("predict", model, "--text", " ").err


def test_ten_megabytes_in_one_text(
    refused: Callable[..., str], grunlock: CommandLine, model: Path, tmp_path: Path
) -> None:
    messages = [refused(TABLE + f"red,{MEGABYTES}\n")]
    for command in ("evaluate", "predict"):
        done = grunlock(command, model, tmp_path / "data.csv")
        assert done.code == 1
        messages.append(done.err)
    for message in messages:
        assert "A text is too long." in message
        assert "data.csv, row 46" in message
        assert "10,000,000 bytes" in message
        assert "at most 1,000,000 (data.max_text_bytes)" in message
        assert "--set data.max_text_bytes=10000000" in message
    cure = ["--set", "data.max_text_bytes=10000000"]
    assert grunlock("evaluate", model, tmp_path / "data.csv", *cure).code == 0


def test_an_unknown_label_in_evaluation(grunlock: CommandLine, model: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("label,text\nred,a red house\ngren,a green house\n")
    done = grunlock("evaluate", model, tmp_path / "new.csv")
    assert done.code == 1
    for part in (
        "unknown to the model",
        "new.csv, row 2",
        "'gren'",
        "blue, green, red",
        "did you mean 'green'?",
    ):
        assert part in done.err


# ---- recipes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("encoder.hiden_size=3", ("Unknown key.", "encoder.hiden_size", "did you mean encoder.hidden_size")),
        ("optim.lr", ("no key or no value", "got:      optim.lr", "--set optim.lr=2e-3")),
        ("=3", ("no key or no value",)),
        ("optim.lr=fast", ("Wrong value.", "optim.lr", "'fast'", "a valid number")),
        ("optim.kind=adamx", ("Unknown kind.", "optim.kind", 'did you mean "adam')),
        ("optim.lr={low=1e-4, high=1e-2}", ("search space", "optim.lr", "`grunlock tune`")),
    ],
)
def test_settings_that_make_no_recipe(
    setting: str, parts: tuple[str, ...], refused: Callable[..., str]
) -> None:
    message = refused(TABLE, setting)
    for part in parts:
        assert part in message


def test_recipes_that_are_none(grunlock: CommandLine, tmp_path: Path) -> None:
    done = grunlock("recipe", "defalt")
    assert done.code == 1
    assert 'did you mean "default"?' in done.err
    (tmp_path / "space.toml").write_text("[optim]\nlr = {low = 1e-4, high = 1e-2, log = true}\n")
    (tmp_path / "data.csv").write_text(TABLE)
    done = grunlock("train", tmp_path / "data.csv", "-r", tmp_path / "space.toml", "-o", tmp_path / "run")
    assert done.code == 1
    assert "search space" in done.err
    assert "`grunlock tune` searches ranges" in done.err
    (tmp_path / "bad.toml").write_text("[optim\n")
    assert "not valid TOML" in grunlock("recipe", tmp_path / "bad.toml").err


def test_a_start_that_cannot_be_made_leaves_no_run(refused: Callable[..., str], tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("red 1 2 3\ngreen 4 5 6\n")
    message = refused(TABLE, f"embedding.vectors={vectors}", "embedding.size=4")
    assert "another width" in message
    assert "--set embedding.size=3" in message
    message = refused(TABLE, "loss.class_weights={rot=2.0}")
    assert "loss.class_weights.rot" in message
    assert "No such label" in message


# ---- folders ---------------------------------------------------------------------------------------


def test_a_folder_in_use_is_left_alone(grunlock: CommandLine, colours_csv: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "thesis.txt").write_text("three years")
    for extra, words in (([], "The run folder is not empty."), (["--overwrite"], "only replaces runs")):
        done = grunlock("train", colours_csv, "-o", run, *small(), *extra)
        assert done.code == 1
        assert words in done.err
        assert str(run) in done.err
        assert "-o" in done.err
    assert [path.name for path in run.iterdir()] == ["thesis.txt"]


def test_a_folder_that_cannot_be_made(grunlock: CommandLine, colours_csv: Path) -> None:
    done = grunlock("train", colours_csv, "-o", colours_csv / "run", *small())
    assert done.code == 1
    assert "Not a directory" in done.err
    assert "write elsewhere with -o" in done.err


def test_a_failed_overwrite_gives_the_old_run_back(grunlock: CommandLine, tmp_path: Path) -> None:
    data, run = tmp_path / "data.csv", tmp_path / "run"
    data.write_text(TABLE)
    assert grunlock("train", data, "-o", run, *small()).code == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    data.write_text("label,text\n")
    assert "The file is empty." in grunlock("train", data, "-o", run, "--overwrite", *small()).err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    data.write_text(TABLE)
    assert grunlock("train", data, "-o", run, "--overwrite", *small("seed=5")).code == 0
    assert (run / "model.grunlock").read_bytes() != before[run / "model.grunlock"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "run"]


# ---- models ----------------------------------------------------------------------------------------


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    place = content.index(b"weights.safetensors") + 400
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def foreign(content: bytes) -> bytes:
    return b"PK or not PK"


@pytest.mark.parametrize(
    ("damage", "words"),
    [(truncated, "damaged"), (flipped, "damaged or not a model"), (foreign, "not a model")],
)
def test_damaged_models_are_not_used(
    damage: Callable[[bytes], bytes], words: str, grunlock: CommandLine, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.grunlock"
    path.write_bytes(damage((model / "model.grunlock").read_bytes()))
    for arguments in (["predict", path, "-t", "red"], ["evaluate", path, path]):
        done = grunlock(*arguments)
        assert done.code == 1
        assert words in done.err
        assert str(path) in done.err
        assert "copy it again" in done.err


def test_a_tampered_model_is_not_used(grunlock: CommandLine, model: Path, tmp_path: Path) -> None:
    """A zip that is whole, its checksums right, with one label renamed."""
    path = tmp_path / "model.grunlock"
    with zipfile.ZipFile(model / "model.grunlock") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b'"red"', b'"RED"') if name == "labels.json" else content)
    done = grunlock("predict", path, "-t", "red")
    assert done.code == 1
    assert "altered after it was written" in done.err
    assert "labels.json" in done.err
