"""Systems held against each other: duels and ablations, and the statistics that say who is ahead.

The statistics know arrays only: no model, no training, no torch.
"""
