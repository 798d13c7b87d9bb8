"""The errors of the pipeline: each names the file, row or key that is wrong and what is allowed."""

import errno

from models.errors import AigcVqaError

# A full disk, a used-up quota, a limit on file sizes: nothing is wrong with the data, and a later run can go on.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ParamsError(AigcVqaError):
    """params.yaml, or a preset, does not fit the schema; the text lists every problem at once."""


class DatasetError(AigcVqaError):
    """A label file or a folder of data cannot be used; the text names the file and the line."""


class VideoError(AigcVqaError):
    """One video cannot be used; the text is the reason that tables and reports show."""


class TableError(AigcVqaError):
    """A Parquet table is missing, damaged, or not the table that its place asks for."""


class DamagedFileError(AigcVqaError):
    """A file of `.cache` is not what was written there; whoever reads it makes it anew."""


class WeightsError(AigcVqaError):
    """A weights file is missing, damaged, or made for another network."""


class EngineError(AigcVqaError):
    """Too many videos failed, or none is left, for a stage to go on."""


class ExperimentError(AigcVqaError):
    """A series of experiments that cannot be planned or run."""


class EvaluationError(AigcVqaError):
    """Predictions that no metric can be computed from."""


class RevisionError(AigcVqaError):
    """A Git revision, or a file of it, that is not there."""


class GateError(AigcVqaError):
    """The gate cannot compare: a wrong option, or a baseline without metrics."""
