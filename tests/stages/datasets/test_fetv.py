"""FETV: the mean of the raters, their spread, and what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from stages.datasets.fetv import read_fetv
from stages.datasets.labels import LabelRules
from stages.errors import DatasetError

PROMPTS = ["people are dancing", "a girl is singing", "rabbits run"]


def write_ratings(root: Path, rater: str, model: str, scores: dict[str, Any]) -> None:
    """Scores: number of the prompt -> static quality."""
    lines = [
        {key: {"video_id": f"v{key}", "static_quality": value, "temporal_quality": 1, "alignment": 5}}
        for key, value in scores.items()
    ]
    path = root / "manual_eval_results" / rater / f"manual_eval_results_{model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def write_prompts(root: Path) -> None:
    lines = [json.dumps({"video_id": f"v{number}", "prompt": prompt}) for number, prompt in enumerate(PROMPTS)]
    (root / "fetv_data.json").write_text("\n".join(lines))


def test_ratings_are_averaged_and_their_spread_is_kept(tmp_path: Path) -> None:
    write_prompts(tmp_path)
    write_ratings(tmp_path, "human0", "cogvideo", {"0": 1, "2": 4})
    write_ratings(tmp_path, "human1", "cogvideo", {"0": 2})
    write_ratings(tmp_path, "human2", "cogvideo", {"0": 5})
    write_ratings(tmp_path, "human0", "damo-text2video", {"0": 3})
    write_ratings(tmp_path, "human0", "ground-truth", {"0": 5})
    gif = tmp_path / "videos/cogvideo/videos/2.gif"
    gif.parent.mkdir(parents=True)
    gif.touch()
    rules = LabelRules("videos", "static_quality")
    first, second, third = read_fetv(tmp_path / "manual_eval_results", tmp_path, rules)
    assert (first.video_id, first.path) == ("cogvideo/videos/0.mp4", "videos/cogvideo/videos/0.mp4")
    assert (first.prompt, first.group, first.generator) == ("people are dancing", "people are dancing", "cogvideo")
    assert first.place == "human0/manual_eval_results_cogvideo.json line 1"
    # 1, 2 and 5: mean 8 / 3; squares of the deviations 25 / 9 + 4 / 9 + 49 / 9 = 78 / 9, halved.
    assert first.mos_raw == pytest.approx(8 / 3)
    assert first.mos_raw_std == pytest.approx(math.sqrt(78 / 18))
    # One rater has no spread, and the file is a .gif.
    assert (second.video_id, second.mos_raw, second.mos_raw_std) == ("cogvideo/videos/2.gif", 4, None)
    # The folders call this model otherwise; real videos are left out.
    assert (third.video_id, third.generator) == ("modelscope-t2v/videos/0.mp4", "modelscope-t2v")
    other = read_fetv(tmp_path / "manual_eval_results", tmp_path, LabelRules("videos", "alignment"))
    assert {(entry.mos_raw, entry.mos_raw_std) for entry in other} == {(5, 0), (5, None)}


def test_what_is_refused(tmp_path: Path) -> None:
    labels, rules = tmp_path / "manual_eval_results", LabelRules("videos", "static_quality")
    with pytest.raises(DatasetError, match=r"no ratings RATER/manual_eval_results_MODEL.json \(dataset.root, dataset"):
        read_fetv(labels, tmp_path, rules)
    write_ratings(tmp_path, "human0", "cogvideo", {"0": 1, "3": 4, "1": None, "x": 1, "2": True})
    with pytest.raises(DatasetError, match=r"fetv_data.json: no such label file"):
        read_fetv(labels, tmp_path, rules)
    write_prompts(tmp_path)
    with pytest.raises(DatasetError) as caught:
        read_fetv(labels, tmp_path, rules)
    place = "  human0/manual_eval_results_cogvideo.json line"
    reason = "is no number of a prompt with a static_quality"
    assert str(caught.value).splitlines()[1:] == [
        f"{place} 2: '3' {reason}", f"{place} 3: '1' {reason}", f"{place} 4: 'x' {reason}", f"{place} 5: '2' {reason}",
    ]  # fmt: skip
    (labels / "human0" / "manual_eval_results_cogvideo.json").write_text('{"0": {}}\n{"1"\n')
    with pytest.raises(DatasetError, match=r"human0/manual_eval_results_cogvideo.json line 2 is not JSON"):
        read_fetv(labels, tmp_path, rules)
    (tmp_path / "fetv_data.json").write_text('{"prompt": "x"}\n[]\n')
    with pytest.raises(DatasetError, match=r"fetv_data.json line 2 is no JSON object"):
        read_fetv(labels, tmp_path, rules)
    (tmp_path / "fetv_data.json").write_text('{"prompt": "x"}\n{}\n')
    with pytest.raises(DatasetError, match=r"fetv_data.json line 2: no prompt"):
        read_fetv(labels, tmp_path, rules)
