"""Models for ONNX Runtime, without torch's exporter: the graph is built operator by operator.

graph.py       a graph in the making, constants as float32 or int8
sequences.py   the graph's inputs and the vectors made of them
windows.py, norms.py, encoder.py, pooling.py, wide.py, network.py
               the parts of a network, and the whole
front_end.py   what reading texts or series needs beside the graph
predict_text.py, predict_series.py
               the script beside the graph; it imports nothing of this library and is copied as it is
write.py       the folder; model.py runs it
"""

from grunlock.export.onnx.model import OnnxModel
from grunlock.export.onnx.write import OnnxExport, write_onnx

__all__ = ["OnnxExport", "OnnxModel", "write_onnx"]
