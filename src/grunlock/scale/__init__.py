"""The same commands on a Ray cluster: searches, training, batch prediction and serving.

Needs grunlock[scale]. What it starts lives in the rows below and knows no Ray.
"""

from grunlock.errors import missing_library

try:
    import ray as ray
except ModuleNotFoundError as error:
    raise missing_library(error) or error from error

from grunlock.scale.cluster import Cluster, Node, connected
from grunlock.scale.storage import Storage

__all__ = ["Cluster", "Node", "Storage", "connected"]
