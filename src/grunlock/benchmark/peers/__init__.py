"""The contenders' side: one module per peer, imported in that peer's own process only.

Each has `start(threads)`, which sets the library up and returns its versions, and `prepare(case, contender)`.
"""
