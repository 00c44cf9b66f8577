"""Recipes: every fault at once and in words, kinds, ranges, overrides, derived values."""

from pathlib import Path

import pytest

from grunlock.errors import RecipeError
from grunlock.recipe import (
    Choices,
    DataFacts,
    Range,
    Recipe,
    SearchSpace,
    all_keys,
    builtin_names,
    derive,
    most_epochs,
    override,
    read_recipe,
    read_recipe_or_space,
    space_from_toml,
    space_to_toml,
    to_toml,
)
from grunlock.recipe.text_options import CHARACTER_NGRAMS, NgramOptions
from tests.conftest import small_facts


def facts(num_train_examples: int = 1000) -> DataFacts:
    return small_facts(num_train_examples=num_train_examples, batches_per_epoch=10)


def test_seed_is_the_founding_document() -> None:
    recipe = read_recipe("seed")
    encoder = recipe.encoder
    assert (encoder.kind, encoder.num_layers, encoder.norm, encoder.bidirectional) == (
        "gru",
        2,
        "batch",
        False,
    )
    assert (encoder.input_dropout, encoder.state_dropout) == (0.2, 0.2)
    assert recipe.pooling.parts == ("last",)
    assert recipe.optim.kind == "adam"
    assert recipe.schedule.kind == "constant"
    assert recipe.clip is None
    assert recipe.loss.label_smoothing == 0


@pytest.mark.parametrize("name", builtin_names())
def test_recipes_survive_writing_and_reading(name: str, tmp_path: Path) -> None:
    recipe = read_recipe_or_space(name)
    if isinstance(recipe, SearchSpace):
        assert space_from_toml(space_to_toml(recipe)) == recipe
        return
    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(recipe))
    assert read_recipe(path) == recipe
    assert read_recipe(tmp_path) == recipe


def test_all_faults_are_told_at_once_with_nearest_names() -> None:
    settings = ["encoder.hiden_size=3", "optim.lr=-1", "lr=3", "optim.kind=adamm", "clip.max_norm=x",
                "encoder.update_bias=foo", 'pooling.parts=["max", "max"]']  # fmt: skip
    with pytest.raises(RecipeError) as error:
        read_recipe("default", settings)
    message = str(error.value)
    assert message.startswith("The recipe has 6 faults.")
    assert "did you mean encoder.hidden_size?" in message
    assert "did you mean optim.lr?" in message
    assert 'did you mean "adam"?' in message
    assert "clip.max_norm" in message
    assert "a valid number or 'chrono'" in message
    assert "each part at most once" in message
    assert len(error.value.problems) == 6


def test_values_out_of_range_say_got_and_expected() -> None:
    with pytest.raises(RecipeError, match=r"optim.lr(.|\n)*-1(.|\n)*greater than 0"):
        read_recipe("default", ["optim.lr=-1"])
    with pytest.raises(RecipeError, match=r"encoder.zoneout(.|\n)*1.0(.|\n)*less than 1"):
        read_recipe("default", ["encoder.zoneout=1.0"])
    with pytest.raises(RecipeError, match=r"text.lowercase(.|\n)*'yes'(.|\n)*boolean"):
        read_recipe("default", ["text.lowercase=yes"])


@pytest.mark.parametrize(("examples", "epochs"), [(100, 8), (10_000, 8), (20_000, 5), (10**6, 3)])
def test_epochs_by_the_number_of_examples(examples: int, epochs: int) -> None:
    recipe = read_recipe("default")
    assert derive(recipe, facts().model_copy(update={"num_train_examples": examples})).epochs == epochs
    assert derive(read_recipe("default", ["training.epochs=7"]), facts()).epochs == 7
    assert most_epochs(recipe) == 8


def test_what_is_learned_anew_with_validation_examples() -> None:
    small = facts().model_copy(update={"valid_from_train": True, "train_steps": 1000})
    assert derive(read_recipe("default"), small).refit
    for changed in ({"valid_from_train": False}, {"train_steps": 10**7}):
        assert not derive(read_recipe("default"), small.model_copy(update=changed)).refit
    for setting in ("training.refit=false", "distillation={}", "schedule.kind=plateau"):
        assert not derive(read_recipe("default", [setting]), small).refit


def test_an_option_of_another_kind_is_an_unknown_key() -> None:
    with pytest.raises(RecipeError, match=r"Unknown key(.|\n)*optim.momentum"):
        read_recipe("default", ["optim.kind=adam", "optim.momentum=0.9"])
    with pytest.raises(RecipeError, match=r"Unknown key(.|\n)*encoder.reset_after"):
        read_recipe("default", ["encoder.kind=lstm", "encoder.reset_after=false"])


def test_contradictions_are_told() -> None:
    with pytest.raises(RecipeError, match=r'schedule.kind = "constant" with(.|\n)*got "cosine"'):
        read_recipe("default", ["optim.kind=schedule_free_adamw"])
    with pytest.raises(RecipeError, match=r"min_length <= max_length"):
        read_recipe("default", ["embedding.ngrams={min_length=5, max_length=3}"])


def test_new_kind_keeps_what_means_the_same_and_nothing_else() -> None:
    recipe = read_recipe("default", ["encoder.kind=lstm", "optim.kind=sgd"])
    base = read_recipe("default")
    assert recipe.encoder.hidden_size == base.encoder.hidden_size
    assert recipe.encoder.weight_dropout == base.encoder.weight_dropout
    assert recipe.optim.lr != base.optim.lr
    assert recipe.optim.weight_decay == 0
    minimal = read_recipe("default", ["encoder.kind=mingru"]).encoder
    assert (minimal.num_layers, minimal.input_dropout) == (2, base.encoder.input_dropout)


def test_off_and_plain_strings_in_overrides() -> None:
    recipe = read_recipe(
        "default", ["clip=off", "text.max_tokens=off", "name=my run", "training.ema_decay=off"]
    )
    assert recipe.clip is None
    assert recipe.text.max_tokens is None
    assert recipe.name == "my run"
    assert recipe.training.ema_decay is None
    assert override(recipe, ["clip.kind=value"]).clip is not None


def test_files_lie_over_their_base(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "seed"\n[encoder]\nhidden_size = 64\n')
    (tmp_path / "other.toml").write_text('base = "mine.toml"\nseed = 3\n')
    recipe = read_recipe(tmp_path / "other.toml")
    assert (recipe.seed, recipe.encoder.hidden_size, recipe.encoder.num_layers) == (3, 64, 2)


def test_search_spaces(tmp_path: Path) -> None:
    space = read_recipe_or_space(
        "default",
        ["optim.lr={low=1e-4, high=1e-2, log=true}", 'encoder.kind={choices=["gru", "lstm"]}'],
    )
    assert isinstance(space, SearchSpace)
    assert space.ranges["optim.lr"] == Range(1e-4, 1e-2, log=True)
    assert space.ranges["encoder.kind"] == Choices(("gru", "lstm"))
    settings = space.at({"optim.lr": 3e-3, "encoder.kind": "lstm"})
    assert (settings["optim"]["lr"], settings["encoder"]["kind"]) == (3e-3, "lstm")
    with pytest.raises(RecipeError, match=r"search space(.|\n)*optim.lr(.|\n)*grunlock tune"):
        read_recipe("default", ["optim.lr={low=1e-4, high=1e-2}"])


@pytest.mark.parametrize(
    "text",
    [
        "{low=2, high=1}",
        "{low=1, high=8, log=true, step=1}",
        "{low=0, high=1, log=true}",
        "{choices=[]}",
        "{low=1}",
        "{low=1, high=2, x=3}",
    ],
)
def test_malformed_ranges_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"Not a range(.|\n)*optim.lr(.|\n)*low < high"):
        read_recipe("default", [f"optim.lr={text}"])


def test_what_is_tried_first_is_checked(tmp_path: Path) -> None:
    text = """
        [optim]
        lr = { low = 1e-4, high = 1e-2, log = true, role = "scientific" }
        [pooling]
        parts = { choices = [["max"], ["mean"]] }
        [[first]]
        "optim.lr" = 3e-3
        "pooling.parts" = ["mean"]
        [[first]]
        optim.lr = 1e-3
    """
    path = tmp_path / "space.toml"
    path.write_text(text)
    space = read_recipe_or_space(path)
    assert isinstance(space, SearchSpace)
    assert space.first == ({"optim.lr": 3e-3, "pooling.parts": ["mean"]}, {"optim.lr": 1e-3})
    assert (space.ranges["optim.lr"].role, space.ranges["pooling.parts"].role) == ("scientific", "nuisance")
    fixed = read_recipe_or_space(path, ["optim.lr=2e-3"])
    assert isinstance(fixed, SearchSpace)
    assert fixed.first == ({"pooling.parts": ["mean"]}, {})
    wider = read_recipe_or_space(path, ["optim.lr={low=2e-3, high=1e-1}"])
    assert isinstance(wider, SearchSpace)
    assert wider.first == ({"optim.lr": 3e-3, "pooling.parts": ["mean"]}, {})
    above = tmp_path / "above.toml"
    above.write_text('base = "space.toml"\n[pooling]\nparts = ["max"]\n')
    inherited = read_recipe_or_space(above)
    assert isinstance(inherited, SearchSpace)
    assert inherited.first == ({"optim.lr": 3e-3}, {"optim.lr": 1e-3})
    assert read_recipe(above, ["optim.lr=1e-3"]).pooling.parts == ("max",)
    for change, message in {
        ("= 3e-3", "= 3"): r"its range does not have(.|\n)*first\[0\], optim.lr",
        ('["mean"]\n', '["last"]\n'): r"its range does not have(.|\n)*pooling.parts",
        ("optim.lr = 1e-3", "optim.rl = 1e-3"): r"not searched(.|\n)*first\[1\], optim.rl",
        ('"scientific"', '"science"'): r"Unknown role(.|\n)*scientific or nuisance",
    }.items():
        path.write_text(text.replace(*change))
        with pytest.raises(RecipeError, match=message):
            read_recipe_or_space(path)


def test_ends_of_ranges_are_checked() -> None:
    with pytest.raises(RecipeError, match=r"encoder.zoneout(.|\n)*less than 1"):
        read_recipe_or_space("default", ["encoder.zoneout={low=0.1, high=1.5}"])
    with pytest.raises(RecipeError, match=r"Unknown key(.|\n)*encoder.hidden_size"):
        read_recipe_or_space("default", ["encoder.hiden_size={low=8, high=16}"])
    with pytest.raises(RecipeError, match=r"adamm"):
        read_recipe_or_space("default", ['optim.kind={choices=["adam", "adamm"]}'])


def test_class_weights_may_be_called_low() -> None:
    recipe = read_recipe("default", ["loss.class_weights={low=1.0, high=2.0}"])
    assert recipe.loss.class_weights == {"low": 1.0, "high": 2.0}


def test_unknown_and_broken_recipes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r'no such recipe(.|\n)*did you mean "default"'):
        read_recipe("defualt")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(RecipeError, match=r"not valid TOML(.|\n)*bad.toml"):
        read_recipe(tmp_path / "bad.toml")
    with pytest.raises(RecipeError, match=r"no key or no value(.|\n)*optim.lr=2e-3"):
        read_recipe("default", ["optim.lr"])


def test_recipes_are_frozen_and_complete() -> None:
    recipe = read_recipe("default")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]
    assert "encoder.reset_after" in set(all_keys())
    assert "sam.rho" in set(all_keys())


@pytest.mark.parametrize(
    ("examples", "halvings"), [(100, 1), (1000, 1), (4000, 2), (25_000, 5), (100_000, 7)]
)
def test_milestones_follow_the_number_of_examples(examples: int, halvings: int) -> None:
    recipe = read_recipe("default", ["schedule.kind=milestones", "training.epochs=100"])
    steps = derive(recipe, facts(examples)).milestone_steps
    assert len(steps) == halvings
    assert steps[0] == 300
    assert list(steps) == sorted(set(steps))
    assert steps[-1] < 1000


def test_derived_values_come_from_one_place() -> None:
    recipe = read_recipe("default", ["training.epochs=4", "schedule.warmup_fraction=0.25"])
    derived = derive(recipe, facts())
    assert (derived.steps_per_epoch, derived.total_steps, derived.warmup_steps) == (10, 40, 10)
    gd = derive(read_recipe("seed", ["optim.kind=gd", "training.epochs=4"]), facts())
    assert (gd.steps_per_epoch, gd.total_steps) == (1, 4)
    assert isinstance(recipe, Recipe)


def test_an_option_of_another_kind_says_which_kinds_have_it() -> None:
    with pytest.raises(
        RecipeError, match=r'leave it out: encoder.kind = "bag" has no such option \(gru, lstm'
    ):
        read_recipe("default", ["encoder.kind=bag", "encoder.hidden_size=3"])


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"encoder.hidden_size a multiple of 2 \* num_heads = 6, got 8"):
        read_recipe("default", ["encoder.kind=transformer", "encoder.hidden_size=8", "encoder.num_heads=3"])
    with pytest.raises(RecipeError, match=r"output size a multiple of 2 \* num_heads = 8, got 10"):
        read_recipe("default", ["encoder.hidden_size=5", "attention.num_heads=4"])


def test_ngrams_of_the_embedding_follow_the_kind_of_token() -> None:
    embedding = read_recipe("default", []).embedding
    assert embedding is not None
    assert embedding.ngrams_of("words") is None
    assert embedding.ngrams_of("characters") == CHARACTER_NGRAMS
    chosen = read_recipe("default", ["embedding.ngrams.buckets=100"]).embedding
    assert chosen is not None
    assert chosen.ngrams_of("words") == chosen.ngrams_of("characters") == NgramOptions(buckets=100)


def test_buckets_of_ngrams_are_numbers_of_32_bits() -> None:
    with pytest.raises(RecipeError, match="less than or equal to 2147483647"):
        read_recipe("default", [f"embedding.ngrams.buckets={2**31}"])


def test_a_wide_path_sees_finer_buckets_of_which_the_embeddings_are_remainders() -> None:
    recipe = read_recipe("default", ["embedding.ngrams.buckets=100"])
    front_end = recipe.ngrams_of("words")
    assert front_end is not None
    assert front_end.buckets % 100 == 0
    assert front_end.buckets > 2**30
    assert read_recipe("default", ["embedding.ngrams.buckets=100", "wide=off"]).ngrams_of(
        "words"
    ) == NgramOptions(buckets=100)


def test_a_section_that_may_be_one_word_has_messages_of_its_own() -> None:
    with pytest.raises(RecipeError, match=r"embedding\.ngrams\n(.|\n)*'aut'\n(.|\n)*a table or 'auto'"):
        read_recipe("default", ["embedding.ngrams=aut"])
    with pytest.raises(RecipeError, match=r"1 fault(.|\n)*did you mean embedding\.ngrams\.buckets"):
        read_recipe("default", ["embedding.ngrams.bucket=3"])


def test_a_table_where_a_word_belongs_is_a_fault() -> None:
    with pytest.raises(RecipeError, match=r"1 fault(.|\n)*text\.tokens(.|\n)*'words'"):
        read_recipe("default", ["text.tokens={a=1}"])
