"""Other classifiers to hold a recipe against. So far: the linear baseline."""
