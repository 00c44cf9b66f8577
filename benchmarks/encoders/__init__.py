"""Every encoder on real data sets, each for the same time of training: `python -m benchmarks.encoders`.

plan.py names the sets, encoders and budgets. pace.py measures an epoch, training.py trains and scores one
run, latency.py times single predictions: each in a worker process of its own, started by worker.py.
processes.py keeps workers going, store.py keeps what is done, table.py makes figures of it.
"""
