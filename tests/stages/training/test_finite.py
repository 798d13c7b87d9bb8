"""Numbers that are not finite stop a training, with terms and videos, before they reach the weights that are kept."""

from pathlib import Path

import pytest
import torch
from torch import nn

from models.errors import NonFiniteError
from stages.errors import DatasetError
from stages.training import quality
from stages.training.quality import QualityData, fit, train_epoch
from stages.training.state import TrainingState
from stages.training.step import Training
from tests.stages.training.test_quality import VIDEOS, data, training, weights


@pytest.fixture(scope="module")
def clips() -> QualityData:
    return data()


@pytest.mark.parametrize("epsilon", [0.01, 1e20])
def test_a_loss_that_is_not_finite_names_step_terms_and_videos(clips: QualityData, epsilon: float) -> None:
    run = training(fgm={"epsilon": epsilon})
    if epsilon < 1:
        nn.init.constant_(run.network.get_parameter("head.bias"), float("nan"))
    with pytest.raises(NonFiniteError) as caught:
        train_epoch(run, clips, 1)
    text = str(caught.value)
    named = text.rpartition("videos: ")[2].split(", ")
    assert text.startswith("epoch 2, step 1: the loss ")
    assert len(set(named)) == 6
    assert set(named) <= set(clips.train.clips.ids)
    assert "MAE [nan" in text
    assert ("the loss is nan" in text) == (epsilon < 1)
    assert ("perturbed by epsilon " in text) == (epsilon > 1)


def names_all_videos(text: str) -> bool:
    return set(text.rpartition("videos: ")[2].split(", ")) <= set(map(str, range(VIDEOS)))


@pytest.mark.parametrize("epsilon", [0.0, 0.01])
def test_a_gradient_that_is_not_finite_stops_before_the_weights_move(clips: QualityData, epsilon: float) -> None:
    run = training(fgm={"epsilon": epsilon})
    run.network.get_parameter("head.weight").register_hook(lambda gradient: gradient * float("nan"))
    before = weights(run)
    with pytest.raises(NonFiniteError) as caught:
        train_epoch(run, clips, 0)
    text = str(caught.value)
    assert text.startswith("epoch 1, step 1: the gradient has norm nan though the loss is 0.0")
    assert "MAE [0." in text
    assert names_all_videos(text)
    assert all(torch.equal(weight, before[name]) for name, weight in run.network.named_parameters())


def test_weights_that_the_last_step_broke_name_its_terms_and_videos(
    clips: QualityData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step, groups = quality.train_step, []

    def breaking(run: Training, crops: torch.Tensor, mos: torch.Tensor, labels: dict[str, float]) -> object:
        result = train_step(run, crops, mos, labels)
        groups.append({str(clips.train_mos.tolist().index(value)) for value in mos.tolist()})
        if len(groups) == 2:
            nn.init.constant_(run.network.get_parameter("head.bias"), float("nan"))
        return result

    monkeypatch.setattr(quality, "train_step", breaking)
    with pytest.raises(NonFiniteError) as caught:
        fit(training(), clips, state=TrainingState(tmp_path / "state.pt"), curves=tmp_path / "curves")
    text = str(caught.value)
    assert text.startswith("epoch 1: 12 of 12 validation scores are not finite; the weights broke in its last step")
    assert "MAE [nan" in text
    assert set(text.rpartition("videos: ")[2].split(", ")) == groups[1]


def test_float16_that_overflows_in_every_step_stops_after_twenty(clips: QualityData) -> None:
    """The clean pass is in range; the second one never is: the scaler would skip every step of the training."""
    run = training(precision="fp16", batch_videos=1, fgm={"epsilon": 1e20})
    before = weights(run)
    train_epoch(run, clips, 0)  # 12 steps
    with pytest.raises(NonFiniteError, match=r"^epoch 2, step 9: float16 overflows .* scaled by 0\.0625: .*MAE \[0\."):
        train_epoch(run, clips, 1)
    assert all(torch.equal(weight, before[name]) for name, weight in run.network.named_parameters())


def test_float16_that_overflows_in_every_step_of_a_short_training_keeps_no_epoch(
    clips: QualityData, tmp_path: Path
) -> None:
    """12 steps in all: too few for the scale to fall so low that a step stops the run."""
    run = training(precision="fp16", batch_videos=1, epochs=1, fgm={"epsilon": 1e20})
    with pytest.raises(NonFiniteError, match=r"^float16 overflowed in every step of the training.*train\.precision"):
        fit(run, clips, state=TrainingState(tmp_path / "state.pt"), curves=tmp_path / "curves")


def test_batch_normalisation_of_a_single_value_says_what_helps() -> None:
    """12 videos in batches of 11 leave one alone, and its only frame is one position in test_resnet's last map."""
    with pytest.raises(
        DatasetError,
        match=r"^epoch 1, step 2: a batch norm.* more: 1 video, a sample of \(1, 3, 32, 32\); .*batch_videos",
    ):
        train_epoch(training(batch_videos=11), data(frames=1), 0)
    train_epoch(training("test_convnext", batch_videos=11), data(frames=1), 0)
