"""prepare: from a folder of videos and labels to the manifest; what fails, what is refused."""

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from stages.datasets.adapters import read_entries
from stages.errors import DatasetError, EngineError
from stages.io.digests import file_sha256, library_versions
from stages.io.schemas import MANIFEST, PAIRS
from stages.io.tables import read_frame, read_table
from stages.params.load import load_params
from stages.prepare import main, manifest_row, prepare
from tests.conftest import noise_clip, write_clip, write_dataset


@pytest.fixture
def labels(workplace: Path, write_params: Callable[..., None]) -> Callable[..., pd.DataFrame]:
    """Write info.txt beside the data set `raw`, run prepare with one worker, give the manifest back."""

    def run(text: str | None = None, *, failed: float = 0.5, **dataset: object) -> pd.DataFrame:
        settings = {"root": "raw", "format": "t2vqa_db", "labels": "info.txt", "videos": "videos"}
        write_params(dataset=settings | dataset, engine={"workers": 1, "max_failed_fraction": failed})
        if text is not None:
            (workplace / "raw" / str(dataset.get("labels", "info.txt"))).write_text(text, encoding="utf-8")
        main(["--root", "raw", "--out", "data/manifest.parquet", "--pairs", "data/pairs.parquet"])
        return read_frame("data/manifest.parquet", schema=MANIFEST)

    return run


def clip(name: str, seed: int = 0, **options: int) -> None:
    write_clip(Path("raw/videos") / name, list(noise_clip(seed, **options)))


def test_the_manifest_of_a_whole_data_set(labels, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(workplace / "raw", prompts=2)
    manifest = labels()
    assert capsys.readouterr().out == "prepare: 4 computed, 0 cached, 0 failed\n"
    assert manifest["video_id"].tolist() == ["alpha_0000.avi", "alpha_0001.avi", "beta_0000.avi", "beta_0001.avi"]
    row = manifest.iloc[1]
    assert row.drop("sha256").to_dict() == {
        "video_id": "alpha_0001.avi",
        "path": "videos/alpha_0001.avi",
        "mos": pytest.approx(10 + 80 * 2 / 3, abs=1e-3),
        "mos_raw": 63.333,
        "mos_raw_std": pytest.approx(math.nan, nan_ok=True),
        "prompt": "prompt number 1",
        "generator": "alpha",
        "group": "prompt number 1",
        "part": None,
        "n_frames_header": 8,
        "n_frames": 8,
        "fps": 8.0,
        "width": 48,
        "height": 32,
        "status": "ok",
        "reason": None,
    }
    assert row["sha256"] == file_sha256("raw/videos/alpha_0001.avi")
    metadata = read_table("data/manifest.parquet", schema=MANIFEST)[1]
    assert metadata["made_by"]["prepare"]["libraries"] == library_versions("av")
    assert metadata["made_by"]["prepare"]["params"]["root"] == "raw"
    before = Path("data/manifest.parquet").read_bytes()
    labels()
    assert capsys.readouterr().out == "prepare: 0 computed, 4 cached, 0 failed\n"
    assert Path("data/manifest.parquet").read_bytes() == before


def test_one_bad_video_among_many_is_named_and_the_others_go_on(
    labels, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind of failure, with its reason in the table and in the closing line."""
    for number in range(4):
        clip(f"good_{number}.avi", number)
    clip("one_1.avi", n_frames=1)
    (workplace / "raw/videos/empty_1.avi").touch()
    (workplace / "raw/videos/folder_1.avi").mkdir()
    text = "".join(f"good_{number}.avi|p|{number}\n" for number in range(4))
    text += "one_1.avi|p|5\nempty_1.avi|p|5\nfolder_1.avi|p|5\nnone_1.avi|p|5\n"
    clip("mos_1.avi")
    clip("mos_2.avi")
    text += "mos_1.avi|p|\nmos_2.avi|p|good\n"
    manifest = labels(text, failed=0.6).set_index("video_id")
    expected = {
        "one_1.avi": "1 frame decodes; a video needs at least 2",
        "empty_1.avi": "the file is empty",
        "folder_1.avi": "info.txt line 7: no such file: raw/videos/folder_1.avi",
        "none_1.avi": "info.txt line 8: no such file: raw/videos/none_1.avi",
        "mos_1.avi": "info.txt line 9: the MOS is missing",
        "mos_2.avi": "info.txt line 10: the MOS 'good' is not a number",
    }
    failed = manifest[manifest["status"] == "failed"]
    assert failed["reason"].to_dict() == expected
    assert (manifest["status"] == "ok").sum() == 4
    assert failed["n_frames"].isna().all()
    assert math.isnan(failed.loc["mos_1.avi", "mos"])
    assert failed.loc["one_1.avi", "mos"] == 5
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "prepare: 4 computed, 0 cached, 6 failed"
    assert out[1:] == [f"  {video_id}: {reason}" for video_id, reason in sorted(expected.items())]


def test_too_many_bad_videos_stop_the_stage(labels, workplace: Path) -> None:
    clip("good_1.avi")
    with pytest.raises(EngineError, match=r"prepare: 1 of 2 videos failed, more than engine.max_failed_fraction = 0.4"):
        labels("good_1.avi|p|5\nnone_1.avi|p|5\n", failed=0.4)
    with pytest.raises(EngineError, match="prepare: none of 2 videos can be used"):
        labels("a_1.avi|p|5\nnone_1.avi|p|5\n", failed=1)
    assert not Path("data/manifest.parquet").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "raw/info.txt: no videos are listed"),
        (
            "a_1.avi|p|5\na_1.avi|q|6\n",
            "info.txt line 2: 'videos/a_1.avi' has the id of 'videos/a_1.avi' (info.txt line 1)",
        ),
        ("../a_1.avi|p|5\n", "info.txt line 1: 'videos/../a_1.avi' leaves the data set's folder"),
        ("/etc/a_1.avi|p|5\n", "info.txt line 1: '/etc/a_1.avi' leaves the data set's folder"),
        (
            "a_1.avi|p|3\na_2.avi|p|120\n",
            "MOS found: 3 to 120; allowed by dataset.mos_min and dataset.mos_max: 0 to 100",
        ),
    ],
)
def test_doubtful_labels_stop_before_any_work(labels, workplace: Path, text: str, message: str) -> None:
    (workplace / "raw").mkdir()
    with pytest.raises(DatasetError) as caught:
        labels(text)
    assert message in str(caught.value)
    assert not Path(".cache").exists()


def test_a_data_set_without_labels(labels, workplace: Path) -> None:
    with pytest.raises(DatasetError, match=r"raw/info.txt: no such label file or folder \(dataset.root, d"):
        labels()


@pytest.mark.parametrize(("raw", "mos"), [("1", 0), ("5", 100), ("3", 50), ("4.2", 80)])
def test_another_scale_is_mapped(shipped_params: dict, write_params, workplace: Path, raw: str, mos: float) -> None:
    """1-5 to 0-100: 100 (x - 1) / 4."""
    write_params(dataset={"mos_min": 1, "mos_max": 5, "labels": "info.txt", "format": "t2vqa_db"})
    (workplace / "info.txt").write_text(f"a_1.avi|p|{raw}\n")
    params = load_params().dataset
    (entry,) = read_entries(params, workplace)
    row = manifest_row(entry, params)
    assert row["mos"] == pytest.approx(mos)
    assert row["mos_raw"] == float(raw)
    assert row["mos_raw_std"] is None
    assert manifest_row(replace(entry, mos_raw_std=0.5), params)["mos_raw_std"] == 0.5


def test_rated_pairs_go_to_a_table_of_their_own(labels, workplace: Path) -> None:
    clip("a_1.avi")
    clip("b_1.avi", 1)
    clip("c_1.avi", 2)
    text = "a_1.avi|p|5\nb_1.avi|p|6\nc_1.avi|q|6\n"
    labels(text)
    assert len(read_frame("data/pairs.parquet", schema=PAIRS)) == 0
    book = openpyxl.Workbook()
    book.active.title = "source"
    for sheet, second in ((book.active, "b_1.avi"), (book.create_sheet("nonsource"), "c_1.avi")):
        sheet.append(("video1", "video2", "rank"))
        sheet.append(("a_1.avi", second, 2))
    book.save(workplace / "raw/rank.xlsx")
    labels(text, pairs="rank.xlsx")
    assert read_frame("data/pairs.parquet", schema=PAIRS).to_dict("records") == [
        {"kind": kind, "first": "a_1.avi", "second": second, "first_is_better": False}
        for kind, second in (("source", "b_1.avi"), ("nonsource", "c_1.avi"))
    ]
    with pytest.raises(DatasetError, match=r"rank.xlsx sheet source row 2: the labels have no video 'b_1.avi'"):
        labels("a_1.avi|p|5\n", pairs="rank.xlsx")


def test_a_folder_without_scores_is_prepared(labels) -> None:
    clip("a_1.avi")
    clip("deep/b_1.avi", 1)
    manifest = labels(format="folder")
    assert manifest["video_id"].tolist() == ["a_1.avi", "deep/b_1.avi"]
    assert manifest["status"].tolist() == ["ok", "ok"]
    assert manifest[["mos", "mos_raw"]].isna().all(axis=None)


def test_a_name_that_is_not_utf8_and_one_that_is_too_long_fail_alone(labels, workplace: Path) -> None:
    clip("a_1.avi")
    clip("b_1.avi", 1)
    os.rename("raw/videos/b_1.avi", b"raw/videos/b_\xff.avi")
    manifest = labels(format="folder")
    assert manifest["video_id"].tolist() == ["a_1.avi", r"b_\xff.avi"]
    assert manifest["status"].tolist() == ["ok", "failed"]
    assert manifest["reason"][1].startswith(r"b_\xff.avi: the file's name is not UTF-8; rename it")
    manifest = labels(f"a_1.avi|p|5\n{'x' * 300}.avi|p|5\n")
    assert manifest["reason"].tolist() == [None, "info.txt line 2: cannot be read: File name too long"]


def test_equal_files_share_one_probe_and_keep_their_names(labels, workplace: Path) -> None:
    clip("a_1.avi")
    (workplace / "raw/videos/b_1.avi").write_bytes((workplace / "raw/videos/a_1.avi").read_bytes())
    manifest = labels("a_1.avi|p|5\nb_1.avi|q|6\n")
    assert manifest["video_id"].tolist() == ["a_1.avi", "b_1.avi"]
    assert manifest["sha256"].nunique() == 1
    assert manifest["mos"].tolist() == [5, 6]
    assert manifest["n_frames"].tolist() == [8, 8]
    assert len(list(Path(".cache/prepare").rglob("*.item"))) == 1


def test_odd_names_and_a_table_of_labels(labels, workplace: Path) -> None:
    names = ["a b,c.avi", "-ünï 视频.avi", 'it\'s "q".avi', "sub/100%.avi"]
    for number, name in enumerate(names):
        clip(name, number)
    rows = "".join('"' + name.replace('"', '""') + f'",{number},val\n' for number, name in enumerate(names))
    manifest = labels("path,mos,split\n" + rows, labels="mine.csv", format="table", generator_pattern="")
    assert manifest["video_id"].tolist() == sorted(names)
    assert set(manifest["status"]) == {"ok"}
    assert set(manifest["part"]) == {"val"}
    assert manifest["group"].tolist() == sorted(names)
    assert manifest["generator"].tolist() == [None] * 4


def test_a_file_that_cannot_be_read_fails_alone(labels, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a file without read permission (which the superuser, who may run these tests, can read)."""
    clip("a_1.avi")
    clip("b_1.avi", 1)

    def read(path: Path) -> str:
        if path.name == "a_1.avi":
            raise PermissionError(13, "Permission denied", str(path))
        return file_sha256(path)

    monkeypatch.setattr("stages.prepare.file_sha256", read)
    manifest = labels("a_1.avi|p|5\nb_1.avi|p|6\n", failed=0.5)
    assert manifest["status"].tolist() == ["failed", "ok"]
    assert manifest["reason"][0] == "info.txt line 1: cannot be read: Permission denied"


def test_a_missing_file_with_a_windows_path_gets_a_hint(labels, workplace: Path) -> None:
    clip("deep/a_1.avi")
    manifest = labels("deep/a_1.avi|p|5\ndeep\\b_1.avi|p|6\n", failed=0.5)
    failed = manifest[manifest["status"] == "failed"]
    assert failed["video_id"].tolist() == ["deep\\b_1.avi"]
    assert failed["reason"].iloc[0].endswith("no such file: raw/videos/deep\\b_1.avi; paths are written with /")


def test_a_longer_share_of_missing_frames_is_another_item(labels, workplace: Path) -> None:
    """A truncated video fails at one setting and passes at another: the cache must not mix them."""
    clip("a_1.avi", n_frames=40)
    clip("b_1.avi", 1)
    data = (workplace / "raw/videos/a_1.avi").read_bytes()
    (workplace / "raw/videos/a_1.avi").write_bytes(data[: len(data) * 3 // 4])
    text = "a_1.avi|p|5\nb_1.avi|p|6\n"
    assert labels(text, max_missing_fraction=0.9)["status"].tolist() == ["ok", "ok"]
    strict = labels(text, max_missing_fraction=0)
    assert strict["status"].tolist() == ["failed", "ok"]
    assert strict["reason"][0].startswith("truncated or damaged: of 40 coded frames ")


def test_prepare_is_callable_with_paths(write_params, workplace: Path) -> None:
    write_dataset(workplace / "raw", prompts=1)
    write_params(engine={"workers": 1})
    prepare(load_params(), root=Path("raw"), out=Path("m.parquet"), pairs=Path("p.parquet"))
    assert len(read_frame("m.parquet", schema=MANIFEST)) == 2
