"""Optimisers, schedules, clipping and weight averages. Import the module you need: most import torch."""
