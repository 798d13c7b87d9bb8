"""The published formats on tiny copies of their layouts, lists of parts, and a folder without labels."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stages.datasets.adapters import read_entries
from stages.datasets.folder import passed_over, scan_folder
from stages.errors import DatasetError
from stages.params.schema import DatasetParams

VQUALA = "Prompt,Overall_MOS,Traditional_MOS,Alignment_MOS,Aesthetic_MOS,Temporal_MOS,video_name\n"


@pytest.fixture
def dataset(shipped_params: dict) -> Callable[..., DatasetParams]:
    """The shipped `dataset` section with changes."""
    return lambda **changes: DatasetParams.model_validate(shipped_params["dataset"] | changes)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_kvq(dataset, tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "filename,score\n0001_0.mp4,3.5\n0001_1.mp4,2\n0002_0.mp4,1\n")
    params = dataset(format="kvq", labels="train.csv", mos_min=1, mos_max=5, generator_pattern="")
    entries = read_entries(params, tmp_path)
    assert [(entry.video_id, entry.path, entry.mos_raw) for entry in entries] == [
        ("0001_0.mp4", "videos/0001_0.mp4", 3.5),
        ("0001_1.mp4", "videos/0001_1.mp4", 2),
        ("0002_0.mp4", "videos/0002_0.mp4", 1),
    ]
    # Every video is a group of its own, unless the file names say which show one source.
    assert [entry.group for entry in entries] == ["0001_0.mp4", "0001_1.mp4", "0002_0.mp4"]
    by_source = params.model_copy(update={"group_pattern": r"^(?P<group>\d+)_"})
    assert [entry.group for entry in read_entries(by_source, tmp_path)] == ["0001", "0001", "0002"]
    # A pattern of other names would leave every video alone without a word.
    wrong = params.model_copy(update={"group_pattern": r"^s(?P<group>\d+)-"})
    with pytest.raises(DatasetError, match=r"group_pattern = .* matches no file name \(first: '0001_0.mp4'\); set one"):
        read_entries(wrong, tmp_path)


def test_vqualas_target_chooses_the_score(dataset, tmp_path: Path) -> None:
    write(tmp_path / "train.csv", VQUALA + '"a cat, playing",3.333,1,2,4,5,v1.mp4\n"a dog",2,,2,2,2,v2.mp4\n')
    settings = {"format": "vquala", "labels": "train.csv", "videos": "train", "mos_min": 1, "mos_max": 5}
    expected = {
        "Overall_MOS": 3.333, "Traditional_MOS": 1, "Alignment_MOS": 2, "Aesthetic_MOS": 4, "Temporal_MOS": 5,
    }  # fmt: skip
    for target, mos in expected.items():
        first, second = read_entries(dataset(target=target, **settings), tmp_path)
        assert (first.video_id, first.path, first.mos_raw) == ("v1.mp4", "train/v1.mp4", mos)
        assert (first.prompt, first.group) == ("a cat, playing", "a cat playing")
        # A score that is missing is that video's failure, for that target alone.
        missing = "train.csv line 3: the MOS is missing"
        assert second.problem == (missing if target == "Traditional_MOS" else None)


def test_a_tables_target_chooses_the_score(dataset, tmp_path: Path) -> None:
    write(tmp_path / "labels.csv", "path,mos,sharp\na.mp4,10,20\n")
    params = dataset(format="table", labels="labels.csv", target="sharp")
    assert [entry.mos_raw for entry in read_entries(params, tmp_path)] == [20]
    with pytest.raises(DatasetError, match=r"labels.csv: no column 'shrap'; column 'sharp': did you mean 'shrap'"):
        read_entries(params.model_copy(update={"target": "shrap"}), tmp_path)


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("kvq", "name,score\na.mp4,3\n", "no column 'filename' (found: name, score; needed: filename, score)"),
        ("kvq", "filename,score\na.mp4,3\n,4\n", "labels.csv line 3: the filename is empty"),
        ("kvq", "filename,score\na.mp4,3,1\n", "labels.csv line 2: not the 2 fields of the header"),
        ("kvq", "filename,score\na.mp4,3\na.mp4,4\n", "labels.csv line 3: 'videos/a.mp4' has the id of"),
        (
            "kvq",
            "filename,score\na.mp4,3\nb.mp4,72\n",
            "labels.csv line 3: the MOS 72 of 'videos/b.mp4' is out of range",
        ),
        ("kvq", "filename,score\na.mp4,3\nb.mp4,72\n", "MOS found: 3 to 72; allowed by dataset.mos_min and"),
        ("kvq", "filename,score\n", "no videos are listed"),
        (
            "vquala",
            "Prompt,video_name\np,a.mp4\n",
            "no column 'Overall_MOS' (found: Prompt, video_name; needed: video_na",
        ),
        ("vquala", VQUALA + "p,3,3,3,3,3,\n", "labels.csv line 2: the video_name is empty"),
        ("vquala", VQUALA + "p,0.5,3,3,3,3,a.mp4\n", "labels.csv line 2: the MOS 0.5 of"),
    ],
)
def test_refusals_name_file_and_row(dataset, tmp_path: Path, form: str, text: str, message: str) -> None:
    write(tmp_path / "labels.csv", text)
    target = {"target": "Overall_MOS"} if form == "vquala" else {}
    params = dataset(format=form, labels="labels.csv", mos_min=1, mos_max=5, **target)
    with pytest.raises(DatasetError) as caught:
        read_entries(params, tmp_path)
    assert str(tmp_path / "labels.csv") in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("form", "ending", "head", "row"),
    [("kvq", "csv", "filename,score\n", "{}.mp4,3\n"), ("t2vqa_db", "txt", "", "{}.mp4|prompt|3\n")],
)
def test_lists_of_a_folder_are_the_data_sets_own_parts(
    dataset, tmp_path: Path, form: str, ending: str, head: str, row: str
) -> None:
    for part in ("train", "test"):
        write(tmp_path / "lists" / f"{part}.{ending}", head + row.format(f"{part}_1") + row.format(f"{part}_2"))
    write(tmp_path / "lists" / "readme.md", "which videos train")
    entries = read_entries(dataset(format=form, labels="lists"), tmp_path)
    assert [(entry.video_id, entry.part) for entry in entries] == [
        ("train_1.mp4", "train"), ("train_2.mp4", "train"), ("test_1.mp4", "test"), ("test_2.mp4", "test"),
    ]  # fmt: skip
    assert entries[-1].place == f"test.{ending} line {3 if head else 2}"


def test_lists_that_cannot_be_used(dataset, tmp_path: Path) -> None:
    params = dataset(format="table", labels="lists")
    write(tmp_path / "lists" / "notes.md", "which videos train")
    with pytest.raises(DatasetError, match=r"lists: no list train.\*, val.\* or test.\* \(found: notes.md\)"):
        read_entries(params, tmp_path)
    write(tmp_path / "lists" / "val.csv", "path,mos\n")
    with pytest.raises(DatasetError, match=r"val.csv: no videos are listed; leave a part without videos out"):
        read_entries(params, tmp_path)
    (tmp_path / "lists" / "val.csv").unlink()
    write(tmp_path / "lists" / "train.csv", "path,mos,split\na.mp4,1,\nb.mp4,1,test\n")
    with pytest.raises(DatasetError, match=r"train.csv line 3: split is 'test', but this is the list of the part"):
        read_entries(params, tmp_path)
    write(tmp_path / "lists" / "train.csv", "path,mos\na.mp4,1\n")
    write(tmp_path / "lists" / "test.csv", "path,mos\n./a.mp4,1\n")
    with pytest.raises(DatasetError, match=r"test.csv line 2: 'videos/a.mp4' has the id of .* \(train.csv line 2\)"):
        read_entries(params, tmp_path)
    write(tmp_path / "lists" / "train.parquet", "")
    with pytest.raises(DatasetError, match=r"lists: two lists of the part train: train.csv, train.parquet"):
        read_entries(params, tmp_path)


@pytest.mark.parametrize("name", ["truth.csv", "training.csv", "Train.CSV", "validation.parquet", "info.txt"])
def test_a_list_of_another_name_is_not_left_out_without_a_word(dataset, tmp_path: Path, name: str) -> None:
    # KVQ's validation list is published as truth.csv.
    write(tmp_path / "lists" / "train.csv", "filename,score\na.mp4,1\n")
    write(tmp_path / "lists" / name, "filename,score\nb.mp4,1\n")
    params = dataset(format="kvq", labels="lists", mos_min=1, mos_max=5)
    with pytest.raises(DatasetError, match=rf"lists: no list of a part: {name}; allowed: train.\*, val.\*, test.\*"):
        read_entries(params, tmp_path)


def test_labels_that_are_not_there_yet(dataset, tmp_path: Path) -> None:
    # As the preset kvq names a folder, before the data are unpacked.
    for form in ("kvq", "t2vqa_db", "table"):
        with pytest.raises(
            DatasetError, match=r"labels: no such label file or folder \(dataset.root, dataset.labels\)"
        ):
            read_entries(dataset(format=form, labels="labels"), tmp_path)


def test_spellings_of_a_prompt_are_one_group_over_all_lists(dataset, tmp_path: Path) -> None:
    write(tmp_path / "lists/train.txt", "a.mp4|a red fox|3\n")
    write(tmp_path / "lists/test.txt", "b.mp4|A Red  Fox|3\n")
    entries = read_entries(dataset(labels="lists"), tmp_path)
    assert [(entry.prompt, entry.group) for entry in entries] == [
        ("a red fox", "a red fox"), ("A Red  Fox", "a red fox"),
    ]  # fmt: skip


def test_a_scan_counts_and_names_what_it_passes_over(tmp_path: Path) -> None:
    for name in ("a.ts", "b.FLV", "c.3gp", "d.webp", "e.webp", "notes", ".hidden.txt"):
        write(tmp_path / name, "")
    (tmp_path / "f.mp4").symlink_to(tmp_path / "gone.mp4")
    videos, others = scan_folder(tmp_path)
    assert [file.name for file in videos] == ["a.ts", "b.FLV", "c.3gp"]
    assert passed_over(others) == "passed over: 2 .webp, 1 broken link, 1 without an ending"
    assert passed_over([]) == ""


def test_a_folder_without_labels(dataset, tmp_path: Path) -> None:
    for name in ("videos/b_1.mp4", "videos/sub/a_1.AVI", "videos/notes.txt", "videos/.trash/c_1.mp4", "other/d_1.mp4"):
        write(tmp_path / name, "")
    entries = read_entries(dataset(format="folder"), tmp_path)
    assert [(entry.video_id, entry.path, entry.mos_raw, entry.problem) for entry in entries] == [
        ("b_1.mp4", "videos/b_1.mp4", None, None),
        ("sub/a_1.AVI", "videos/sub/a_1.AVI", None, None),
    ]
    assert [(entry.generator, entry.group) for entry in entries] == [("b", "b_1.mp4"), ("a", "sub/a_1.AVI")]
    assert len(read_entries(dataset(format="folder", videos=""), tmp_path)) == 3
    assert scan_folder(tmp_path / "other") == ([tmp_path / "other/d_1.mp4"], [])
    with pytest.raises(DatasetError, match=r"nowhere: no such folder of videos \(dataset.root, dataset.videos\)"):
        read_entries(dataset(format="folder", videos="nowhere"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty: no videos are listed"):
        read_entries(dataset(format="folder", videos="empty"), tmp_path)
