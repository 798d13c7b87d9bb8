"""The detector that a configuration describes, whatever its back end."""

from typing import overload

from models.detectors.config import DetectronConfig, FasterRcnnConfig
from models.detectors.detectron import DetectronDetector, build_detectron
from models.detectors.faster_rcnn import FasterRcnn, build_faster_rcnn


@overload
def build_detector(config: FasterRcnnConfig, *, seed: int = 0) -> FasterRcnn: ...
@overload
def build_detector(config: DetectronConfig, *, seed: int = 0) -> DetectronDetector: ...


def build_detector(config: FasterRcnnConfig | DetectronConfig, *, seed: int = 0) -> FasterRcnn | DetectronDetector:
    """The detector that `config` describes, on the CPU, with random weights that depend on `seed` alone.

    The global random state stays as it was. Raises DetectorError, or BackboneError for a backbone that timm lacks, when
    no network can be built from the configuration.
    """
    if isinstance(config, DetectronConfig):
        return build_detectron(config, seed=seed)
    return build_faster_rcnn(config, seed=seed)
