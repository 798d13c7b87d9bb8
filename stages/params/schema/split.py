"""Parameters of the stage split."""

from typing import Literal

from pydantic import Field, model_validator

from models.config import SEED_MAX, Section, ShellText


class SplitParams(Section):
    """Which videos train, select and test the model."""

    by: Literal["group", "video", "dataset", "generator"] = Field(
        description="what stays in one part: group (prompt), video, dataset (its own lists), or generator: all videos "
        "of split.held_out are the test part, the rest is dealt by group"
    )
    held_out: str = Field(description="the generator that split.by generator tests on; the others ignore it")
    held_out_prompts: bool = Field(
        description="with split.by generator: no prompt of the test part stands in train or val either; it is then "
        "split.test_fraction of the prompts, and what would tell of them is left out"
    )
    fixed: ShellText = Field(
        min_length=1,
        description="list of videos whose part is given, as data/split.csv; the others never enter its test part; "
        "a header alone fixes none",
    )
    seed: int = Field(ge=0, le=SEED_MAX, description="seed of the split")
    val_fraction: float = Field(
        gt=0, lt=1, description="share of the videos that selects the epoch; of those not in a fixed test part"
    )
    test_fraction: float = Field(
        gt=0,
        lt=1,
        description="share of the videos that is touched once, at the end; dataset, generator and a fixed list "
        "give the test part themselves",
    )

    @model_validator(mode="after")
    def _leaves_training(self) -> "SplitParams":
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must be below 1, so that videos are left to train on")
        return self

    @model_validator(mode="after")
    def _names_a_generator(self) -> "SplitParams":
        if self.by == "generator" and not self.held_out:
            raise ValueError("held_out is empty; with by = generator it names the generator to test on")
        return self
