"""Which frames VSFA looks at, and videos of different lengths as one batch.

Source: lidq92/VSFA at b78751b: all frames at their own size, neither resized nor cropped, in training and in test.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.backbones import IMAGENET_MEAN, IMAGENET_STD
from models.errors import AigcVqaError, ShapeError
from models.pixels import normalised


class VsfaInputError(AigcVqaError, ValueError):
    """A video, or features of one, that VSFA is not defined for."""


def frame_indices(n_frames: int, *, every: int = 1) -> list[int]:
    """The frames that are looked at.

    Args:
        n_frames: Decoded frames of the video.
        every: 1 for all frames, as published; n for frames 0, n, 2 n, ...

    Raises:
        VsfaInputError: There are no frames, or `every` is below 1.
    """
    if n_frames < 1 or every < 1:
        raise VsfaInputError(f"n_frames is {n_frames} and every is {every}; needed: both at least 1")
    return list(range(0, n_frames, every))


def normalised_frames(frames: Tensor) -> Tensor:
    """What the feature network sees: (N, 3, H, W) uint8 RGB -> float32, by ImageNet's mean and deviation.

    Raises:
        ShapeError: The frames have another shape or type.
    """
    return normalised(frames, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def padded_features(videos: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    """Features of videos as one batch.

    The release pads to one length for the whole data set (240, 830 or 526 frames); the score does not depend on it.

    Args:
        videos: B tensors (T_b, D) float.

    Returns:
        (B, T, D) with T the longest T_b, zeros after the T_b rows of a video; and the B lengths.

    Raises:
        VsfaInputError: There are no videos.
        ShapeError: A tensor has another shape, no rows, or another D than the first.
    """
    if not videos:
        raise VsfaInputError("no videos; needed: at least 1")
    width = videos[0].shape[-1] if videos[0].ndim else 0
    for index, each in enumerate(videos):
        if each.ndim != 2 or not len(each) or each.shape[1] != width:
            raise ShapeError(f"videos[{index}] has shape {tuple(each.shape)}; needed: (T, {width}), T at least 1")
    return pad_sequence(list(videos), batch_first=True), [len(each) for each in videos]
