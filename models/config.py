"""The base of every schema: a closed, frozen model of a section of params.yaml, or of what a network is built from.

A network's configuration is such a section: what stands in params.yaml is what the network gets, and what its file of
weights keeps. Values that are not the user's choice are added by a subclass.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

# Generators of random numbers take larger seeds, but not their products with what tells epochs and processes apart.
SEED_MAX = 2**31 - 1
# More is a slip of the keyboard.
COUNT_MAX = 1_000_000


def _one_line(text: str) -> str:
    if "'" in text or not text.isprintable():
        raise ValueError("no quotation mark ' and no line break or other control character")
    return text


# A path or another text that dvc.yaml hands to a shell, in single quotes: all else is data there.
ShellText = Annotated[str, AfterValidator(_one_line)]


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

    def values_of(self, base: "type[Section]") -> dict[str, Any]:
        """The values of the fields that this section has from one of its bases.

        Args:
            base: A base of this section's class.

        Returns:
            Field -> value, to build another section on the same base.
        """
        return {name: getattr(self, name) for name in base.model_fields}


def problems_of(error: ValidationError) -> str:
    """The problems of a configuration in one line, for messages.

    Args:
        error: What pydantic found.

    Returns:
        `heads = 3: must divide embed_width (256); layers = 0: input should be ...`.
    """
    lines = []
    for problem in error.errors(include_url=False):
        place = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        # Of a field that is missing the input is all that stands around it.
        is_around = problem["type"] == "missing" or isinstance(problem["input"], dict | BaseModel)
        value = "" if is_around else f" = {problem['input']!r}"
        lines.append(f"{place}{value}: {message}" if place else message)
    return "; ".join(lines)
