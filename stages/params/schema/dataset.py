"""Parameters of the data set, which the stage prepare reads."""

import re
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from models.config import Section

# The scores that a row of VQualA 2025's labels holds.
VQUALA_TARGETS = ("Overall_MOS", "Traditional_MOS", "Alignment_MOS", "Aesthetic_MOS", "Temporal_MOS")


class DatasetParams(Section):
    """Which videos, and how their labels are written (read by prepare)."""

    format: Literal["t2vqa_db", "kvq", "vquala", "table", "folder"] = Field(
        description="format of the labels; folder: videos without scores, which can be scored and nothing else"
    )
    root: str = Field(min_length=1, description="folder of the data set; DVC tracks it")
    labels: str = Field(
        min_length=1,
        description="label file, relative to dataset.root, or a folder of lists train.*, val.*, test.*; "
        "the format folder ignores it",
    )
    videos: str = Field(description="folder that the labels' file names start from, relative to dataset.root")
    target: str = Field(
        min_length=1, description="column that is the MOS, for table and vquala; the other formats have one: mos"
    )
    pairs: str = Field(
        description="workbook of rated pairs (.xlsx, as KVQ's), relative to dataset.root; empty: there are none"
    )
    mos_min: float = Field(description="lowest possible MOS on the data set's own scale")
    mos_max: float = Field(description="highest possible MOS on the data set's own scale")
    generator_pattern: str = Field(
        description="regular expression with a group `generator`, searched in file names; empty: no generators"
    )
    group_pattern: str = Field(
        description="regular expression with a group `group`, searched in file names: what split.by group keeps "
        "together; empty, or without a match: the prompt, else the video alone"
    )
    max_missing_fraction: float = Field(
        ge=0, le=1, description="share of the frames that a header promises that may be missing"
    )

    @field_validator("generator_pattern", "group_pattern")
    @classmethod
    def _names_its_group(cls, pattern: str, info: ValidationInfo) -> str:
        name = str(info.field_name).removesuffix("_pattern")
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        if pattern and name not in groups:
            raise ValueError(f"the group (?P<{name}>...) is missing")
        return pattern

    @model_validator(mode="after")
    def _ordered(self) -> "DatasetParams":
        if self.mos_min >= self.mos_max:
            raise ValueError(f"mos_min = {self.mos_min:g} must be below mos_max = {self.mos_max:g}")
        return self

    @model_validator(mode="after")
    def _has_the_target(self) -> "DatasetParams":
        allowed = {"table": None, "vquala": VQUALA_TARGETS}.get(self.format, ("mos",))
        if allowed is not None and self.target not in allowed:
            raise ValueError(f"target = {self.target!r} with format = {self.format}; allowed: {', '.join(allowed)}")
        return self
