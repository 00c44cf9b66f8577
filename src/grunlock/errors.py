"""Every error this package raises on purpose, and the one form in which they speak.

A message says what is wrong, where, what was got, what was expected and how to cure it.
Nothing here catches or repairs anything.
"""


class GrunlockError(Exception):
    """Base of all our errors. Fields stay readable so that callers need not parse the text.

    Args:
        what: one sentence on what is wrong.
        where: file, line, key or member.
        got: what was found there.
        expected: what would have been right.
        cure: what the user can do, a command if there is one.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        got: object = None,
        expected: object = None,
        cure: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.got = got
        self.expected = expected
        self.cure = cure
        super().__init__(self._message())

    def __str__(self) -> str:
        return self._message()  # not of `args`, to which Ray adds its own words

    def _message(self) -> str:
        fields = {
            "where": self.where,
            "got": self.got,
            "expected": self.expected,
            "cure": self.cure,
        }
        lines = [f"  {name + ':':<10}{value}" for name, value in fields.items() if value is not None]
        return "\n".join([self.what, *lines])


class _CollectedError(GrunlockError):
    """May stand for several faults. `problems` holds every one found; empty if this is the only one."""

    def __init__(self, what: str, *, problems: tuple[GrunlockError, ...] = (), **fields: object) -> None:
        self.problems = problems
        super().__init__(what, **fields)  # type: ignore[arg-type]

    def _message(self) -> str:
        own = super()._message()
        return "\n".join([own, *(f"- {problem}" for problem in self.problems)])


class RecipeError(_CollectedError, ValueError):
    """A recipe cannot be read."""


class DataError(_CollectedError, ValueError):
    """The user's data cannot be read, understood or learned from."""


class DamagedFileError(DataError):
    """A file is not what its format demands from its first byte to its last: cut off, or altered."""


class ArtifactError(GrunlockError):
    """A model file is damaged, altered, unsafe or of an unknown version."""


class CalibrationError(GrunlockError):
    """A model is asked to promise what its calibration examples, if it had any, cannot support."""


class StreamError(GrunlockError):
    """A model is asked to read piece by piece and needs the whole, or a stream for what it no longer does."""


class ShapeError(GrunlockError, ValueError):
    """Arrays whose sizes disagree."""


class StorageError(GrunlockError):
    """A file cannot be written or read: full disk, missing rights. What stood there before still does."""


class RunError(GrunlockError):
    """A run folder cannot be created, resumed or continued."""


class RunInterruptedError(RunError):
    """The user stopped a run. Its checkpoint is written and it can be resumed."""


class StudyError(GrunlockError):
    """A search cannot be started, continued or brought to a result."""


class NoTrialError(StudyError):
    """The time of a search was over before one trial had ended. It can go on from there."""


class BenchmarkError(GrunlockError):
    """A file of benchmark results is not what this benchmark can continue. The file is left as it is."""


class TrainingError(GrunlockError):
    """Training cannot go on, for example because gradients stay non-finite."""


class ExportError(GrunlockError):
    """A model cannot become what a target needs, or what came out does not answer as the model does."""


class ExplanationError(GrunlockError):
    """A model or an example cannot be explained in the way that is asked for."""


class DoctorError(GrunlockError):
    """A foreign model cannot be read, examined or brought into our form."""


class ServingError(GrunlockError):
    """A server cannot be started, or cannot take a new model."""


class ClusterError(GrunlockError):
    """A cluster cannot be reached or used, or a worker or node of it was lost."""


class ReportError(GrunlockError):
    """There is nothing to draw a report of, or what is there does not fit together."""


class KernelError(GrunlockError):
    """The compiled kernels cannot be loaded, or one is asked for that this machine or build does not have."""


class MissingDependencyError(GrunlockError, ImportError):
    """An optional part of the package is used and its library is not installed."""


_TRAINING = (
    "duckdb",
    "optuna",
    "pytorch_optimizer",
    "schedulefree",
    "scipy",
    "sklearn",
    "tensorboard",
    "torch",
)
_EXTRAS = {
    "train": (_TRAINING, "the libraries for training; prediction and evaluation need none of them"),
    "explain": (("captum",), "captum, for integrated gradients and occlusion; exact shares need none of it"),
    "doctor": (
        ("h5py", "onnx", "onnxruntime"),
        "h5py, onnx and onnxruntime, which read and run the files of Keras and ONNX",
    ),
    "report": (("jinja2", "plotly"), "jinja2 and plotly, which draw reports"),
    "serve": (
        ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "prometheus_client", "websockets"),
        "the libraries of the server; prediction in one's own process needs none of them",
    ),
    "scale": (("ray", "pyarrow"), "ray and pyarrow, which run the commands on a cluster"),
}
_EXTRA_OF = {library: (extra, why) for extra, (libraries, why) in _EXTRAS.items() for library in libraries}


def missing_library(error: ModuleNotFoundError) -> MissingDependencyError | None:
    """Our words for a library of an extra that is not installed; None for any other module."""
    name = (error.name or "").partition(".")[0]
    if name not in _EXTRA_OF:
        return None
    extra, expected = _EXTRA_OF[name]
    return MissingDependencyError(
        "This needs a library that is not installed.",
        got=f"no module {name}",
        expected=expected,
        cure=f'pip install "grunlock[{extra}]"',
    )


class NotFittedError(GrunlockError, ValueError, AttributeError):
    """An estimator is asked for predictions before fit."""
