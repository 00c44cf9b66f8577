"""Why a trained classifier answers as it does. Importing it imports no torch."""

from grunlock.explanation.corpus import CorpusExplanation, TokenGates, explain_corpus
from grunlock.explanation.exact import ExactExplainer, explain_exactly
from grunlock.explanation.examples import Examples, examples_of_file, validation_examples
from grunlock.explanation.faithfulness import Faithfulness, faithfulness
from grunlock.explanation.methods import METHODS, Attribution, Explained, Explainer, explain
from grunlock.explanation.results import Explanation, Gate, TokenShare, WordShare

__all__ = [
    "METHODS",
    "Attribution",
    "CorpusExplanation",
    "ExactExplainer",
    "Examples",
    "Explained",
    "Explainer",
    "Explanation",
    "Faithfulness",
    "Gate",
    "TokenGates",
    "TokenShare",
    "WordShare",
    "examples_of_file",
    "explain",
    "explain_corpus",
    "explain_exactly",
    "faithfulness",
    "validation_examples",
]
