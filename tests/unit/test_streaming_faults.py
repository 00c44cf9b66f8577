"""What streams refuse, with a cure, and planted errors that the tests of streams must catch."""

from pathlib import Path
from types import ModuleType

import pytest

from grunlock.errors import StreamError
from grunlock.recipe import read_recipe
from grunlock.runtime import streamed_pooling, streamed_wide, streaming
from grunlock.runtime.hindrances import hindrances
from grunlock.runtime.stepped import SteppedNetwork
from tests.unit import test_streaming
from tests.unit.streamed_models import FORWARD, check_text, series_classifier, text_classifier

# ---- refusals --------------------------------------------------------------------------------------

REFUSED = {
    "encoder.bidirectional = true": (["encoder.kind=gru"], "--set encoder.bidirectional=false"),
    "text.tokens = bpe": ([FORWARD, "text.tokens=bpe", "text.vocab_size=40"], "--set text.tokens=words"),
    "text.tokens = chinese_words": ([FORWARD, "text.tokens=chinese_words"], "--set text.tokens=characters"),
    "text.cut = middle": ([FORWARD, "text.cut=middle"], "--set text.cut=end"),
    "stem.widths = [2, 3]": ([FORWARD, "stem.widths=[2, 3]"], "--set stem=off"),
    "encoder.widths = [3]": (["encoder.kind=conv", "encoder.widths=[3]"], "--set encoder.widths=[2]"),
    "encoder.kind = transformer": (
        ["encoder.kind=transformer", "encoder.hidden_size=8"],
        "--set encoder.kind=gru --set encoder.bidirectional=false",
    ),
    "chunks": ([FORWARD, "chunks.chunk_steps=2"], "--set chunks=off"),
    "attention": ([FORWARD, "encoder.hidden_size=4", "attention.num_heads=2"], "--set attention=off"),
}


@pytest.mark.parametrize("option", REFUSED)
def test_what_needs_the_whole_text_is_refused_with_a_cure(option: str) -> None:
    overrides, cure = REFUSED[option]
    classifier = text_classifier(*overrides)
    for ask in (classifier.stream, lambda: classifier.prefix_logits(["cat"])):
        with pytest.raises(StreamError, match="cannot answer before its input has ended") as refused:
            ask()
        assert refused.value.where == option
        assert refused.value.cure == f"train with {cure}"
    cured = [setting for setting in cure.split() if setting != "--set"]
    recipe = read_recipe("default", [*overrides, *cured])
    assert hindrances(recipe, recipe.text.tokens.replace("auto", "words")) == ()


def test_all_hindrances_are_named_at_once() -> None:
    with pytest.raises(StreamError) as refused:
        series_classifier("series.each_alone=true", "stem.widths=[5]").stream()
    assert refused.value.where == "series.each_alone = true, stem.widths = [5], encoder.bidirectional = true"
    assert refused.value.cure == (
        "train with --set series.each_alone=false --set stem=off --set encoder.bidirectional=false"
    )


def test_a_cut_in_the_middle_of_texts_without_a_limit_is_none() -> None:
    assert (
        hindrances(read_recipe("default", [FORWARD, "text.cut=middle", "text.max_tokens=off"]), "words") == ()
    )


# ---- planted errors --------------------------------------------------------------------------------

MUTATIONS: dict[str, tuple[ModuleType, str, str]] = {
    "the mean forgets how many there were": (
        streamed_pooling,
        "np.arange(before.steps + 1, before.steps + len(rows) + 1)",
        "np.arange(1, len(rows) + 1)",
    ),
    "the sum begins anew": (
        streamed_pooling, "sums += 0.0 if before.total is None else before.total", "pass"
    ),
    "the maximum begins anew": (
        streamed_pooling, "rows if before.highest is None else np.maximum(rows, before.highest)", "rows"
    ),
    "old weights keep their reference": (
        streamed_pooling, "kept = np.exp(before.reference - reference)", "kept = np.ones_like(reference)"
    ),
    "a repeated n-gram counts as a new one": (streamed_wide, "news[row] = count", "pass"),
    "squares are not telescoped": (streamed_wide, "now * now - before * before", "(now - before) ** 2"),
    "n-grams do not reach back": (
        streamed_wide, "ids[max(0, len(ids) - self._options.max_length + 1) :]", "ids[:0]"
    ),
    "both kinds share a sum": (streamed_wide, "sums[ends] - sums[starts][:, None]", "sums[ends]"),
    "looking is reading": (
        streaming,
        "            last, steps = logits[-1], steps + len(logits)",
        "            last, steps, self._so_far = logits[-1], steps + len(logits), so_far.keep()",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_planted_errors_are_caught(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, old, new = MUTATIONS[mutation]
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    assert source.count(old) == 1, "the module was rewritten: write this mutation anew"
    parts = 'pooling.parts=["attention", "mean", "max"]'
    wide = ["wide.training=apart", "wide.buckets=64", "wide.characters=true"]
    namespace: dict[str, object] = {"__name__": module.__name__}
    exec(compile(source.replace(old, new), "mutated.py", "exec"), namespace)
    name = {streamed_pooling: "StreamedPooling", streamed_wide: "StreamedWide", streaming: "Stream"}[module]
    home = "grunlock.runtime.classifier" if module is streaming else "grunlock.runtime.stepped"
    classifier = text_classifier.__wrapped__(FORWARD, parts, *wide)
    check_text(classifier, "the zebra sat on the mat the mat", list(range(40)))
    monkeypatch.setattr(f"{home}.{name}", namespace[name])
    with pytest.raises(AssertionError):
        check_text(classifier, "the zebra sat on the mat the mat", list(range(40)))


def test_a_state_that_two_streams_share_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    start = SteppedNetwork.start
    shared: list[object] = []

    def started(network: SteppedNetwork) -> object:
        if not shared:
            shared.append(start(network))
        return shared[0]

    monkeypatch.setattr(SteppedNetwork, "start", started)
    with pytest.raises(AssertionError):
        test_streaming.test_two_streams_do_not_touch_each_other()
