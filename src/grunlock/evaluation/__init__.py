"""Using a trained model on files: evaluate labelled ones, predict others. Imports no torch."""

from grunlock.evaluation.files import Prediction, evaluate_file, evaluate_run, predict_file, predict_texts

__all__ = ["Prediction", "evaluate_file", "evaluate_run", "predict_file", "predict_texts"]
