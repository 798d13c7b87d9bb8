"""FETV's labels: a file of ratings per rater and model, as in llyx97/FETV-EVAL 1385218, `manual_eval_results`.

    manual_eval_results/human0/manual_eval_results_cogvideo.json    one JSON object a line
    {"0": {"video_id": "video9033", "static_quality": 3, "temporal_quality": 3, "alignment": 3}}

The key is the number of the prompt: its line in `fetv_data.json`, from 0, which lies beside the folder of the raters.
The video is MODEL/videos/NUMBER.mp4 or .gif in the folder of videos. Raters left videos out, so that some have fewer
ratings than others. The real videos (`ground-truth`) were not generated, and their files have other names: they are
left out.
"""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.datasets.labels import Entry, LabelRules, read_text, refuse
from stages.errors import DatasetError

RATINGS = "manual_eval_results_"
PROMPTS = "fetv_data.json"
REAL = "ground-truth"
# The ratings call ModelScopeT2V by the name of its code, the folders of videos by its own.
FOLDERS = {"damo-text2video": "modelscope-t2v"}
ENDINGS = (".mp4", ".gif")


def read_fetv(labels: Path, root: Path, rules: LabelRules) -> list[Entry]:
    """The videos of FETV with the mean of their ratings, and the raters' spread.

    Args:
        labels: The folder with a folder per rater.
        root: Folder of the data set.
        rules: How names are read; its target is static_quality, temporal_quality or alignment.

    Returns:
        One entry per video and model; its group is the prompt.

    Raises:
        DatasetError: The folder, its files or the prompts are missing, or lines cannot be read; all are listed.
    """
    files = sorted(labels.glob(f"*/{RATINGS}*.json"))
    if not files:
        raise DatasetError(f"{labels}: no ratings RATER/{RATINGS}MODEL.json (dataset.root, dataset.labels)")
    source = labels.parent / PROMPTS
    prompts, problems = [], []
    for place, row in _objects(source):
        if isinstance(row.get("prompt"), str):
            prompts.append(row["prompt"].strip())
        else:
            problems.append(f"{place}: no prompt")
    refuse(source, "prompts that cannot be read", problems)
    ratings: dict[tuple[str, int], list[float]] = {}
    places: dict[tuple[str, int], str] = {}
    for file in files:
        model = file.stem.removeprefix(RATINGS)
        if model == REAL:
            continue
        for place, row in _objects(file, name=f"{file.parent.name}/{file.name}"):
            for key, scores in row.items():
                value = scores.get(rules.target) if isinstance(scores, dict) else None
                known = key.isdecimal() and int(key) < len(prompts)
                if known and isinstance(value, int | float) and not isinstance(value, bool):
                    ratings.setdefault((model, int(key)), []).append(float(value))
                    places.setdefault((model, int(key)), place)
                else:
                    problems.append(f"{place}: {key!r} is no number of a prompt with a {rules.target}")
    refuse(labels, "ratings that cannot be used", problems)
    entries = []
    for (model, number), values in sorted(ratings.items()):
        entries.append(
            rules.entry(
                name=_file_of(root / rules.videos, FOLDERS.get(model, model), number),
                place=places[model, number],
                mos=statistics.fmean(values),
                mos_std=statistics.stdev(values) if len(values) > 1 else None,
                prompt=prompts[number],
                generator=FOLDERS.get(model, model),
            )
        )
    return entries


def _file_of(videos: Path, model: str, number: int) -> str:
    """The path of a video below the folder of videos; of one that is not there, what it would be called."""
    names = [f"{model}/videos/{number}{ending}" for ending in ENDINGS]
    return next((name for name in names if (videos / name).is_file()), names[0])


def _objects(file: Path, *, name: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of every line; raise DatasetError with the line that is none."""
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{name or file.name} line {number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DatasetError(f"{file}: {place} is not JSON ({error})") from None
        if not isinstance(value, dict):
            raise DatasetError(f"{file}: {place} is no JSON object")
        yield place, value
