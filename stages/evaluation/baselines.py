"""Plain numbers that a model has to beat: sharpness, and what the training labels alone say of a video.

Where prompts and generators repeat between the parts, a correlation measures in part how well they are recognised. The
rows that see no pixel say how far that alone gets: the mean MOS of the generator, of the prompt, and of both, from the
training part's labels.
"""

import numpy as np
import pandas as pd

from models.errors import AigcVqaError
from models.metrics import UndefinedMetricError, group_pair_accuracy, plcc, srocc

# Videos of a prompt are few: their mean is drawn to the overall mean as by this many videos more.
PROMPT_SHRINKAGE = 2.0


def sharpness_srocc(rows: pd.DataFrame) -> float:
    """SROCC of plain sharpness with the MOS: a bar that any model must clear.

    Args:
        rows: One row per video with the columns status, sharpness and mos.

    Returns:
        The correlation without its sign, 0..1; 0 where it is not defined.
    """
    scored = rows[rows["status"] == "ok"]
    try:
        return abs(srocc(scored["sharpness"].to_numpy(), scored["mos"].to_numpy()))
    except AigcVqaError:
        return 0.0  # constant sharpness ranks nothing


def predict_from_labels(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, pd.Series]:
    """The MOS of test videos by the training labels alone.

    Args:
        train: Rows with mos (0-100), generator and group (the prompt; both may be missing).
        test: Rows with generator and group.

    Returns:
        `generator`: mean of the generator's videos. `prompt`: the overall mean and the prompt's mean deviation from
        it, shrunk by n / (n + 2). `generator_prompt`: the generator's mean and the prompt's mean residual, shrunk
        alike. What training never saw has no deviation.
    """
    mean = train["mos"].mean()
    of_generator = train.groupby("generator")["mos"].mean() - mean
    by_generator = mean + test["generator"].map(of_generator).fillna(0.0)
    deviation = train["mos"] - mean
    residual = deviation - train["generator"].map(of_generator).fillna(0.0)
    return {
        "generator": by_generator,
        "prompt": mean + _shrunk(deviation, train["group"], test["group"]),
        "generator_prompt": by_generator + _shrunk(residual, train["group"], test["group"]),
    }


def label_baselines(rows: pd.DataFrame, groups: pd.Series) -> dict[str, float]:
    """What the training part's labels alone reach on the test part.

    Args:
        rows: Rows of the PREDICTIONS schema, of all parts.
        groups: Video id -> prompt.

    Returns:
        `NAME_srocc` and `NAME_plcc` for the predictions of `predict_from_labels`, and the generator's accuracy on
        pairs within a prompt. A number that does not exist, such as the correlation of constant predictions, is left
        out: by prompt, no test video's prompt is known from training.
    """
    known = rows.assign(group=rows["video_id"].map(groups))
    train = known[(known["part"] == "train") & known["mos"].notna()]
    test = known[(known["part"] == "test") & (known["status"] == "ok")]
    mos = test["mos"].to_numpy(dtype=float)
    result: dict[str, float] = {}
    predictions = predict_from_labels(train, test) if len(train) else {}
    for name, values in predictions.items():
        for metric in (srocc, plcc):
            # Sums of equal deviations may differ in their last bits, which is no order.
            rounded = np.round(values.to_numpy(dtype=float), 9)
            try:
                result[f"{name}_{metric.__name__}"] = metric(rounded, mos)
            except AigcVqaError:
                continue
    if "generator" in predictions:
        names = test["group"].fillna(test["video_id"]).tolist()
        try:
            pairs = group_pair_accuracy(predictions["generator"].to_numpy(dtype=float), mos, names)
            result["generator_within_prompt_accuracy"] = pairs.accuracy
        except UndefinedMetricError:
            pass
    return result


def _shrunk(values: pd.Series, train: pd.Series, test: pd.Series) -> pd.Series:
    """The mean of the values of each test row's group, times n / (n + 2); 0 for a group without any."""
    grouped = values.groupby(train)
    return test.map(grouped.sum() / (grouped.count() + PROMPT_SHRINKAGE)).fillna(0.0)
