"""Using a trained model on files: evaluate labelled ones, predict others. Imports no torch."""

from grunlock.evaluation.answers import Promises
from grunlock.evaluation.files import (
    Answer,
    evaluate_file,
    evaluate_prepared,
    evaluate_run,
    model_answers,
    predict_file,
    run_answers,
)
from grunlock.evaluation.series import SeriesPrediction
from grunlock.evaluation.texts import Prediction, predict_texts

__all__ = [
    "Answer",
    "Prediction",
    "Promises",
    "SeriesPrediction",
    "evaluate_file",
    "evaluate_prepared",
    "evaluate_run",
    "model_answers",
    "predict_file",
    "predict_texts",
    "run_answers",
]
