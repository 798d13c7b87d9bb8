"""The labels of public data sets as their presets read them, each on a tiny copy of its layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.datasets.adapters import read_entries
from stages.datasets.labels import Entry
from stages.params.presets import read_preset
from tests.conftest import ROOT


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Entry]]:
    """What a preset reads of the data set in `tmp_path`."""

    def read(preset: str, **changes: Any) -> list[Entry]:
        params, _ = read_preset(preset, params=ROOT / "params.yaml", folder=ROOT / "presets")
        return read_entries(params.dataset.model_copy(update=changes), tmp_path)

    return read


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def shown(entry: Entry) -> tuple[Any, ...]:
    return entry.path, entry.mos_raw, entry.prompt, entry.generator, entry.group, entry.part


def test_t2vqa_db(read, tmp_path: Path) -> None:
    write(tmp_path / "info.txt", "00012_07.mp4|A red fox.|61.25\n")
    assert [*map(shown, read("t2vqa_db"))] == [("videos/00012_07.mp4", 61.25, "A red fox.", "07", "a red fox", None)]


def test_vquala(read, tmp_path: Path) -> None:
    head = "Prompt,Overall_MOS,Traditional_MOS,Alignment_MOS,Aesthetic_MOS,Temporal_MOS,video_name\n"
    write(tmp_path / "train.csv", f"{head}a fox,3.333,1,2,3,4,C_12_x.mp4\n")
    assert [*map(shown, read("vquala"))] == [("train/C_12_x.mp4", 3.333, "a fox", "C", "a fox", None)]


def test_kvq_keeps_the_versions_of_a_source_together(read, tmp_path: Path) -> None:
    write(tmp_path / "labels/train.csv", "filename,score\n0007_0.mp4,3.5\n0007_4.mp4,2\n0008_0.mp4,1\n")
    entries = read("kvq")
    assert [(entry.mos_raw, entry.group) for entry in entries] == [(3.5, "0007"), (2, "0007"), (1, "0008")]


def test_kvq_2025(read, tmp_path: Path) -> None:
    for part, row in {
        "train": "0007_1.mp4,cg,2,3.5",
        "val": "0008_1.mp4,food,0,1",
        "test": "0009_1.mp4,food,1,5",
    }.items():
        write(tmp_path / f"labels/{part}.csv", f"filename,cls,dis,label\n{row}\n")
    assert [*map(shown, read("kvq_2025"))] == [
        ("videos/0007_1.mp4", 3.5, None, None, "0007", "train"),
        ("videos/0008_1.mp4", 1, None, None, "0008", "val"),
        ("videos/0009_1.mp4", 5, None, None, "0009", "test"),
    ]


def test_q_eval_video(read, tmp_path: Path) -> None:
    write(tmp_path / "train_data.txt", "12.mp4|a fox, running|2.65\n")
    assert [*map(shown, read("q_eval_video"))] == [
        ("videos/12.mp4", 2.65, "a fox, running", None, "a fox running", None)
    ]


def test_t2veval_bench(read, tmp_path: Path) -> None:
    write(tmp_path / "labels.txt", "Gen-3+tag 1.mp4|a fox|0.48\n")
    assert [*map(shown, read("t2veval_bench"))] == [("videos/Gen-3+tag 1.mp4", 0.48, "a fox", "Gen-3", "a fox", None)]


def test_lgvq_is_read_by_position(read, tmp_path: Path) -> None:
    write(tmp_path / "MOS.csv", 'name,no,prompt,s,t,a,,\nGen-2/a fox.mp4,0,"A fox, running",73.98,68.99,75,,\n')
    found = [read("lgvq", target=str(column))[0].mos_raw for column in (4, 5, 6)]
    assert found == [73.98, 68.99, 75]
    assert [*map(shown, read("lgvq"))] == [
        ("videos/Gen-2/a fox.mp4", 73.98, "A fox, running", "Gen-2", "a fox running", None)
    ]


def test_aigvqa_db_is_a_workbook_without_a_header(read, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(("sora/1.mp4", 40.5, 50, 60, 70))
    book.active.append(("sora/2.mp4", 41, 51, 61, 71))
    (tmp_path / "MOS").mkdir()
    book.save(tmp_path / "MOS/mos.xlsx")
    assert [*map(shown, read("aigvqa_db"))] == [
        ("MOS_Videos/sora/1.mp4", 40.5, None, None, "sora/1.mp4", None),
        ("MOS_Videos/sora/2.mp4", 41, None, None, "sora/2.mp4", None),
    ]
    assert [entry.mos_raw for entry in read("aigvqa_db", target="5")] == [70, 71]


def test_gaia_groups_the_videos_of_an_action(read, tmp_path: Path) -> None:
    head = "filename, final action subject, final action completeness, final action interaction\n"
    rows = "Pika_arm wrestling.mp4,40,50,60\nLaVie_arm wrestling.mp4,41,51,61\n"
    write(tmp_path / "MOS.csv", head + rows)
    assert [*map(shown, read("gaia"))] == [
        ("videos/Pika_arm wrestling.mp4", 40, None, "Pika", "arm wrestling", None),
        ("videos/LaVie_arm wrestling.mp4", 41, None, "LaVie", "arm wrestling", None),
    ]
    assert read("gaia", target="final action interaction")[1].mos_raw == 61


def test_videofeedback(read, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    for part, number in (("train", 6000001), ("test", 6000002)):
        columns = {
            "id": [str(number)],
            "images": [[f"{number}_00.jpg", f"{number}_01.jpg"]],
            "text prompt": ["a fox"],
            "visual quality": [3],
            "text-to-video alignment": [1],
            "conversations": [[{"from": "human", "value": "?"}]],
        }
        pq.write_table(pa.table(columns), tmp_path / "labels" / f"{part}.parquet")
    assert [*map(shown, read("videofeedback"))] == [
        ("videos/6000001.mp4", 3, "a fox", None, "a fox", "train"),
        ("videos/6000002.mp4", 3, "a fox", None, "a fox", "test"),
    ]
    assert read("videofeedback", target="text-to-video alignment")[0].mos_raw == 1


def test_fetv(read, tmp_path: Path) -> None:
    write(tmp_path / "fetv_data.json", '{"video_id": "v9033", "prompt": "people dance"}\n')
    for rater, score in enumerate((1, 2, 3)):
        line = {"0": {"video_id": "v9033", "static_quality": score, "temporal_quality": 3, "alignment": 3}}
        path = tmp_path / "manual_eval_results" / f"human{rater}" / "manual_eval_results_zeroscope.json"
        write(path, json.dumps(line) + "\n")
    (entry,) = read("fetv")
    assert shown(entry) == ("videos/zeroscope/videos/0.mp4", 2, "people dance", "zeroscope", "people dance", None)
    assert entry.mos_raw_std == 1
