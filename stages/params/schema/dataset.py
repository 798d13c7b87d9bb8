"""Parameters of the data set, which the stage prepare reads."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from models.config import Section, ShellText

# The scores that a row of VQualA 2025's labels holds.
VQUALA_TARGETS = ("Overall_MOS", "Traditional_MOS", "Alignment_MOS", "Aesthetic_MOS", "Temporal_MOS")
# The scores that a rater of FETV gave to a video.
FETV_TARGETS = ("static_quality", "temporal_quality", "alignment")


def _as_text(value: Any) -> Any:
    """Columns may be numbered, and YAML reads 2 as a number; true is no column."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# A column of a table: its name, or its number from 1.
Column = Annotated[str, BeforeValidator(_as_text)]


def is_number(column: str) -> bool:
    """Whether a column is given by its number, from 1, and not by its name."""
    return re.fullmatch(r"[1-9]\d*", column, re.ASCII) is not None


class ColumnParams(Section):
    """The columns of a table, by name or by number from 1; the MOS is `dataset.target`."""

    path: Column = Field(min_length=1, description="column of the file names, by name or number from 1")
    prompt: Column = Field(description="column of the prompts, used when it is there; empty: none")
    generator: Column = Field(description="column of what generated a video, used when it is there; empty: none")
    group: Column = Field(description="column of what split.by group keeps together, used when there; empty: none")
    split: Column = Field(description="column of the data set's own parts train, val, test, used when there")


class TableParams(Section):
    """How a table of labels is written (dataset.format table): CSV and the like, Parquet, or .xlsx."""

    header: bool = Field(description="whether the first row names the columns; without, they are given by number")
    separator: str = Field(
        min_length=1, description="what stands between the fields of a text file: one character, or the word tab"
    )
    quote: str = Field(max_length=1, description="what fields of a text file may stand in; empty: nothing")
    sheet: str = Field(description="sheet of a workbook; empty: the first")
    suffix: str = Field(description="ending that the file names in the table lack, such as .mp4; empty: none")
    columns: ColumnParams

    @property
    def delimiter(self) -> str:
        """The character between the fields of a text file."""
        return "\t" if self.separator == "tab" else self.separator

    @field_validator("separator")
    @classmethod
    def _is_one_character(cls, separator: str) -> str:
        if separator != "tab" and (len(separator) != 1 or separator in "\r\n"):
            raise ValueError("one character is needed, or the word tab")
        return separator

    @model_validator(mode="after")
    def _finds_its_paths(self) -> "TableParams":
        if not self.header and not is_number(self.columns.path):
            raise ValueError(f"columns.path = {self.columns.path!r} with header = false; allowed: a number from 1")
        return self


class DatasetParams(Section):
    """Which videos, and how their labels are written (read by prepare)."""

    format: Literal["t2vqa_db", "kvq", "vquala", "fetv", "table", "folder"] = Field(
        description="format of the labels; folder: videos without scores, which can be scored and nothing else"
    )
    root: ShellText = Field(min_length=1, description="folder of the data set; DVC tracks it")
    labels: str = Field(
        min_length=1,
        description="label file, relative to dataset.root, or a folder of lists train.*, val.*, test.*; "
        "the format folder ignores it",
    )
    videos: str = Field(description="folder that the labels' file names start from, relative to dataset.root")
    target: Column = Field(
        min_length=1,
        description="the MOS: a column of a table (by name, or number from 1), one of the scores of vquala and fetv; "
        "the other formats have one: mos",
    )
    pairs: str = Field(
        description="workbook of rated pairs (.xlsx, as KVQ's), relative to dataset.root; empty: there are none"
    )
    mos_min: float = Field(description="lowest possible MOS on the data set's own scale")
    mos_max: float = Field(description="highest possible MOS on the data set's own scale")
    generator_pattern: str = Field(
        description="regular expression with a group `generator`, searched in file names, or in the whole path when "
        "it holds a /; empty: no generators"
    )
    group_pattern: str = Field(
        description="regular expression with a group `group`, searched as generator_pattern is: what split.by group "
        "keeps together; empty, or without a match: the prompt, else the video alone"
    )
    max_missing_fraction: float = Field(
        ge=0, le=1, description="share of the frames that a header promises that may be missing"
    )
    table: TableParams

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
        if self.format == "table":
            if not self.table.header and not is_number(self.target):
                raise ValueError(f"target = {self.target!r} with table.header = false; allowed: a number from 1")
            return self
        allowed = {"vquala": VQUALA_TARGETS, "fetv": FETV_TARGETS}.get(self.format, ("mos",))
        if self.target not in allowed:
            raise ValueError(f"target = {self.target!r} with format = {self.format}; allowed: {', '.join(allowed)}")
        return self
