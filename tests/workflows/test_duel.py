"""grunlock duel and ablate on trainings of a blink."""

import json
from pathlib import Path

import pytest

from grunlock.comparison.contenders import encoder_kinds, read_contender, with_baselines
from grunlock.comparison.linear import linear_baseline
from grunlock.comparison.tricks import one_in, one_out, tricks_between
from grunlock.errors import RecipeError, RunError
from grunlock.recipe import SearchSpace, read_recipe
from grunlock.text import detect_script
from grunlock.training.run import complete
from tests.workflows.conftest import SMALL, CommandLine

QUICK = [f"--set={setting}" for setting in (*SMALL, "training.epochs=3", "embedding.ngrams=off")]


@pytest.fixture
def small_recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text('base = "tiny"\nname = "small"\n')
    return path


def test_a_duel_ends_in_sentences_and_goes_on_where_it_stopped(
    grunlock: CommandLine, colours_csv: Path, small_recipe: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "duel"
    command = [
        "duel",
        colours_csv,
        "--recipes",
        f"small={small_recipe},lstm",
        *QUICK,
        "--seeds",
        2,
        "-o",
        folder,
    ]
    done = grunlock(*command)
    assert done.code == 0, done.err
    for name in ("small", "lstm", "linear", "fasttext"):
        assert name in done.out
    plain = json.loads((folder / "duel.json").read_text())
    assert [each["name"] for each in plain["contenders"]] == ["small", "lstm", "linear", "fasttext"]
    assert len(plain["verdicts"]) == 3
    for verdict in plain["verdicts"]:
        assert verdict["sentence"] in done.out.replace("\n", " ")
        assert "is ahead of" in verdict["sentence"] or "no difference shown between" in verdict["sentence"]
    changed = (folder / "contenders" / "lstm" / "runs" / "0" / "model.grunlock").stat().st_mtime_ns
    again = grunlock(*command)
    assert again.code == 0
    assert json.loads((folder / "duel.json").read_text())["verdicts"] == plain["verdicts"]
    assert (folder / "contenders" / "lstm" / "runs" / "0" / "model.grunlock").stat().st_mtime_ns == changed


def test_a_finished_run_of_another_recipe_is_not_taken_for_this_one(
    colours_csv: Path, small_recipe: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(small_recipe, [*SMALL, "embedding.ngrams=off"])
    run = complete(colours_csv, recipe, tmp_path / "run")
    before = run.artifact.read_bytes()
    assert complete(colours_csv, recipe, tmp_path / "run").artifact.read_bytes() == before
    other = recipe.model_copy(update={"seed": 5})
    with pytest.raises(RunError, match=r"another recipe or other data(.|\n)*-o"):
        complete(colours_csv, other, tmp_path / "run")
    with pytest.raises(RunError, match=r"another recipe or other data"):
        complete(tmp_path / "other.csv", recipe, tmp_path / "run")


def test_a_contender_that_fails_is_shown_and_the_others_go_on(
    grunlock: CommandLine, colours_csv: Path, small_recipe: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text('base = "tiny"\n[embedding]\nvectors = "/nowhere/vectors.txt"\nsize = 8\n')
    done = grunlock(
        "duel",
        colours_csv,
        "--recipes",
        f"{small_recipe},{broken}",
        *QUICK,
        "--seeds",
        1,
        "-o",
        tmp_path / "duel",
    )
    assert done.code == 0, done.err
    assert "broken failed:" in done.out
    assert "/nowhere/vectors.txt" in done.out.replace("\n", "")
    assert "small" in done.out


def test_search_spaces_get_the_same_budget_each(
    grunlock: CommandLine, colours_csv: Path, small_recipe: Path, tmp_path: Path
) -> None:
    ranges, folder = "--set=optim.lr={low=1e-3, high=1e-1, log=true}", tmp_path / "duel"
    command = ["duel", colours_csv, "--recipes", small_recipe, ranges, *QUICK, "--seeds", 1, "-o", folder]
    refused = grunlock(*command)
    assert refused.code == 1
    assert "A search space needs a budget" in refused.err
    done = grunlock(*command, "--trials", 3)
    assert done.code == 0, done.err
    plain = json.loads((folder / "duel.json").read_text())
    assert plain["contenders"][0]["search_seconds"] > 0
    assert plain["contenders"][0]["expected"] is not None


def test_the_linear_baseline_of_texts_without_spaces_reads_characters() -> None:
    texts = ["这家店很好吃", "味道真好很满意", "太差了不会再来", "难吃服务又差", "非常好吃", "服务太差"]
    model = linear_baseline(detect_script(texts)).fit(texts, [1, 1, 0, 0, 1, 0])
    assert model.predict(["很好", "很差"]).tolist() == [1, 0]
    assert {"好", "差", "好吃"} <= set(model[0].vocabulary_)


def test_contenders_by_name() -> None:
    assert read_contender("linear").recipe is None
    assert read_contender("mine=lstm").name == "mine"
    found = read_contender("mingru").recipe
    assert not isinstance(found, SearchSpace)
    assert found is not None
    assert found.encoder.kind == "mingru"
    assert isinstance(read_contender("search").recipe, SearchSpace)
    assert [c.name for c in with_baselines([read_contender("seed")])] == ["seed", "linear", "fasttext"]
    assert [c.name for c in with_baselines([read_contender("series")])] == ["series", "linear"]
    assert {"gru", "lstm", "transformer", "bag"} <= set(encoder_kinds())
    with pytest.raises(RecipeError, match=r"same name"):
        with_baselines([read_contender("seed"), read_contender("seed")])
    with pytest.raises(RecipeError, match=r"no such recipe"):
        read_contender("nobody")


def test_tricks_are_what_differs_and_each_can_be_taken_out_and_put_in() -> None:
    full, plain = read_recipe("default"), read_recipe("seed")
    tricks = {trick.name: trick for trick in tricks_between(full, plain)}
    assert {"optim", "schedule", "clip", "loss", "training.ema_decay", "encoder.weight_dropout"} <= set(
        tricks
    )
    assert not {"name", "seed", "training.epochs"} & set(tricks)
    for trick in tricks.values():
        without, alone = one_out(full, trick), one_in(plain, trick)
        assert {t.name for t in tricks_between(full, without)} == {trick.name}
        assert {t.name for t in tricks_between(alone, plain)} == {trick.name}


def test_an_ablation_is_a_row_a_trick(grunlock: CommandLine, colours_csv: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.toml"
    plain.write_text(
        'base = "tiny"\nembedding.size = 8\nencoder.hidden_size = 6\nbatches.size = 8\ntraining.epochs = 1\n'
    )
    full = ["--recipe", plain, "--set=head.dropout=0.3", "--set=optim.lr=0.02"]
    done = grunlock("ablate", colours_csv, *full, "--plain", plain, "--seeds", 2, "-o", tmp_path / "ablation")
    assert done.code == 0, done.err
    assert "head.dropout" in done.out
    found = json.loads((tmp_path / "ablation" / "ablation.json").read_text())
    assert [each["trick"] for each in found["taken_out"]] == ["head.dropout", "optim"]
    assert [each["trick"] for each in found["put_in"]] == ["head.dropout", "optim"]
    for place in ("taken_out", "put_in"):
        for each in found[place]:
            assert each["low"] <= each["difference"] <= each["high"]
    same = grunlock("ablate", colours_csv, "--recipe", plain, "--plain", plain, "-o", tmp_path / "other")
    assert "there is no trick to measure" in same.err
