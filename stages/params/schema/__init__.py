"""The sections of params.yaml: one frozen, closed model each, the unit of every value in its description.

`stages.params.load` reads a file into them and words the errors.
"""

from pydantic import Field

from models.config import Section
from models.methods.reading import FramePlan, MethodParams, Need
from stages.params.schema.crop import CropParams
from stages.params.schema.cropper import CropperParams
from stages.params.schema.dataset import ColumnParams, DatasetParams, TableParams, is_number
from stages.params.schema.decode import DecodeParams
from stages.params.schema.demo import DemoParams
from stages.params.schema.detector import DetectorParams
from stages.params.schema.engine import EngineParams
from stages.params.schema.evaluate import EvaluateParams
from stages.params.schema.methods import MethodName, MethodSections
from stages.params.schema.propose import ProposeParams
from stages.params.schema.split import SplitParams
from stages.params.schema.train import TrainParams

__all__ = [
    "ColumnParams",
    "CropParams",
    "CropperParams",
    "DatasetParams",
    "DecodeParams",
    "DemoParams",
    "DetectorParams",
    "EngineParams",
    "EvaluateParams",
    "Params",
    "ProposeParams",
    "SplitParams",
    "TableParams",
    "TrainParams",
    "is_number",
]


class Params(Section):
    """All of params.yaml."""

    demo: DemoParams
    dataset: DatasetParams
    split: SplitParams
    decode: DecodeParams
    detector: DetectorParams
    propose: ProposeParams
    cropper: CropperParams
    crop: CropParams
    method: MethodName = Field(description="what scores the videos; reads the sub-section of methods of its name")
    methods: MethodSections
    train: TrainParams
    evaluate: EvaluateParams
    engine: EngineParams

    @property
    def chosen(self) -> MethodParams:
        """The section of the chosen method."""
        section: MethodParams = getattr(self.methods, self.method)
        return section

    @property
    def plan(self) -> FramePlan:
        """Which frames of a video are decoded: those that the chosen method reads."""
        return self.chosen.plan(count=self.decode.frames)

    @property
    def reads_crops(self) -> bool:
        """Whether the chosen method reads crops: only then the stages that choose them have work."""
        return Need.CROPS in self.chosen.needs

    @property
    def looks_for_crops(self) -> bool:
        """Whether crops are chosen by looking at frames: only then detector and cropper have work."""
        return self.reads_crops and not self.crop.is_blind
