"""What made a file of weights, stage by stage: the typed form of the history in its metadata.

Every table and every file of weights carries what made it, as JSON under the names of the stages. Scoring needs some of
it, such as which frames were decoded; this module is the one place that knows its layout.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from models.methods.reading import FramePlan
from stages.errors import WeightsError
from stages.io.images import Shape
from stages.params.schema import CropParams, DecodeParams, ProposeParams


class Record(BaseModel):
    """What made the values of one stage.

    Attributes:
        code: Fingerprint of the stage's code.
        libraries: Versions of the libraries that change its values.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    code: str = ""
    libraries: dict[str, str] = {}


class LabelScale(BaseModel):
    """Those params of the data set that scoring needs.

    Attributes:
        mos_min: Lowest possible MOS on the data set's own scale.
        mos_max: Highest possible MOS on that scale.
        max_missing_fraction: Share of the frames stated by a header that may be missing, 0..1.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    mos_min: float
    mos_max: float
    max_missing_fraction: float


class PrepareRecord(Record):
    """The data set that the labels come from.

    Attributes:
        params: Scale and tolerance.
    """

    params: LabelScale


class DecodeRecord(Record):
    """How frames were chosen and stored.

    Attributes:
        params: Those of the decode stage.
        plan: Which frames of a video it took.
    """

    params: DecodeParams
    plan: FramePlan


class ProposeRecord(Record):
    """How objects were found.

    Attributes:
        params: Which boxes were kept.
        every: Distance of the frames that were looked at.
        backend: Which detector it was.
        detector: Its configuration.
        weights: Digest of its weights.
    """

    params: ProposeParams
    backend: str
    detector: dict[str, Any]
    weights: str


class CropRecord(Record):
    """How crops were chosen.

    Attributes:
        params: Those of the section crop.
        weights: SHA-256 of the cropper's file; None where crops were chosen without looking.
    """

    params: CropParams
    weights: str | None = None


class History(BaseModel):
    """The history of a trained quality model: the stages whose choices scoring repeats.

    Attributes:
        prepare: The data set.
        decode: How frames were chosen.
        propose: How objects were found; None where crops were chosen without looking.
        crop: How crops were chosen; None for methods that read none.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    prepare: PrepareRecord
    decode: DecodeRecord
    propose: ProposeRecord | None = None
    crop: CropRecord | None = None

    @model_validator(mode="after")
    def _knows_its_networks(self) -> Self:
        if self.crop is not None and not self.crop.params.is_blind:
            for name, value in (("propose", self.propose), ("crop.weights", self.crop.weights)):
                if value is None:
                    raise PydanticCustomError("missing_record", "missing: {place}", {"place": name})
        return self

    @classmethod
    def read(cls, values: object, *, source: str | Path) -> Self:
        """The history in a file's metadata.

        Args:
            values: What the metadata holds.
            source: The file, for the message.

        Raises:
            WeightsError: The history is empty, or from another version of this program or another program.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            places = dict.fromkeys(
                ".".join(map(str, problem["loc"])) or problem.get("ctx", {}).get("place", "all of it")
                for problem in error.errors()
            )
            raise WeightsError(
                f"{source}: its history does not say how to score as it was trained (wrong or missing: "
                f"{', '.join([*places][:6])}); another version of this program, or another program, wrote it; "
                "`dvc repro` trains a model"
            ) from None


def crop_shape(made_by: Mapping[str, Any]) -> Shape | None:
    """How crops fill the square that the network sees, by the history in a table's metadata.

    Args:
        made_by: That history: stage -> what made its values.
    """
    return CropRecord.model_validate(made_by["crop"]).params.shape if "crop" in made_by else None


def crop_method(made_by: Mapping[str, Any]) -> str | None:
    """Who chose the crops, by the history in a table's metadata: the name of their folder.

    Args:
        made_by: That history: stage -> what made its values.

    Returns:
        The name; None for a table that derives from no crops.
    """
    return CropRecord.model_validate(made_by["crop"]).params.method if "crop" in made_by else None


def decoded_frames(made_by: Mapping[str, Any]) -> DecodeRecord:
    """The frames that a table derives from, by the history in its metadata.

    Args:
        made_by: That history: stage -> what made its values.
    """
    return DecodeRecord.model_validate(made_by["decode"])
