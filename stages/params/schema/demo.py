"""Parameters of the stage demo."""

from pydantic import Field

from models.config import COUNT_MAX, SEED_MAX, Section


class DemoParams(Section):
    """The embedded data set."""

    seed: int = Field(ge=0, le=SEED_MAX, description="seed of everything that is rendered")
    prompts: int = Field(ge=1, le=COUNT_MAX, description="prompts; a video is rendered for each prompt and generator")
    generators: int = Field(ge=1, le=26, description="simulated text-to-video models")
    object_images: int = Field(
        ge=2, le=COUNT_MAX, description="still images with object boxes, a fifth of them held out"
    )
    crop_images: int = Field(ge=2, le=COUNT_MAX, description="still images with rated crops, a fifth of them held out")
    scale: float = Field(gt=0, le=8, description="size of all frames, in units of about 96 px")
    restlessness: float = Field(
        ge=0, le=4, description="how far the frames of a video differ in quality, relative to the shipped demo; 0: not"
    )
