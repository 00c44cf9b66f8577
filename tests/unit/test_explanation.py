"""Gate traces, words, hidden tokens, methods and scores, each by itself."""

import json
import sys

import numpy as np
import pytest

from grunlock.errors import DataError, ExplanationError, MissingDependencyError
from grunlock.explanation import METHODS, Examples, Explainer, explain, explain_corpus, explain_exactly
from grunlock.explanation.faithfulness import faithfulness
from grunlock.explanation.masked import Hiding, centred
from grunlock.explanation.passages import passages
from grunlock.explanation.traces import remembered, weighted_medians
from grunlock.explanation.words import grouped
from grunlock.runtime.classifier import TextClassifier
from grunlock.text import UNKNOWN_ID
from tests.parity.exported_models import drawn_series, drawn_texts, series_artifact, text_artifact

TEXT = "the cat sat on the mat and unlock what gated nets can do"


# Gates --------------------------------------------------------------------------------------------------


def test_what_is_remembered() -> None:
    keep = np.array([[0.1, 0.1], [0.5, 1.0], [0.5, 1.0], [0.5, 1.0]])
    amount = np.array([[1.0, 3.0], [2.0, 2.0], [1.0, 1.0], [1.0, 0.0]])
    survived, half_lives = remembered(keep, amount)
    # Unit 0 keeps half at each step, unit 1 all; the gate of a step itself does not touch what it writes.
    np.testing.assert_allclose(survived, [(1 / 8 + 3) / 4, (2 / 4 + 2) / 4, (1 / 2 + 1) / 2, 1.0])
    np.testing.assert_allclose(half_lives[:, 0], [1, 1, 1, np.inf])
    assert np.isinf(half_lives[:, 1]).all()


def test_gates_of_zero_keep_nothing() -> None:
    survived, half_lives = remembered(np.zeros((3, 1)), np.ones((3, 1)))
    np.testing.assert_allclose(survived, [0, 0, 1], atol=1e-200)
    np.testing.assert_allclose(half_lives[:, 0], [1, 1, np.inf])


def test_weighted_medians() -> None:
    values = np.array([[1.0, 2.0, np.inf], [3.0, 1.0, 2.0], [5.0, 1.0, 3.0]])
    weights = np.array([[1.0, 1.0, 5.0], [1.0, 5.0, 1.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(weighted_medians(values, weights), [np.inf, 1.0, 3.0])


def test_gates_of_each_layer_and_direction() -> None:
    found = explain_exactly(text_artifact(["encoder.num_layers=2"]).classifier(), TEXT)
    for token in found.tokens:
        places = [(gate.layer, gate.direction) for gate in token.gates]
        assert places == [(0, "forward"), (0, "backward"), (1, "forward"), (1, "backward")]
        assert token.rewrote == pytest.approx((token.gates[2].rewrote + token.gates[3].rewrote) / 2)
        assert all(0 <= gate.rewrote <= 1 and 0 <= (gate.reset or 0) <= 1 for gate in token.gates)
    assert found.tokens[-1].gates[2].survived == pytest.approx(1)  # the last one read
    assert found.tokens[0].gates[3].survived == pytest.approx(1)
    assert any("top layer" in note for note in found.notes)


# Words and stretches ------------------------------------------------------------------------------------


def test_tokens_are_grouped_to_words() -> None:
    characters = [(0, 1), (1, 2), (2, 3), (4, 5)]
    assert grouped(characters, [(0, 1), (1, 3), (4, 5)]) == [(0, 0), (1, 2), (3, 3)]
    assert grouped([(0, 2), (2, 4)], [(0, 1), (1, 3), (3, 4)]) == [(0, 1)]  # a piece across words
    assert grouped([(0, 1), (1, 2)], []) == [(0, 0), (1, 1)]
    assert grouped([(0, 0)], []) == [(0, 0)]


@pytest.mark.parametrize("kind", ["characters", "bpe", "unigram"])
def test_shares_of_words_are_sums_of_their_tokens(kind: str) -> None:
    found = explain_exactly(text_artifact([f"text.tokens={kind}"]).classifier(), "我爱北京天安门 unlock ﬁne")
    assert found.words is not None
    tokens = [t for word in found.words for t in range(word.first_token, word.last_token + 1)]
    assert tokens == list(range(len(found.tokens)))
    total = np.sum([word.shares for word in found.words], axis=0)
    np.testing.assert_allclose(total, np.sum([token.shares for token in found.tokens], axis=0))


def test_models_of_words_have_no_words_besides() -> None:
    assert explain_exactly(text_artifact().classifier(), TEXT).words is None


def test_passages_are_the_whole_text() -> None:
    text = " ﬁn, cafe\u0301"
    found = passages(text, [(1, 2), (1, 2), (2, 3), (3, 4), (5, 10)])
    assert "".join(each.text for each in found) == text
    assert [each.tokens for each in found] == [(), (0, 1), (2,), (3,), (), (4,)]
    assert passages("", [(0, 0)])[0].tokens == (0,)
    assert [each.text for each in passages("a b", [(0, 1)])] == ["a", " b"]


# Hiding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [[], ["wide={training='apart', characters=true, buckets=4096}"]])
def test_a_hidden_token_is_the_unknown_token(overrides: list[str]) -> None:
    classifier = text_artifact(overrides).classifier()
    assert isinstance(classifier, TextClassifier)
    keep = np.array([[True, False, True, True], [True] * 4, [False] * 4])
    found = Hiding(classifier, "the cat sat mat").logits(keep)
    types = classifier.front_end.new_types()
    ids = classifier.front_end.encode(["the cat sat mat"], types).tokens
    for row, logits in zip(keep, found, strict=True):
        alone = Hiding(classifier, "the cat sat mat").logits(row[None])
        np.testing.assert_allclose(alone[0], logits, atol=1e-5)
        tokens = types.distinct(np.where(row, ids, UNKNOWN_ID).astype(np.int32))
        layout = Hiding(classifier, "the cat sat mat").layout
        np.testing.assert_allclose(classifier.network.logits(tokens, layout)[0], logits, atol=1e-5)


def test_a_hidden_step_has_no_features() -> None:
    classifier, (series,) = series_artifact().classifier(), drawn_series([6])
    hiding = Hiding(classifier, series)
    hidden = hiding.logits(np.zeros((2, 6), np.bool_))
    zeros = classifier.network.logits(np.zeros_like(hiding.inputs), hiding.layout)
    np.testing.assert_allclose(hidden, np.repeat(zeros, 2, axis=0), atol=1e-6)


# Methods ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [[], ["wide={training='together', characters=true}"], ["encoder.kind=lstm"], ["chunks={hidden_size=4}"]],
    ids=str,
)
def test_integrated_gradients_add_up(overrides: list[str]) -> None:
    """Their sum and the answer to the baseline are the answer."""
    artifact = text_artifact(overrides)
    explainer = Explainer(artifact)
    for text in drawn_texts([1, 3, 9]):
        (found,) = explainer.explain(text, ["integrated_gradients"]).attributions
        assert found.completeness_error is not None
        assert found.completeness_error < 0.03


def test_integrated_gradients_of_a_linear_model_are_what_lies_between_input_and_baseline() -> None:
    explainer = Explainer(text_artifact(["encoder.kind=bag", "pooling.parts=['mean']", "wide=off"]))
    hiding = Hiding(explainer.classifier, TEXT)
    hidden = hiding.logits(np.zeros((1, hiding.num_steps), np.bool_))
    whole = hiding.logits(np.ones((1, hiding.num_steps), np.bool_))
    scores = explainer.scores("integrated_gradients", hiding, 1)
    assert scores.sum() == pytest.approx((centred(whole) - centred(hidden))[0, 1], abs=1e-5)
    np.testing.assert_allclose(scores, explainer.scores("occlusion", hiding, 1), atol=1e-5)


def test_occlusion_is_the_fall_of_the_logit() -> None:
    explainer = Explainer(text_artifact())
    hiding = Hiding(explainer.classifier, TEXT)
    keep = np.ones((2, hiding.num_steps), np.bool_)
    keep[1, 3] = False
    whole, without = centred(hiding.logits(keep))[:, 2]
    assert explainer.scores("occlusion", hiding, 2)[3] == pytest.approx(whole - without, abs=1e-5)


def test_channels_of_series_add_up_to_their_steps() -> None:
    (found,) = explain(series_artifact(), drawn_series([9]), methods=["gradient_x_input"])
    (scores,) = found.attributions
    assert scores.channels is not None
    np.testing.assert_allclose(np.sum(scores.channels, axis=1), scores.scores, atol=1e-6)
    assert len(scores.channels[0]) == 2
    assert found.to_dict()["kind"] == "series"


def test_every_method_explains_the_class_that_is_asked_for() -> None:
    artifact = text_artifact()
    (found,) = explain(artifact, [TEXT], methods=METHODS, label=artifact.labels[2])
    assert found.place == 2
    assert found.exact is not None
    assert [each.method for each in found.attributions] == list(METHODS)
    assert found.attributions[0].scores == found.exact.evidence(2)
    assert all(len(each.scores) == len(found.spans) for each in found.attributions)
    again = json.loads(json.dumps(found.to_dict(), ensure_ascii=False))
    assert again["explained_label"] == artifact.labels[2]
    assert again["exact"]["tokens"][0]["text"] == "the"


def test_evidence_is_what_moves_a_class_against_the_others() -> None:
    found = explain_exactly(text_artifact().classifier(), TEXT)
    by_class = np.array([found.evidence(place) for place in range(3)])
    np.testing.assert_allclose(by_class.sum(axis=0), 0, atol=1e-9)


# Refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["encoder.kind=lstm"], "an LSTM"),
        (["encoder.kind=conv"], "convolutions"),
        (["encoder.kind=transformer", "encoder.hidden_size=8"], "a Transformer"),
        (["chunks={hidden_size=4}"], r"\[chunks\]"),
        (["attention={num_heads=1}", "encoder.hidden_size=4"], r"\[attention\]"),
    ],
)
def test_what_is_no_sum_is_refused(overrides: list[str], reason: str) -> None:
    artifact = text_artifact(overrides)
    with pytest.raises(ExplanationError, match=rf"cannot be divided exactly[\s\S]*{reason}[\s\S]*occlusion"):
        explain_exactly(artifact.classifier(), TEXT)
    assert Explainer(artifact).methods == METHODS[1:]
    assert explain(artifact, [TEXT], methods=["occlusion"])[0].exact is None


def test_rounded_states_are_refused() -> None:
    with pytest.raises(ExplanationError, match=r"float32 states[\s\S]*bfloat16"):
        explain_exactly(text_artifact().classifier("bfloat16"), TEXT)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    artifact = text_artifact()
    with pytest.raises(ExplanationError, match=r"Unknown method[\s\S]*did you mean occlusion"):
        explain(artifact, [TEXT], methods=["oclusion"])
    with pytest.raises(ExplanationError, match=r"no such label[\s\S]*did you mean 'klasse 1 蓝'"):
        explain(artifact, [TEXT], label="klasse 1")


def test_without_captum_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingDependencyError, match=r"grunlock\[explain\]"):
        explain(text_artifact(), [TEXT], methods=["integrated_gradients"])


def test_an_empty_text_is_refused_as_in_prediction() -> None:
    with pytest.raises(DataError, match="empty"):
        explain_exactly(text_artifact().classifier(), "  ")


# Over many examples -------------------------------------------------------------------------------------


def examples(count: int, kind: str = "words") -> Examples:
    texts = drawn_texts([5 + i % 7 for i in range(count)])
    artifact = text_artifact([f"text.tokens={kind}"])
    return Examples(artifact, texts, (0,) * count, "drawn texts", tuple(range(1, count + 1)))


def test_faithfulness_ranks_methods_and_tells_them_from_chance() -> None:
    calls: list[int] = []
    found = faithfulness(examples(12), ["exact", "occlusion"], progress=calls.append)
    assert calls == list(range(1, 13))
    assert {each.method for each in found.methods} == {"exact", "occlusion", "random"}
    assert [each.score for each in found.methods] == sorted((e.score for e in found.methods), reverse=True)
    for each in found.methods:
        assert each.score == pytest.approx(each.insertion_area - each.deletion_area)
        assert each.deletion[0] == pytest.approx(each.insertion[-1])  # nothing hidden
        assert each.deletion[-1] == pytest.approx(each.insertion[0])  # everything hidden
    assert all(each.low <= each.mean <= each.high for each in found.differences)
    assert found.best != "random"


def test_faithfulness_knows_a_perfect_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores turned round are as far below chance as the right ones are above."""
    right = Explainer.scores
    monkeypatch.setattr(
        Explainer,
        "scores",
        lambda self, method, *rest: (
            -right(self, "occlusion", *rest) if method == "exact" else right(self, method, *rest)
        ),
    )
    found = faithfulness(examples(12), ["exact", "occlusion"])
    assert [each.method for each in found.methods] == ["occlusion", "random", "exact"]
    assert found.differences[-1].clear


def test_no_examples_are_refused() -> None:
    none = Examples(text_artifact(), [], (), "nowhere", ())
    with pytest.raises(ExplanationError, match="no examples"):
        faithfulness(none)
    with pytest.raises(ExplanationError, match="no texts"):
        explain_corpus(none)


def test_a_corpus_adds_up_its_texts() -> None:
    given = examples(30)
    found = explain_corpus(given, top=5, min_count=2)
    each = [explain_exactly(given.artifact.classifier(), str(text)) for text in given.inputs]
    assert found.num_wrong == sum(one.predicted != 0 for one in each)
    strongest = found.classes[1].ngrams[0]
    words = strongest.text.split(" ")
    sums = [
        sum(one.evidence(1)[i : i + len(words)])
        for one in each
        for i in range(len(one.tokens))
        if [token.text.lower() for token in one.tokens[i : i + len(words)]] == words
    ]
    assert strongest.count == len(sums)
    assert strongest.evidence == pytest.approx(np.mean(sums))
    assert [wrong.probability for wrong in found.wrong] == sorted(
        (wrong.probability for wrong in found.wrong), reverse=True
    )
    assert found.rewrite_most[0].rewrote >= found.rewrite_most[-1].rewrote
    assert found.largest_difference < 1e-5


def test_a_corpus_of_series_is_refused() -> None:
    series = drawn_series([5, 4])
    with pytest.raises(ExplanationError, match=r"no words to count[\s\S]*--row 1"):
        explain_corpus(Examples(series_artifact(), series, (None, None), "series", (1, 2)))


def test_some_examples_are_drawn_in_their_order() -> None:
    some = examples(30).some(7, 0)
    assert len(some.inputs) == len(some.targets) == 7
    assert list(some.places) == sorted(some.places)
    assert some.source == "drawn texts, 7 of 30 drawn"
    assert some.places == examples(30).some(7, 0).places
