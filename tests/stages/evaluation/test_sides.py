"""Folders as sides: names, prompts by file name or from a table, and what is refused."""

from pathlib import Path

import pytest

from stages.errors import DatasetError
from stages.evaluation.sides import find_sides, read_prompts


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for name in ("a/cat.mp4", "a/deep/dog.mp4", "b/cat.webm", "b/deep/dog.mp4", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return [tmp_path / "a", tmp_path / "b"]


def test_files_of_one_name_are_of_one_prompt(folders: list[Path]) -> None:
    table = find_sides(folders, None)
    assert table[["side", "prompt"]].to_numpy().tolist() == [
        ["a", "cat"], ["a", "deep/dog"], ["b", "cat"], ["b", "deep/dog"],
    ]  # fmt: skip


def test_a_table_names_prompts_by_any_form_of_the_path(folders: list[Path], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text('path,prompt\na/cat.mp4,"a cat, red"\ncat.webm,"a cat, red"\ndeep/dog.mp4,a dog\n')
    assert find_sides(folders, prompts)["prompt"].tolist() == ["a cat, red", "a dog", "a cat, red", "a dog"]
    prompts.write_text("path,prompt\ncat.mp4,a cat\n")
    with pytest.raises(DatasetError, match=r"prompts.csv: no prompt for 3 videos: .*dog.mp4"):
        find_sides(folders, prompts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path;prompt\na;b\n", "the columns are path;prompt; needed: path and prompt"),
        ("path,prompt\na,1\na,2\n", "listed twice: a"),
        ("", "not a CSV file"),
    ],
)
def test_tables_that_do_not_do(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_prompts(tmp_path / "p.csv")


def test_sides_that_are_none(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="two or more folders, each once"):
        find_sides([folders[0], tmp_path / "b" / ".." / "a"], None)
    with pytest.raises(DatasetError, match="none: no videos"):
        find_sides([folders[0], tmp_path / "none"], None)


def test_folders_of_one_name_are_told_apart_by_their_path(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "b" / "a").mkdir()
    (tmp_path / "b" / "a" / "cat.mp4").touch()
    names = find_sides([folders[0], tmp_path / "b" / "a"], None)["side"].unique().tolist()
    assert names == [folders[0].as_posix(), (tmp_path / "b" / "a").as_posix()]
