"""Object detectors behind one interface: frames in, boxes in pixels of those frames out."""

from typing import overload

from models.detectors.detectron import DetectronDetector, build_detectron
from models.detectors.detectron_config import DetectronConfig
from models.detectors.faster_rcnn import FasterRcnn, FasterRcnnConfig, build_faster_rcnn
from models.detectors.interface import Detections, Detector, DetectorError

__all__ = ["Detections", "Detector", "DetectorError", "build_detector"]


@overload
def build_detector(config: FasterRcnnConfig, *, seed: int = 0) -> FasterRcnn: ...
@overload
def build_detector(config: DetectronConfig, *, seed: int = 0) -> DetectronDetector: ...


def build_detector(config: FasterRcnnConfig | DetectronConfig, *, seed: int = 0) -> FasterRcnn | DetectronDetector:
    """The detector that `config` describes, on the CPU, with random weights that depend on `seed` alone.

    Raises DetectorError for a configuration that no network can be built from. The global random state stays as it was.
    """
    if isinstance(config, DetectronConfig):
        return build_detectron(config, seed=seed)
    return build_faster_rcnn(config, seed=seed)
