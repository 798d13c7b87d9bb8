"""Object detectors behind one interface: frames in, boxes in pixels of those frames out."""

from models.detectors.faster_rcnn import FasterRcnn, FasterRcnnConfig, build_faster_rcnn
from models.detectors.interface import Detections, Detector, DetectorError

__all__ = ["Detections", "Detector", "DetectorError", "build_detector"]


def build_detector(config: FasterRcnnConfig, *, seed: int = 0) -> FasterRcnn:
    """The detector that `config` describes, on the CPU, with random weights that depend on `seed` alone.

    Raises DetectorError for a configuration that no network can be built from. The global random state stays as it was.
    """
    return build_faster_rcnn(config, seed=seed)
