"""The whole audit: read, compare, judge. Each check has a module of its own; this one calls them in order."""

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from grunlock.audit.artefacts import artefact_findings, length_rules, order_rules
from grunlock.audit.characters import character_findings, examine_characters
from grunlock.audit.classes import class_findings, count_classes
from grunlock.audit.conflicts import Conflicts, conflict_findings, disputed_texts, label_conflicts
from grunlock.audit.cross_validation import FOLDS, cross_validated_probs
from grunlock.audit.duplicates import duplicate_findings, exact_duplicates
from grunlock.audit.findings import AuditReport, Finding, by_severity
from grunlock.audit.label_errors import find_label_errors, label_error_findings
from grunlock.audit.leakage import label_words, leakage_findings, telling_tokens
from grunlock.audit.lengths import Lengths, fault_findings, length_findings, measure_lengths
from grunlock.audit.near_duplicates import near_findings, near_overlaps
from grunlock.audit.rows import LabelledTexts, Progress, read_rows
from grunlock.audit.similarity import SimilarPairs, similar_pairs
from grunlock.audit.tokens import (
    MAX_DISTINCT_TOKENS,
    MAX_TOKENS,
    NORMALISATION,
    CsrMatrix,
    Kind,
    TokenisedTexts,
    tokenise,
)
from grunlock.data.series.series_set import SeriesSet
from grunlock.data.series.sources import holds_series
from grunlock.data.sources import SplitSources
from grunlock.data.texts import Given, gather_texts
from grunlock.errors import DataError
from grunlock.recipe import Recipe, read_recipe
from grunlock.recipe.text_options import TextDataOptions
from grunlock.seeding import generator
from grunlock.shapes import IntArray
from grunlock.text import default_tokens, detect_script

MAX_JUDGED = 50_000  # labels that cross-validation judges; of more, a random sample
MAX_WEIGHTS = (
    100_000_000  # tokens of the judged texts times classes, that a training goes through: half a minute
)


@dataclass(frozen=True)
class AuditOptions:
    """What to look for.

    cross_validation: judge the labels by a linear model, the slowest check
    similarity:       Jaccard similarity from which two texts are near-duplicates, above 0, at most 1
    max_examples:     of each finding
    seed:             of folds and samples
    """

    cross_validation: bool = True
    similarity: float = 0.8
    max_examples: int = 100
    seed: int = 0


def audit(
    source: Given,
    *,
    valid: Given | None = None,
    test: Given | None = None,
    recipe: Recipe | None = None,
    options: AuditOptions | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Look for what is wrong with labelled texts before anything is trained on them.

    source, valid, test: as for grunlock.train; a file alone is judged as it is, before any split is cut.
    recipe:   how to read, and the limit of tokens; the default recipe if not given.
    progress: called with what is being done and how far it is.

    Everything is held in memory: some 80 bytes per token at the peak, beside the texts.
    Raises DataError for files that cannot be read, sets without labels or with one, and numeric series.
    """
    recipe, options = recipe or read_recipe("default"), options or AuditOptions()
    if not isinstance(recipe.data, TextDataOptions) or _is_series(source):
        raise series_refused(source)
    if not 0 < options.similarity <= 1:
        raise DataError(
            "There is no such similarity.",
            where="similarity",
            got=options.similarity,
            expected="above 0, at most 1",
        )
    opened = gather_texts(source, valid, test, recipe.data)
    data = read_rows(opened.by_split(), recipe.data.max_text_bytes, progress)
    return _Audit(data, recipe, recipe.data, options, progress).report(opened)


def series_refused(source: object) -> DataError:
    return DataError(
        "Numeric series cannot be audited yet.",
        where=getattr(source, "name", source),
        got="numeric series",
        expected="labelled texts: .csv, .tsv, .jsonl or .parquet",
        cure="`grunlock train` checks channels, missing values and lengths of series as it reads them",
    )


def _is_series(source: Given) -> bool:
    if isinstance(source, str | os.PathLike):
        return holds_series(source)
    return isinstance(source, SeriesSet)


class _Audit:
    """What several checks need, computed once."""

    def __init__(
        self,
        data: LabelledTexts,
        recipe: Recipe,
        reading: TextDataOptions,
        options: AuditOptions,
        progress: Progress | None,
    ) -> None:
        self.data, self.recipe, self.reading, self.options = data, recipe, reading, options
        self.progress = progress or _silent
        self.script = detect_script(data.texts)
        kind: Kind = default_tokens(self.script)
        self.tokenised: TokenisedTexts = tokenise(data.texts, kind, progress)
        self.runs, self.run_names = self.tokenised.run_counts()
        self.of_distinct: IntArray = data.targets[self.tokenised.first_rows].astype(np.int64)

    def report(self, opened: SplitSources) -> AuditReport:
        data, tokenised, limit = self.data, self.tokenised, self.options.max_examples
        assert self.recipe.text is not None  # a recipe for texts
        lengths = measure_lengths(
            data, tokenised.num_characters, tokenised.num_tokens, self.recipe.text.max_tokens
        )
        self.progress("looking at characters", len(data))
        characters = examine_characters(data.texts)
        classes = count_classes(data)
        pairs = self._similar_pairs()
        conflicts = label_conflicts(data, tokenised, pairs)
        findings = [
            *fault_findings(data, self.reading, limit),
            *class_findings(classes, self.reading.unseen_labels),
            *duplicate_findings(exact_duplicates(data, tokenised), data, limit),
            *self._near(pairs),
            *conflict_findings(conflicts, data, limit),
            *self._leakage(),
            *artefact_findings(
                order_rules(data, self.options.seed),
                length_rules(data, tokenised.num_characters, self.options.seed),
            ),
            *length_findings(lengths, data, tokenised.num_characters, limit),
            *character_findings(characters, data, limit),
        ]
        facts: dict[str, Any] = {
            "lengths": {found.split: _length_facts(found) for found in lengths},
            "writing_systems": characters.shares(),
            "normalisation": NORMALISATION,
            "near_duplicates": self._near_facts(pairs),
        }
        if self.options.cross_validation:
            findings += self._label_errors(conflicts, facts)
        counts = {
            label: {split: int(classes.counts[split][k]) for split in data.present}
            for k, label in enumerate(data.labels)
        }
        sizes = {split: int(data.in_split(split).sum()) for split in data.present}
        return AuditReport(
            by_severity(findings), sizes, counts, facts, _notes(opened, tokenised.num_left_out)
        )

    def _similar_pairs(self) -> SimilarPairs:
        doing = partial(self.progress, "comparing distinct texts")
        return similar_pairs(self.runs, self.options.similarity, doing)

    def _near(self, pairs: SimilarPairs) -> list[Finding]:
        overlaps = near_overlaps(self.data, self.tokenised, pairs)
        complete = pairs.exhaustive and not self.tokenised.num_left_out
        kind, threshold, limit = self.tokenised.kind, self.options.similarity, self.options.max_examples
        return near_findings(overlaps, self.data, kind, threshold, complete, limit)

    def _near_facts(self, pairs: SimilarPairs) -> dict[str, Any]:
        return {
            "runs_of_two": self.tokenised.kind,
            "similarity": self.options.similarity,
            "pairs": len(pairs.first),
            "exhaustive": pairs.exhaustive,
            "compared_tokens_of_a_text": MAX_TOKENS,
            "texts_left_out": self.tokenised.num_left_out,
        }

    def _leakage(self) -> list[Finding]:
        self.progress("looking for leaks", 0)
        data, tokenised = self.data, self.tokenised
        texts = [data.texts[row] for row in tokenised.first_rows.tolist()]
        words = label_words(texts, self.of_distinct, data.labels, tokenised.kind)
        counts, names = self._tokens_and_runs()
        tokens = telling_tokens(counts, names, self.of_distinct, len(data.labels))
        return leakage_findings(words, tokens, data.labels, self.options.max_examples)

    def _tokens_and_runs(self) -> tuple[CsrMatrix, list[str]]:
        """[M, tokens and runs] counts. Made anew each time: kept, it would be the largest thing in memory."""
        from scipy.sparse import hstack

        both = hstack([self.tokenised.token_counts(), self.runs], "csr")
        return both, [*self.tokenised.vocab, *self.run_names]

    def _label_errors(self, conflicts: Conflicts, facts: dict[str, Any]) -> list[Finding]:
        """Judge distinct texts that have tokens and one label; texts with several are reported already."""
        self.progress("judging labels, fold", 0)
        judged = np.flatnonzero(np.diff(self.tokenised.bounds) > 0)
        judged = np.setdiff1d(judged, disputed_texts(conflicts, self.tokenised))
        counts, _ = self._tokens_and_runs()
        per_text = max(1, counts.nnz // counts.shape[0]) * len(self.data.labels)
        at_most = min(MAX_JUDGED, max(FOLDS, MAX_WEIGHTS // per_text))
        if len(judged) > at_most:
            sample = generator(self.options.seed, "audit", "sample").permutation(len(judged))[:at_most]
            judged = np.sort(judged[sample])
        targets = self.of_distinct[judged]
        if len(np.unique(targets)) < 2 or len(judged) < FOLDS:
            return []
        doing = partial(self.progress, "judging labels, fold")
        num_classes = len(self.data.labels)
        probs = cross_validated_probs(counts[judged], targets, num_classes, self.options.seed, doing)
        found = find_label_errors(probs, targets)
        facts["label_errors"] = {
            "judged": found.num_judged,
            "distinct_texts": len(self.of_distinct),
            "accuracy": found.accuracy,
            "noise_share": found.noise_share,
            "folds": FOLDS,
        }
        rows = self.tokenised.first_rows[judged]
        return label_error_findings(found, rows, self.data, self.data.labels, self.options.max_examples)


def _length_facts(found: Lengths) -> dict[str, Any]:
    return {
        "characters": found.characters,
        "tokens": found.tokens,
        "max_tokens": found.max_tokens,
        "cut": found.num_cut,
    }


def _notes(opened: SplitSources, num_left_out: int) -> tuple[str, ...]:
    notes, columns = list(opened.notes), opened.train.columns
    if columns is not None and columns.note is not None:
        notes.append(columns.note)
    if num_left_out:
        notes.append(
            f"{num_left_out:,} distinct texts after the first {MAX_DISTINCT_TOKENS:,} tokens are compared "
            "for exact copies only"
        )
    return tuple(notes)


def _silent(doing: str, done: int) -> None:
    """Reports nothing."""
