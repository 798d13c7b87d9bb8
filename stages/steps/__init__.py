"""What happens to one video: frames, objects, crops, scores. Stages and commands call the same functions.

`Scorer` scores videos with a trained model:

    from stages.steps import Scorer

    scorer = Scorer.load("weights")
    print(scorer.score("a.mp4").score)
    for result in scorer.score_many(["a.mp4", "b.mp4"]):
        print(result.path, result.score, result.reason)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.steps.scorer import Scorer, VideoScore

__all__ = ["Scorer", "VideoScore"]


def __getattr__(name: str) -> Any:
    # Decoding workers import a module of this room: they load no networks for it.
    if name in __all__:
        return getattr(import_module("stages.steps.scorer"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
