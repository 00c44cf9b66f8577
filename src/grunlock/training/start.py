"""The network a run starts from: fresh, with pretrained vectors, or continuing another model."""

from dataclasses import dataclass
from pathlib import Path

import torch

from grunlock.artifact import Artifact
from grunlock.data.prepared import PreparedData
from grunlock.data.shards import ShardedStore
from grunlock.data.store import TokenStore
from grunlock.data.vectors import read_vectors
from grunlock.errors import RunError
from grunlock.models import SequenceClassifier
from grunlock.models.embedding import TokenEmbedding
from grunlock.parallel import Group
from grunlock.recipe import DataFacts, Derived, Recipe, derive
from grunlock.seeding import derive_seed
from grunlock.text import TextFrontEnd
from grunlock.training.fine_tuning import take_pretrained
from grunlock.training.wide_path import BIAS, RARITY, ROWS, TABLE

# They fix the shapes of a model's weights.
SHARED_SECTIONS = ("text", "embedding", "series", "stem", "encoder", "chunks", "attention", "pooling", "wide")


@dataclass(frozen=True)
class Start:
    """A network ready for its first step, and what to tell the user about it."""

    model: SequenceClassifier
    notes: tuple[str, ...]


def data_facts(data: PreparedData, batches_per_epoch: int) -> DataFacts:
    return DataFacts(
        num_train_examples=data.train.num_examples,
        num_valid_examples=data.valid.num_examples,
        num_classes=len(data.labels),
        longest_steps=data.train.longest_steps,
        train_steps=data.train.num_steps,
        valid_from_train=data.valid_from_train,
        batches_per_epoch=batches_per_epoch,
        inputs=data.inputs,
    )


def derive_for(recipe: Recipe, data: PreparedData) -> Derived:
    """What follows from a recipe and its prepared data."""
    plan = data.train.plan(recipe.batches, recipe.seed, epoch=0)
    derived = derive(recipe, data_facts(data, len(plan)))
    if isinstance(data.train, ShardedStore):  # more validation examples are worth nothing to so many
        return derived.model_copy(update={"refit": False})
    return derived


def check_streamable(recipe: Recipe, data: PreparedData, where: Path) -> None:
    """Raises RunError if the recipe needs all training examples in memory and they are in shards."""
    if isinstance(data.train, ShardedStore) and recipe.optim.kind == "gd":
        raise RunError(
            "Plain gradient descent takes all training examples in one step, and these are in shards.",
            where=where,
            got='optim.kind = "gd"',
            expected="an optimiser whose steps take a batch",
            cure="--set optim.kind='\"adamw\"', or prepare the data in memory",
        )


def check_taught(recipe: Recipe, data: PreparedData, where: Path) -> None:
    """Raises RunError if the recipe learns from a teacher and the data has no answers of one."""
    taught = isinstance(data.train, TokenStore) and data.train.teacher is not None
    if recipe.distillation is not None and not taught:
        raise RunError(
            "The recipe learns from a teacher, and there is none.",
            where=where,
            got="the section distillation, and data without a teacher's answers",
            cure="train it with `grunlock distill`, or turn the section off: --set distillation=off",
        )


def build_start(recipe: Recipe, derived: Derived, data: PreparedData, base: Artifact | None) -> Start:
    """Fresh weights depend on (seed, "init") alone."""
    model = _fresh(recipe, derived)
    notes: tuple[str, ...] = ()
    if base is not None:
        continue_from(model, base, data.labels)
    elif recipe.pretrained is not None:
        notes = take_pretrained(model, recipe.pretrained)
    elif isinstance(model.embedding, TokenEmbedding) and isinstance(data.front_end, TextFrontEnd):
        notes = _take_vectors(model.embedding, recipe, data.front_end)
    return Start(model, notes)


def shared_start(
    group: Group, recipe: Recipe, derived: Derived, data: PreparedData, base: Artifact | None
) -> Start:
    """As build_start, on every rank of a group: rank 0's weights for all. Only there the base, and files that
    the recipe names, have to be."""
    start = group.lead(lambda: build_start(recipe, derived, data, base)) or Start(_fresh(recipe, derived), ())
    if group.size > 1:
        start.model.load_state_dict(group.from_first(start.model.state_dict()))
    return start


def _fresh(recipe: Recipe, derived: Derived) -> SequenceClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "init"))
        return SequenceClassifier(recipe, derived)


def _take_vectors(embedding: TokenEmbedding, recipe: Recipe, front_end: TextFrontEnd) -> tuple[str, ...]:
    """Pretrained vectors in place of the fresh ones, if the recipe names some."""
    options = recipe.embedding
    if options is None or options.vectors is None:
        return ()
    vectors = read_vectors(Path(options.vectors), front_end.vocab(), options.size)
    found = torch.from_numpy(vectors.found)
    with torch.no_grad():
        embedding.tokens.weight[found] = torch.from_numpy(vectors.matrix)[found]
    return (vectors.describe(),)


def check_continuable(recipe: Recipe, base: Artifact) -> None:
    """Raises RunError if the recipe would need other weights than the base model has."""
    if recipe.data.kind != base.recipe.data.kind:
        raise RunError(
            "A model can only be continued on its own kind of data.",
            where="data.kind",
            got=recipe.data.kind,
            expected=base.recipe.data.kind,
        )
    changed = [
        name
        for name in SHARED_SECTIONS
        if _shape_settings(recipe, name) != _shape_settings(base.recipe, name)
    ]
    if changed:
        raise RunError(
            "A model can only be continued with the same network.",
            where=", ".join(changed),
            got="settings that differ from the model's own",
            expected="the sections " + ", ".join(SHARED_SECTIONS) + " of its recipe",
            cure="leave these settings as they are, or train anew without --from",
        )


def continue_from(model: SequenceClassifier, base: Artifact, labels: tuple[str, ...]) -> None:
    """Copy the base model's weights. Labels the base did not know keep their fresh weights."""
    state = model.state_dict()
    known = len(base.labels)  # prepare() keeps old labels in front, in their order
    assert labels[:known] == base.labels
    for name, value in base.weights.items():
        if base.recipe.wide_apart is not None and name in (ROWS, RARITY, TABLE, BIAS):
            continue  # they will be fitted anew
        tensor = torch.from_numpy(value)
        state[name][tuple(slice(size) for size in tensor.shape)] = tensor
    model.load_state_dict(state)


def _shape_settings(recipe: Recipe, section: str) -> dict[str, object]:
    """The section without regularisers, initialisation and what only acts at the start."""
    free = {"vectors", "trainable", "recurrent_init", "input_init", "zoneout"}
    free |= {"update_bias", "forget_bias", "keep_bias", "jitter", "scaling", "slicing", "masking"}
    options = getattr(recipe, section)
    settings: dict[str, object] = {} if options is None else options.model_dump()
    return {k: v for k, v in settings.items() if k not in free and not k.endswith("dropout")}
