"""Students that learn from teachers: files of probabilities, other models, ensembles of their own kind."""
