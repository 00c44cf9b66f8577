"""The series front end as C arrays."""

import numpy as np

from grunlock.export.c.constants import Constants
from grunlock.export.c.matrices import matrix
from grunlock.export.portable import PortableModel
from grunlock.series import SeriesFrontEnd


def series_part(constants: Constants, model: PortableModel, front_end: SeriesFrontEnd) -> None:
    """How values become the vectors of steps."""
    standardization, options = front_end.standardization, front_end.options
    indicators = standardization.indicators
    constants.macros |= {
        "NUM_CHANNELS": len(front_end.channels),
        "NUM_FEATURES": front_end.num_features,
        "NUM_INDICATORS": len(indicators),
        "CHANGES": int(front_end.change_scale is not None),
        "EACH_ALONE": int(options.each_alone),
        "PROJECTS": int(model.projection is not None),
    }
    constants.array("grunlock_mean", standardization.mean, public=True)
    constants.array("grunlock_scale", standardization.scale, public=True)
    if indicators:
        constants.array("grunlock_indicators", np.array(indicators, np.uint16), public=True)
    if front_end.change_scale is not None:
        constants.array("grunlock_change_scale", front_end.change_scale, public=True)
    if model.projection is not None:
        weight, bias = model.projection
        projection = matrix(constants, "projection", weight)
        constants.define(f"const grunlock_matrix grunlock_projection = {projection};")
        constants.array("grunlock_projection_bias", bias, public=True)
