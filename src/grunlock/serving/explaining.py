"""The explanation of /v1/explain, found when it is first asked for."""

from grunlock.runtime.classifier import TextClassifier
from grunlock.serving.endpoints import Explanation


def exact_shares(classifier: TextClassifier, text: str) -> Explanation:
    """What each token gives to each label's logit. Raises ExplanationError as explain_exactly."""
    from grunlock.explanation.exact import explain_exactly

    return explain_exactly(classifier, text)
