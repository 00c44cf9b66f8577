"""Foreign GRU classifiers examined: what locks them, why it costs, what it costs, and how to mend it.

Readers (torch_files, keras_files, onnx_files) make one description (foreign.py) of a model of any origin;
experiment.py runs originals to see what they do; twin.py computes the description; checks are pure functions
of it to findings; examine.py calls them in order, convert.py brings a model into our form. Nothing trains.
"""

from grunlock.doctor.convert import Conversion, convert
from grunlock.doctor.encoded import read_labelled
from grunlock.doctor.examine import Examples, examine, examine_module, examine_patient
from grunlock.doctor.findings import Cost, Finding, Report, Unknown
from grunlock.doctor.options import Encoding, Told
from grunlock.doctor.own_data import examine_data
from grunlock.doctor.patient import Patient, read_patient

__all__ = [
    "Conversion",
    "Cost",
    "Encoding",
    "Examples",
    "Finding",
    "Patient",
    "Report",
    "Told",
    "Unknown",
    "convert",
    "examine",
    "examine_data",
    "examine_module",
    "examine_patient",
    "read_labelled",
    "read_patient",
]
