"""The trained quality model as stages and the score command use it: weights, and what made them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from models.methods.frame_consistency.losses import frame_scores
from models.methods.frame_consistency.network import QualityConfig, QualityError, QualityNet, build_quality
from stages.errors import WeightsError
from stages.io.weights import load_state, load_weights
from stages.steps.clips import frame_slots


@dataclass(frozen=True)
class QualityModel:
    """`made_by` is the chain of stages, with their parameters, that the crops and the weights come from."""

    network: QualityNet
    device: torch.device
    input_px: int
    made_by: dict[str, Any]

    @property
    def frames(self) -> int:
        """Frames that a video is scored on."""
        return self.made_by["decode"]["params"]["frames"]

    @property
    def mos_scale(self) -> tuple[float, float]:
        """Lowest and highest MOS on the data set's own scale."""
        params = self.made_by["prepare"]["params"]
        return params["mos_min"], params["mos_max"]

    def to_raw(self, score: float) -> float:
        """A score on 0-100 on the data set's own scale."""
        low, high = self.mos_scale
        return low + score / 100 * (high - low)

    @torch.inference_mode()
    def score(self, crops: Sequence[NDArray[np.uint8]]) -> list[float]:
        """Scores (0-100) of cut crops, each (3, S, S) uint8 RGB; the result of one does not depend on the others."""
        batch = torch.from_numpy(np.stack(crops)).to(self.device)
        # Frames are scored one by one, so frames of several videos can stand in one row.
        return (100 * frame_scores(self.network(batch.unsqueeze(0)))).squeeze(0).double().cpu().tolist()

    def summarise(self, scores: pd.DataFrame) -> dict[str, float | int]:
        """One video's result from its frames' rows (frame_index, time_s, score, sharpness).

        Mean and spread (standard deviation) are over the places of a clip: a short video repeats frames there.
        """
        slots = scores.iloc[frame_slots(len(scores), self.frames)]
        worst = scores.iloc[int(scores["score"].argmin())]
        score = float(slots["score"].mean())
        return {
            "score": score,
            "score_raw": self.to_raw(score),
            "spread": float(slots["score"].std(ddof=0)),
            "worst_frame_index": int(worst["frame_index"]),
            "worst_time_s": float(worst["time_s"]),
            "sharpness": float(slots["sharpness"].mean()),
        }


def load_quality(path: str | Path, *, device: torch.device) -> QualityModel:
    """Read weights that the train stage wrote; raise WeightsError naming the file."""
    state, config = load_weights(path)
    try:
        network = build_quality(QualityConfig(**config["network"]))
    except (KeyError, TypeError, QualityError) as error:
        raise WeightsError(f"{path}: not weights of a quality model that can be built here ({error})") from None
    load_state(network, state, path)
    return QualityModel(network.to(device).eval(), device, config["network"]["input_px"], config["made_by"])
