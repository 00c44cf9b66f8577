"""Why a trained classifier answers as it does. Imports no torch."""

from grunlock.explanation.exact import ExactExplainer, explain_exactly
from grunlock.explanation.results import Explanation, Gate, TokenShare, WordShare

__all__ = ["ExactExplainer", "Explanation", "Gate", "TokenShare", "WordShare", "explain_exactly"]
