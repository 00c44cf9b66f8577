"""Training a recipe: loop, events, history, checkpoints, run folders. Imports torch."""
