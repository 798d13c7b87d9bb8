"""What VSFA is built from and trained with. Sections of params.yaml: no torch is imported here.

Source: Li, Jiang and Jiang, "Quality Assessment of In-the-Wild Videos", ACM MM 2019 (arXiv 1908.00375), and its
release, lidq92/VSFA at b78751b (MIT). The defaults are those of the release.
"""

from typing import Literal

from pydantic import Field

from models.config import Section

Memory = Literal["released", "paper"]


class VsfaPooling(Section):
    """How the quality of a video follows from that of its frames."""

    memory: Memory = Field(
        default="released",
        description="whether the memory of a frame holds the frame itself: released (it does, as in the public code, "
        "which gave the published numbers and weights) or paper (only the frames before it)",
    )
    window_frames: int = Field(default=12, ge=1, description="frames that a frame is remembered, and looked ahead")
    present_share: float = Field(
        default=0.5, ge=0, le=1, description="weight of the coming frames; the memory has the rest"
    )


class VsfaNetwork(Section):
    """The regressor over frozen features, and the network that these come from."""

    backbone: str = Field(
        default="resnet50",
        min_length=1,
        description="network of the frozen features: name of a timm model with maps at strides 8, 16 and 32",
    )
    frames_every: int = Field(default=1, ge=1, description="every which decoded frame is looked at; published: all")
    reduced_width: int = Field(default=128, ge=1, description="width that a frame's features are reduced to")
    hidden_width: int = Field(default=32, ge=1, description="width of the GRU's state")
    pooling: VsfaPooling = VsfaPooling()


class VsfaTraining(Section):
    """How the release trains: Adam at a constant rate, L1 loss on labels scaled to 0..1.

    A step schedule is built there (a factor of 0.8 after each tenth of the epochs) and never stepped, so the rate of
    the published numbers is constant. Weights of the best epoch by SROCC on the validation part are kept.
    Splits: 60 % of the videos for training, 20 % for validation, 20 % for test, from a stored permutation, ten times;
    on KoNViD-1k 721, 239 and 240 videos. The labels' scale there is the largest MOS of the whole data set, the test
    part included (KoNViD-1k 4.64, CVD2014 93.38, LIVE-Qualcomm 73.64276); here the MOS is on 0-100 everywhere.
    Means of the release's README over ten splits, SROCC and PLCC: KoNViD-1k 0.773 and 0.775, CVD2014 0.870 and 0.868,
    LIVE-Qualcomm 0.773 and 0.795.
    """

    epochs: int = Field(default=2000, ge=1, description="passes over the training part")
    batch_videos: int = Field(default=16, ge=1, description="videos a step")
    learning_rate: float = Field(default=1e-5, gt=0, description="constant learning rate of Adam")
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay of Adam (L2)")
    label_scale: float = Field(default=100.0, gt=0, description="MOS points that a score of 1 stands for")


class VsfaParams(VsfaNetwork, VsfaTraining):
    """All of VSFA that a user chooses; the defaults are the published configuration."""


class VsfaConfig(VsfaNetwork):
    """What `build_vsfa` needs; kept with the weights.

    Attributes:
        feature_width: Numbers per frame, as the feature network gives them: 4096 of ResNet-50.
        label_scale: MOS points that a score of 1 stands for.
    """

    feature_width: int = Field(default=4096, ge=1)
    label_scale: float = Field(default=100.0, gt=0)


PUBLISHED = VsfaParams()
# Trains in a minute on two cores: a network of a few layers gives the features, with the weights that it was made with
# or pretrained ones, and few epochs at a high rate take the place of 2000 at a low one.
SMALL = VsfaParams(backbone="test_resnet", reduced_width=32, hidden_width=16, epochs=40, learning_rate=2e-3)
