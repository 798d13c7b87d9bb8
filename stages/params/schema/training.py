"""Parameters that the trainings of the detector and of the cropper share."""

from pydantic import Field

from models.config import COUNT_MAX, SEED_MAX, Section


class ImageTraining(Section):
    """A training on still images."""

    pretrained: str | None = Field(description="file of weights to start from; null: from scratch")
    epochs: int = Field(ge=1, le=COUNT_MAX, description="passes over the training images")
    batch_images: int = Field(ge=1, le=COUNT_MAX, description="images per step")
    learning_rate: float = Field(gt=0, description="peak learning rate of AdamW, per step")
    weight_decay: float = Field(ge=0, description="weight decay of AdamW, per unit of learning rate")
    warmup_fraction: float = Field(ge=0, lt=1, description="share of the steps with a rising learning rate")
    flip: bool = Field(description="mirror images and boxes at random, left to right")
    color_jitter: float = Field(
        ge=0, lt=1, description="strength of random changes of brightness, contrast, saturation"
    )
    seed: int = Field(ge=0, le=SEED_MAX, description="seed of weights, order and augmentation")
