"""What an encoder can remember, and for how long: synthetic tasks with known answers, at growing lengths.

tasks.py draws the sequences, model.py puts an encoder between them and a linear head, experiment.py trains
and scores one cell, run.py all of them into a document that can be continued, picture.py draws the curves.
"""
