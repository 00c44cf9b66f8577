"""Using a trained model on files: evaluate labelled ones, predict others. Imports no torch."""

from grunlock.evaluation.answers import Promises
from grunlock.evaluation.early import EarlyCurve, early_curve
from grunlock.evaluation.files import (
    Answer,
    early_curve_file,
    early_curve_run,
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
    "EarlyCurve",
    "Prediction",
    "Promises",
    "SeriesPrediction",
    "early_curve",
    "early_curve_file",
    "early_curve_run",
    "evaluate_file",
    "evaluate_prepared",
    "evaluate_run",
    "model_answers",
    "predict_file",
    "predict_texts",
    "run_answers",
]
