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
    validated_model,
)
from grunlock.evaluation.series import SeriesPrediction, series_of_file
from grunlock.evaluation.texts import Prediction, predict_texts, texts_of_file
from grunlock.evaluation.writing import example_of, write_csv, write_jsonl

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
    "example_of",
    "model_answers",
    "predict_file",
    "predict_texts",
    "run_answers",
    "series_of_file",
    "texts_of_file",
    "validated_model",
    "write_csv",
    "write_jsonl",
]
