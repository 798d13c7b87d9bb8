"""Parameters of the stage train."""

from typing import Literal

from pydantic import Field

from models.config import COUNT_MAX, SEED_MAX, Section


class FgmParams(Section):
    """Adversarial weight perturbation."""

    epsilon: float = Field(
        ge=0, description="norm of the perturbation, as a share of the norm of all weights; 0: no FGM"
    )


class AdamWParams(Section):
    """AdamW."""

    eps: float = Field(
        gt=0,
        le=1e-3,
        description="added to the root of the second moment: far below the gradients, which FCL makes as small as 1e-8",
    )


class SgdParams(Section):
    """Plain gradient steps; with momentum 0 those of equation 14."""

    momentum: float = Field(ge=0, lt=1, description="share of the last step that the next one keeps")


class TrainParams(Section):
    """The training, as all methods share it."""

    fgm: FgmParams
    epochs: int = Field(ge=1, le=COUNT_MAX, description="passes over the training part")
    batch_videos: int = Field(ge=1, le=COUNT_MAX, description="videos a step")
    optimizer: Literal["adamw", "sgd"] = Field(description="reads the sub-section of its name")
    adamw: AdamWParams
    sgd: SgdParams
    learning_rate: float = Field(gt=0, description="peak learning rate, per step")
    weight_decay: float = Field(ge=0, description="weight decay, per unit of learning rate")
    warmup_fraction: float = Field(ge=0, lt=1, description="share of the steps with a rising learning rate")
    layer_decay: float = Field(
        gt=0,
        le=1,
        description="factor of the learning rate from one layer of the backbone down to the next; 1: all alike",
    )
    ema_decay: float = Field(
        ge=0, lt=1, description="share that the running mean of the weights keeps each step, once warm; 0: no mean"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(description="numbers of the network in training (autocast)")
    channels_last: bool = Field(description="keep images channels last in memory; faster for convolutions on a GPU")
    checkpointing: bool = Field(description="compute activations twice to keep fewer of them; less memory, more time")
    compile: bool = Field(description="compile the network (torch.compile): minutes at the start, faster steps")
    flip: bool = Field(description="mirror videos at random, left to right")
    seed: int = Field(ge=0, le=SEED_MAX, description="seed of weights, order and augmentation")
    confidence: float = Field(
        gt=0, lt=1, description="share of new videos whose MOS lies in the interval of their score"
    )
