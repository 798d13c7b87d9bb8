"""The base of every schema: a closed, frozen model that reads the values of a section of params.yaml."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """A closed, frozen section: unknown keys are errors; text such as `1e-05` (as DVC writes it) becomes a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads yes, no, on and off as truth values, which Python would count as 1 and 0.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise ValueError("input should be a number, not true or false")
        return value
