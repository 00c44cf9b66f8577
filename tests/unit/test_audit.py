"""Each planted fault is found with its rows, and a clean set has nothing to complain about."""

from dataclasses import replace

import numpy as np
import pytest

from grunlock.audit import AuditOptions, AuditReport, Finding, audit
from grunlock.audit.characters import writing_system
from grunlock.audit.leakage import label_words
from grunlock.audit.tokens import MAX_TOKENS, normalise, tokenise
from grunlock.data import InMemory
from grunlock.data.series.series_set import SeriesSet
from grunlock.errors import DataError
from grunlock.recipe import read_recipe
from tests.audit_sets import LABELS, clean_rows

Rows = list[tuple[str, str]]
QUICK = AuditOptions(cross_validation=False)


def source(rows: Rows, name: str = "train") -> InMemory:
    return InMemory([text for _, text in rows], [label for label, _ in rows], name)


def audited(
    train: Rows, test: Rows | None = None, *settings: str, options: AuditOptions = QUICK
) -> AuditReport:
    recipe = read_recipe("default", settings)
    return audit(source(train), test=test and source(test, "test"), recipe=recipe, options=options)


def finding(report: AuditReport, check: str) -> Finding:
    """The only finding of this check, and the only one at all unless it is a note."""
    found = [f for f in report.findings if f.check == check]
    assert len(found) == 1, [f.check for f in report.findings]
    return found[0]


def places(found: Finding) -> list[list[str]]:
    return [[f"{row.place} {row.number}" for row in example.rows] for example in found.examples]


TRAIN, TEST = clean_rows(600), clean_rows(200, seed=1)


# ---- nothing wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_set_has_no_finding(seed: int) -> None:
    options = AuditOptions(seed=seed)
    report = audited(clean_rows(600, seed=10 + seed), clean_rows(200, seed=20 + seed), options=options)
    assert [f.message for f in report.findings] == []
    assert report.worst() is None
    assert not report.has("note")
    assert report.sizes == {"train": 600, "test": 200}
    assert report.counts == {label: {"train": 150, "test": 50} for label in sorted(LABELS)}


# ---- duplicates ---------------------------------------------------------------------------------------


def test_copies_across_splits_are_found_through_normalisation() -> None:
    label, text = TEST[7]
    spoilt = [*TRAIN, (label, f"  {text.upper().replace(' ', '   ')}\t"), TEST[30]]
    found = finding(audited(spoilt, TEST), "duplicates_across_splits")
    assert found.message == (
        "2 of 200 test rows (1.00%; 2 distinct texts) also stand in train, 1 of them to the letter; "
        "a look-up there answers 2 (1.00% of test) rightly"
    )
    assert (found.severity, found.count) == ("warning", 2)
    assert places(found) == [["test 8", "train 601"], ["test 31", "train 602"]]


def test_many_copies_across_splits_are_an_error() -> None:
    report = audited([*TRAIN, *TEST[:10]], TEST)
    assert finding(report, "duplicates_across_splits").severity == "error"
    assert report.worst() == "error"
    assert report.has("warning")


def test_copies_within_a_split() -> None:
    found = finding(audited([*TRAIN, TRAIN[4], TRAIN[4], TRAIN[9]]), "duplicates_within_split")
    assert found.message == (
        "train repeats 2 texts: 3 rows are copies of an earlier one (0.50%); "
        "validation or test rows cut from this split would have copies in training"
    )
    assert places(found) == [["train 5", "train 601", "train 602"], ["train 10", "train 603"]]
    assert [example.note for example in found.examples] == ["3 rows", "2 rows"]


def test_near_copies_across_and_within_splits() -> None:
    label, text = TEST[3]
    train = [*TRAIN, (label, text + " more"), (TRAIN[0][0], "more " + TRAIN[0][1])]
    report = audited(train, TEST)
    across = finding(report, "near_duplicates_across_splits")
    assert across.message.startswith("1 of 200 test texts (0.50%) almost equals a text of train: 80% or more")
    assert places(across) == [["test 4", "train 601"]]
    runs = len(text.split()) + 1
    assert across.examples[0].note == f"similarity {(runs - 1) / (runs + 2):.2f}"
    assert places(finding(report, "near_duplicates_within_split")) == [["train 602", "train 1"]]
    assert len(report.findings) == 2


def test_similarity_is_an_option() -> None:
    train = [*TRAIN, (TEST[3][0], TEST[3][1] + " more")]
    assert audited(train, TEST, options=replace(QUICK, similarity=0.95)).findings == ()
    with pytest.raises(DataError, match="above 0, at most 1"):
        audited(train, TEST, options=replace(QUICK, similarity=0.0))


def test_chinese_near_copies() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(chr(0x4E00 + c) for c in rng.integers(2000, size=20)) for _ in range(200)]
    rows = [(LABELS[i % 2], text) for i, text in enumerate(texts)]
    rows.append((LABELS[0], texts[0] + "\uff01"))
    rows.append((LABELS[1], texts[1] + "好"))
    report = audited(rows)
    found = finding(report, "near_duplicates_within_split")
    assert sorted(places(found)) == [["train 201", "train 1"], ["train 202", "train 2"]]
    assert "runs of two characters" in found.message


# ---- labels -------------------------------------------------------------------------------------------


def test_conflicting_labels() -> None:
    label, text = TRAIN[2]
    other = next(name for name in LABELS if name != label)
    report = audited([*TRAIN, (other, text.upper()), (other, TRAIN[5][1] + " more")])
    found = finding(report, "conflicting_labels")
    assert found.message.startswith("1 text stands under different labels, in 2 rows")
    assert places(found) == [["train 3", "train 601"]]
    near = finding(report, "conflicting_labels_near")
    assert near.message == "1 pair of almost equal texts under different labels"
    assert places(near) == [["train 6", "train 602"]]


def test_classes_that_are_rare_or_in_one_split() -> None:
    few = [("RARE", text) for _, text in clean_rows(3, seed=5)]
    unseen = [("UNSEEN", text) for _, text in clean_rows(2, seed=6)]
    report = audited([*TRAIN, *few], [*TEST, *unseen])
    rare = finding(report, "rare_classes")
    assert rare.message == "1 class has fewer than 10 training examples"
    assert rare.examples[0].note == "RARE: 3 rows in train"
    new = finding(report, "labels_not_in_train")
    assert new.message == "1 label stands in test only, in 2 rows that cannot be answered"
    assert new.severity == "error"
    assert finding(report, "labels_not_in_split").examples[0].note == "RARE: 3 rows in train"
    kept = audited([*TRAIN, *few], [*TEST, *unseen], "data.unseen_labels=keep")
    assert finding(kept, "labels_not_in_train").severity == "warning"
    assert finding(report, "imbalance").message == (
        "the largest class is 50 times the smallest, and always answering 'ALPHA' is right for 24.9% of train"
    )


def test_one_class_in_two_spellings() -> None:
    rows = [("Gamma" if label == "GAMMA" and i % 2 else label, text) for i, (label, text) in enumerate(TRAIN)]
    other = sum(label == "Gamma" for label, _ in rows)
    found = finding(audited(rows), "labels_alike")
    assert found.message == f"1 class is spelt in several ways: 'GAMMA' {150 - other}, 'Gamma' {other} rows"


# ---- what gives a label away ----------------------------------------------------------------------------


def test_the_label_in_the_text() -> None:
    rows = [(label, f"{text} gamma" if label == "GAMMA" else text) for label, text in TRAIN]
    report = audited(rows)
    found = finding(report, "label_in_text")
    assert found.severity == "error"
    assert "the words of one label stand in texts of that class much more than elsewhere" in found.message
    assert "'GAMMA' in 100.0% of its own, in 0.00% of the others" in found.message
    assert finding(report, "telling_token").severity == "error"


def test_labels_in_chinese_texts() -> None:
    texts = [
        "\u4eca\u5929\u4f53\u80b2\u65b0\u95fb",
        "\u80a1\u5e02\u4e0a\u6da8",
        "\u4f53\u80b2\u9986",
        "\u94f6\u884c",
    ]
    labels = ["\u4f53\u80b2", "\u8d22\u7ecf"]  # sports, finance
    found = label_words(texts, np.array([0, 1, 0, 1]), labels, "characters")
    assert [(words.label, words.own, words.others) for words in found] == [(0, 1.0, 0.0)]
    assert label_words(texts, np.array([0, 1, 0, 1]), ["1", "2"], "words") == ()


def test_labels_are_matched_as_whole_words() -> None:
    texts = ["a pinned note", "change the PIN", "my pin, changed", "nothing"]
    found = label_words(texts, np.array([1, 0, 0, 1]), ["pin", "other_things"], "words")
    assert [(words.label, words.own, words.others) for words in found] == [(0, 1.0, 0.0)]


def test_a_token_that_settles_a_class() -> None:
    rows = [(label, text + " !!!" * (label == "BETA" and i % 4 > 0)) for i, (label, text) in enumerate(TRAIN)]
    found = finding(audited(rows), "telling_token")
    assert found.severity == "warning"
    assert "texts with '!!!' 100.0% have this label" in found.message
    assert found.examples[0].note is not None
    assert found.examples[0].note.startswith("'!!!' → BETA: 100.0% of ")


def test_row_order_sorted_and_alternating() -> None:
    by_label = sorted(TRAIN)
    alternating = [
        row for rows in zip(*(by_label[k : k + 150] for k in range(0, 600, 150)), strict=True) for row in rows
    ]
    for rows in (by_label, alternating):
        found = finding(audited(rows), "row_order")
        assert found.severity == "note"
        assert "of train labels are told (largest class" in found.message


def test_length_that_tells_the_label() -> None:
    rows = [(label, text + " " + "x" * 80 * LABELS.index(label)) for label, text in TRAIN]
    found = finding(audited(rows), "length_tells_label")
    assert found.severity == "warning"
    assert "from the number of characters alone, 100.0% of train labels are told" in found.message


def test_traces_of_wrong_decoding_and_of_web_pages() -> None:
    traces = {
        "mojibake": "caf\u00c3\u00a9 it\u00e2\u20ac\u2122s",
        "replacement_characters": "caf\ufffd",
        "windows_1252": "it\u0092s",
        "control_characters": "a\u0008b",
        "html": "a <br /> b &amp; c",
        "other_writing_system": " ".join(["\u043f\u0440\u0438\u0432\u0435\u0442"] * 40),
    }
    rows = [
        (label, f"{trace} {text}") for trace, (label, text) in zip(traces.values(), TRAIN[:6], strict=True)
    ]
    right = (
        "ALPHA",
        "caf\u00e9 \u00abvoil\u00e0\u00bb CAF\u00c9\u00bb \u00c2 a < b & c; d > e \u2014 \u03bb\U0001f600",
    )
    report = audited([*rows, *TRAIN[6:], right])
    found = sorted((f.check, places(f)) for f in report.findings)
    assert found == sorted((trace, [[f"train {i}"]]) for i, trace in enumerate(traces, 1))
    assert finding(report, "mojibake").examples[0].note == repr("\u00c3\u00a9")


@pytest.mark.parametrize(
    ("text", "system"),
    [
        ("Hello 123", "Latin"),
        ("\u043f\u0440\u0438\u0432\u0435\u0442 hi", "Cyrillic"),
        ("iPhone \u624b\u673a\u5f88\u597d\u7528 OK", "Han"),
        ("\u3053\u308c\u306f\u826f\u3044\u6620\u753b", "unspaced (Kana, Thai and the like)"),
        ("\uc88b\uc740 \uc601\ud654", "Hangul"),
        ("\uff28\uff49", "Latin"),
        ("12 !", None),
        ("", None),
    ],
)
def test_writing_system(text: str, system: str | None) -> None:
    assert writing_system(text) == system


def test_long_texts_and_the_limit_of_tokens() -> None:
    rows = [*TRAIN[:-1], (TRAIN[-1][0], " ".join(f"u{i}" for i in range(700)))]
    found = finding(audited(rows), "very_long_texts")
    assert places(found) == [["train 600"]]
    cut = finding(audited(rows, None, "text.max_tokens=14"), "cut_texts")
    assert "of train have more than 14 tokens and are cut there by the recipe" in cut.message
    assert cut.count == sum(len(text.split()) > 14 for _, text in rows)
    assert audited(rows).facts["lengths"]["train"]["tokens"]["max"] == 700


# ---- label errors ---------------------------------------------------------------------------------------


def test_planted_label_errors_are_found() -> None:
    """3% of labels are flipped at random; the set is easy, so what comes out is right.

    What stays hidden are texts of which the model is less sure than of that class on average.
    """
    rng = np.random.default_rng(3)
    flipped = set(rng.choice(len(TRAIN), 18, replace=False).tolist())
    rows = [
        (LABELS[(LABELS.index(label) + 1 + i % 3) % 4] if i in flipped else label, text)
        for i, (label, text) in enumerate(TRAIN)
    ]
    report = audited(rows, options=AuditOptions())
    found = finding(report, "label_errors")
    suspects = {row.number - 1: example.note for example in found.examples for row in example.rows}
    hits = flipped & set(suspects)
    assert len(hits) / len(flipped) >= 0.75, "recall"
    assert len(hits) / len(suspects) >= 0.95, "precision"
    right = sum(f"suggested {TRAIN[i][0]}," in (suspects[i] or "") for i in hits)
    assert right / len(hits) >= 0.9, "suggestions"
    assert found.severity == "warning"
    noise = report.facts["label_errors"]["noise_share"]
    assert noise == pytest.approx(0.03, abs=0.01)
    assert report.findings == audited(rows, options=AuditOptions()).findings, "the same seed, the same report"


# ---- rows that training refuses -------------------------------------------------------------------------


def test_faulty_rows_are_findings_not_errors() -> None:
    rows: list[tuple[str | None, str | None]] = [*TRAIN]
    rows[3], rows[8], rows[11] = (rows[3][0], " \t"), (None, rows[8][1]), (" ", None)
    rows[20], rows[30] = (rows[20][0], "half \ud83d character"), (rows[30][0], None)
    rows[40] = (rows[40][0], "x" * 2001)
    report = audited(rows, None, "data.max_text_bytes=2000")  # type: ignore[arg-type]
    empty = finding(report, "empty_texts")
    assert (empty.severity, empty.message) == (
        "error",
        "3 rows have no text; training refuses them (3 in train)",
    )
    assert places(empty) == [["train 4"], ["train 12"], ["train 31"]]
    assert empty.cure.startswith("--set data.empty_texts=drop")
    assert places(finding(report, "unlabelled")) == [["train 9"], ["train 12"]]
    assert places(finding(report, "not_unicode")) == [["train 21"]]
    assert finding(report, "too_long").message == (
        "1 row has more than 2,000 bytes (data.max_text_bytes) (1 in train)"
    )
    assert places(finding(report, "too_long")) == [["train 41"]]
    assert report.sizes == {"train": 597}
    dropped = audited(rows, None, "data.max_text_bytes=2000", "data.empty_texts=drop")  # type: ignore[arg-type]
    assert finding(dropped, "empty_texts").severity == "note"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("A", "x y"), ("A", "z")], "All examples have the same label.*only 'A'.*data.label_column"),
        ([("A", " "), ("B", "")], "No example is left.*only empty texts"),
        ([("", "x"), (" ", "y")], "No row has both a text and a label.*2 rows"),
        ([("A", "x"), ("B", 3)], "A text is not a string.*train, row 2"),
        ([], "There are no texts"),
    ],
)
def test_what_no_audit_can_look_past(rows: Rows, message: str) -> None:
    with pytest.raises(DataError, match=f"(?s){message}"):
        audited(rows)


def test_texts_without_labels() -> None:
    with pytest.raises(DataError, match=r"(?s)The examples have no labels.*data\.label_column"):
        audit(InMemory(["a", "b"]))


def test_series_are_refused() -> None:
    series = SeriesSet(np.zeros((2, 1), np.float32), np.arange(3), ("a", "b"), ("1", "2"), ("x",), "arrays")
    with pytest.raises(DataError, match=r"(?s)Numeric series cannot be audited yet.*grunlock train"):
        audit(series)
    with pytest.raises(DataError, match="Numeric series"):
        audit("x.npz", recipe=read_recipe("series"))


def test_sets_too_small_to_judge() -> None:
    report = audited([("A", "one"), ("B", "two"), ("B", "three")], options=AuditOptions())
    assert [f.check for f in report.findings] == ["rare_classes"]


# ---- tokens ---------------------------------------------------------------------------------------------


def test_sets_beyond_the_bound_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grunlock.audit.tokens.MAX_DISTINCT_TOKENS", 2000)
    report = audited([*TRAIN, TRAIN[0], TRAIN[-1]], options=AuditOptions())
    assert places(finding(report, "duplicates_within_split")) == [
        ["train 1", "train 601"],
        ["train 600", "train 602"],
    ]
    assert report.facts["near_duplicates"]["texts_left_out"] > 400
    assert "distinct texts after the first" in report.notes[-1]
    assert report.facts["label_errors"]["judged"] < 200


def test_normalisation_and_tokens() -> None:
    assert normalise("  \uff26ull\u3000Width ﬁne\n") == "full width fine"
    found = tokenise(["A b, c!", "a  B, C!", "", "a " * (MAX_TOKENS + 5)], "words")
    assert found.distinct.tolist() == [0, 0, 1, 2]
    assert found.first_rows.tolist() == [0, 2, 3]
    assert [found.vocab[i] for i in found.ids[: found.bounds[1]]] == ["a", "b", ",", "c", "!"]
    assert found.num_tokens.tolist() == [5, 5, 0, MAX_TOKENS + 5]
    assert found.empty.tolist() == [False, True, False]
    assert found.as_written[0] != found.as_written[1]
    runs, names = found.run_counts()
    assert sorted(names[c] for c in runs[0].indices) == ["a (at the start)", "a b", "b c", "c (at the end)"]
    assert runs[1].nnz == 0
    assert runs.shape == (3, len(names))
