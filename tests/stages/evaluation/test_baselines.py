"""What labels alone predict, by hand."""

import numpy as np
import pandas as pd
import pytest

from stages.evaluation.baselines import label_baselines, predict_from_labels

TRAIN = pd.DataFrame(
    {
        "generator": ["a", "a", "b", "b"],
        "group": ["cat", "dog", "cat", "dog"],
        "mos": [80.0, 60.0, 50.0, 30.0],
    }
)


def test_means_and_shrinkage_by_hand() -> None:
    test = pd.DataFrame({"generator": ["a", "b", "c", None], "group": ["cat", "bird", "dog", None]})
    found = predict_from_labels(TRAIN, test)
    # The overall mean is 55; a is at 70, b at 40. c, and no generator, are at the mean.
    assert found["generator"].tolist() == [70, 40, 55, 55]
    # cat deviates by (25 - 5) / (2 + 2) = 5, dog by (5 - 25) / 4 = -5; nobody has seen a bird.
    assert found["prompt"].tolist() == [60, 55, 50, 55]
    # Residuals from the generators: cat (10 + 10) / 4 = 5, dog -5.
    assert found["generator_prompt"].tolist() == [75, 40, 50, 55]


def rows_of(test_mos: list[float], prompts: list[str]) -> tuple[pd.DataFrame, pd.Series]:
    test = pd.DataFrame({"generator": list("abab"), "group": prompts, "mos": test_mos})
    both = pd.concat([TRAIN.assign(part="train"), test.assign(part="test")], ignore_index=True)
    both["video_id"] = [f"{number}.mp4" for number in range(len(both))]
    return both.assign(status="ok"), both.set_index("video_id")["group"]


def test_correlations_on_the_test_part_alone() -> None:
    rows, groups = rows_of([90.0, 45.0, 62.0, 20.0], ["cat", "cat", "dog", "dog"])
    found = label_baselines(rows, groups)
    # Predictions of both: 75, 45, 65, 35; the MOS are in that order.
    assert found["generator_prompt_srocc"] == 1
    assert found["generator_prompt_plcc"] == pytest.approx(np.corrcoef([75, 45, 65, 35], [90, 45, 62, 20])[0, 1])
    assert found["generator_within_prompt_accuracy"] == 1
    # A wrong MOS of training makes no difference to what is measured, one of the test part does.
    turned, _ = rows_of([20.0, 90.0, 45.0, 62.0], ["cat", "cat", "dog", "dog"])
    assert label_baselines(turned, groups)["generator_within_prompt_accuracy"] == 0


def test_prompts_that_training_never_saw_rank_nothing() -> None:
    rows, groups = rows_of([90.0, 45.0, 62.0, 20.0], ["owl", "owl", "elk", "elk"])
    found = label_baselines(rows, groups)
    assert "prompt_srocc" not in found
    assert found["generator_srocc"] == found["generator_prompt_srocc"]
