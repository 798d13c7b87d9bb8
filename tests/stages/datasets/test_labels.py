"""Labels: what each format reads, and what is refused with file, line and reason."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from stages.datasets.labels import (
    Entry,
    LabelRules,
    check_entries,
    found_in_name,
    parse_mos,
    video_id_of,
    words_of,
)
from stages.datasets.t2vqa_db import read_t2vqa_db
from stages.datasets.table import read_table_labels
from stages.errors import DatasetError
from stages.params.schema import TableParams

PATTERN = r"^(?P<generator>.+?)_\d+\."


@pytest.fixture
def t2vqa(tmp_path: Path) -> Callable[[str | bytes], list[Entry]]:
    def read(text: str | bytes) -> list[Entry]:
        path = tmp_path / "info.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_t2vqa_db(path, LabelRules("videos", generator_pattern=PATTERN))

    return read


@pytest.fixture
def csv(tmp_path: Path, layout: TableParams) -> Callable[[str | bytes], list[Entry]]:
    def read(text: str | bytes) -> list[Entry]:
        path = tmp_path / "labels.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_table_labels(path, LabelRules("clips", generator_pattern=PATTERN), layout)

    return read


@pytest.fixture
def layout(shipped_params: dict) -> TableParams:
    return TableParams.model_validate(shipped_params["dataset"]["table"])


def test_t2vqa_db_line(t2vqa) -> None:
    assert t2vqa("sora_0001.mp4|a red fox|61.25\n") == [
        Entry(
            video_id="sora_0001.mp4",
            path="videos/sora_0001.mp4",
            mos_raw=61.25,
            place="info.txt line 1",
            prompt="a red fox",
            generator="sora",
            group="a red fox",
        )
    ]


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("\ufeffa_1.mp4|x|5\r\nb_2.mp4|y|6\r\n", ["x", "y"]),  # BOM, CRLF
        ("a_1.mp4|x|5\n\n   \nb_2.mp4|y|6", ["x", "y"]),
        ("a_1.mp4|one\u2028line\x85still\x0cone|5\n", ["one\u2028line\x85still\x0cone"]),
        ('a_1.mp4|ein Bär, "süß" 熊|5\n', ['ein Bär, "süß" 熊']),
        ("a_1.mp4||5\n", [None]),
    ],
)
def test_t2vqa_db_prompts(t2vqa, text: str, prompts: list[str | None]) -> None:
    entries = t2vqa(text)
    assert [entry.prompt for entry in entries] == prompts
    assert [entry.mos_raw for entry in entries] == [5, 6][: len(prompts)]
    assert entries[0].video_id == "a_1.mp4"


def test_a_video_without_a_prompt_is_its_own_group(t2vqa, csv) -> None:
    assert [entry.group for entry in t2vqa("a_1.mp4||5\nb_1.mp4| |6\n")] == ["a_1.mp4", "b_1.mp4"]
    assert [entry.group for entry in csv("path,mos,prompt\na.mp4,1,\nb.mp4,1, \n")] == ["a.mp4", "b.mp4"]


def test_t2vqa_db_lines_that_are_none(t2vqa) -> None:
    with pytest.raises(DatasetError) as caught:
        t2vqa("a.mp4|5\nb.mp4|ok|6\n|prompt|7\nonly text\n")
    assert str(caught.value).splitlines()[0].endswith("info.txt: lines that cannot be read")
    assert str(caught.value).splitlines()[1:] == [
        "  info.txt line 1: 'a.mp4|5' is not `filename|prompt|mos`",
        "  info.txt line 3: '|prompt|7' is not `filename|prompt|mos`",
        "  info.txt line 4: 'only text' is not `filename|prompt|mos`",
    ]


def test_a_fourth_field_is_no_part_of_the_prompt(t2vqa) -> None:
    """Of `file|prompt|x|mos`, "prompt|x" would be a prompt of its own: one prompt could stand in two parts."""
    with pytest.raises(DatasetError) as caught:
        t2vqa("a.mp4|a fox|5\nb.mp4|a fox|x|6\nc.mp4|either | or|7\n")
    headline, *lines = str(caught.value).splitlines()
    assert "dataset.format: table, table.separator: '|', table.header: false" in headline
    assert "dataset.target: 4" in headline
    assert lines == [
        "  info.txt line 2: 'b.mp4|a fox|x|6' is not `filename|prompt|mos` (4 fields)",
        "  info.txt line 3: 'c.mp4|either | or|7' is not `filename|prompt|mos` (4 fields)",
    ]


@pytest.mark.parametrize("name", ["info.txt", "labels.csv", "labels.parquet", "labels.xlsx", "labels"])
def test_a_label_file_that_is_missing_or_a_folder(tmp_path: Path, layout: TableParams, name: str) -> None:
    read = read_t2vqa_db if name == "info.txt" else partial(read_table_labels, layout=layout)
    path = tmp_path / name
    with pytest.raises(DatasetError, match=rf"{name}: no such label file or folder \(dataset.root, dataset.labels\)"):
        read(path, LabelRules())
    path.mkdir()
    with pytest.raises(DatasetError, match=name):
        read(path, LabelRules())


def test_text_that_is_not_utf8(t2vqa, csv) -> None:
    with pytest.raises(
        DatasetError, match=r"info.txt: line 2 is not UTF-8 text \(.*b'\\xe4'\); save the file as UTF-8"
    ):
        t2vqa(b"a.mp4|bear|5\nb.mp4|B\xe4r|5\n")
    with pytest.raises(DatasetError, match=r"labels.csv: line 3 is not UTF-8 text"):
        csv(b"path,mos\na.mp4,5\nB\xe4r.mp4,5\n")


@pytest.mark.parametrize(
    ("text", "value", "problem"),
    [
        ("61.25", 61.25, None),
        (" -3 ", -3, None),
        ("1e1", 10, None),
        (7, 7, None),
        (None, None, "the MOS is missing"),
        ("  ", None, "the MOS is missing"),
        ("good", None, "the MOS 'good' is not a number"),
        ("5,5", None, "the MOS '5,5' is not a number"),
        ([5], None, "the MOS [5] is not a number"),
        ("nan", None, "the MOS is nan; a finite number is needed"),
        (math.inf, None, "the MOS is inf; a finite number is needed"),
    ],
)
def test_mos(text, value: float | None, problem: str | None) -> None:
    found, reason = parse_mos(text, place="l 3")
    assert reason == (None if problem is None else f"l 3: {problem}")
    assert found == value if value is not None else math.isnan(found)


def test_ids_and_generators() -> None:
    assert video_id_of("./a//b.mp4") == "a/b.mp4"
    assert found_in_name("x/y_z_0012.mp4", PATTERN, "generator") == "y_z"
    assert found_in_name("x_1/y.mp4", PATTERN, "generator") is None  # only the file's own name counts
    assert found_in_name("a_1.mp4", "", "generator") is None
    # A pattern with a / is searched in the whole path.
    assert found_in_name("x_1/y.mp4", "^(?P<generator>[^/]+)/", "generator") == "x_1"
    assert found_in_name("y.mp4", "^(?P<generator>[^/]+)/", "generator") is None


def entry(name: str, mos: float = 50, *, line: int = 1, problem: str | None = None) -> Entry:
    return Entry(video_id_of(name), f"videos/{name}", mos, f"line {line}", problem=problem)


@pytest.mark.parametrize(
    ("entries", "texts"),
    [
        ([], ["info.txt: no videos are listed"]),
        ([entry("a.mp4"), entry("./a.mp4", line=2)], ["line 2: 'videos/./a.mp4' has the id of 'videos/a.mp4' (line"]),
        ([entry("../a.mp4")], ["line 1: 'videos/../a.mp4' leaves the data set's folder"]),
        ([Entry("/a.mp4", "/a.mp4", 5, "line 1")], ["line 1: '/a.mp4' leaves the data set's folder"]),
        (
            [entry("a.mp4", 101), entry("b.mp4", 3, line=2), entry("c.mp4", -0.5, line=3)],
            [
                "line 1: the MOS 101 of 'videos/a.mp4' is out of range",
                "line 3: the MOS -0.5 of 'videos/c.mp4' is out of range",
                "MOS found: -0.5 to 101; allowed by dataset.mos_min and dataset.mos_max: 0 to 100",
            ],
        ),
        ([entry("a.mp4", 101), entry("a.mp4", line=2)], ["is out of range", "has the id of"]),
    ],
)  # fmt: skip
def test_a_doubtful_data_set_is_refused(entries: list[Entry], texts: list[str]) -> None:
    with pytest.raises(DatasetError) as caught:
        check_entries(entries, source=Path("info.txt"), mos_min=0, mos_max=100)
    for text in texts:
        assert text in str(caught.value)


def test_many_problems_are_counted_and_the_range_stays_in_sight() -> None:
    entries = [entry(f"{number}.mp4", 200, line=number) for number in range(50)]
    with pytest.raises(DatasetError) as caught:
        check_entries(entries, source=Path("info.txt"), mos_min=0, mos_max=100)
    lines = str(caught.value).splitlines()
    assert len(lines) == 23
    assert lines[-2].strip() == "and 30 more"
    assert "MOS found: 200 to 200" in lines[-1]


def test_the_ends_of_the_range_and_labels_with_problems_pass() -> None:
    entries = [entry("a", 0), entry("b", 100), entry("c", math.nan, problem="line 3: the MOS is missing")]
    check_entries(entries, source=Path("info.txt"), mos_min=0, mos_max=100)


def test_csv(csv) -> None:
    text = (
        'path,mos,prompt,split,rater\n"a,b_1.mp4",3.5,"says ""hi"", 熊\non two lines",train,me\nc_2.mp4,2,x,test,you\n'
    )
    first, second = csv(text)
    assert first == Entry(
        video_id="a,b_1.mp4",
        path="clips/a,b_1.mp4",
        mos_raw=3.5,
        place="labels.csv line 3",  # the last line of a row with a line break
        prompt='says "hi", 熊\non two lines',
        generator="a,b",
        group="says hi 熊 on two lines",
        part="train",
    )
    assert (second.place, second.part, second.group) == ("labels.csv line 4", "test", "x")
    assert csv("\ufeffpath,mos\r\na.mp4,1\r\n")[0].path == "clips/a.mp4"  # BOM, CRLF


def test_prompts_that_differ_in_case_spaces_or_punctuation_are_one_group(csv) -> None:
    text = (
        "path,mos,prompt,group\na.mp4,1,a  Red fox,\nb.mp4,2,A red fox.,\nc.mp4,3,a red  FOX ,\nd.mp4,4,a red dog,\n"
        "e.mp4,5,A red fox,G\nf.mp4,6,x,g\nG,7,,\nh.mp4,8,?!,\n"
    )
    found = csv(text)
    # The prompts stay as they are; a column's groups are ids, and a video without a prompt is its own group.
    assert [entry.prompt for entry in found] == [
        "a  Red fox", "A red fox.", "a red  FOX", "a red dog", "A red fox", "x", None, "?!",
    ]  # fmt: skip
    assert [entry.group for entry in found] == [
        "a red fox", "a red fox", "a red fox", "a red dog", "G", "g", "G", "?!",
    ]  # fmt: skip
    # The group of a video does not depend on what other videos there are: it stays when they come and go.
    alone = csv("path,mos,prompt,group\nc.mp4,3,a red  FOX ,\n")
    assert [entry.group for entry in alone] == ["a red fox"]
    assert words_of(None) is None
    assert words_of("  ") is None


def test_columns_come_before_patterns_and_prompts(csv) -> None:
    (found,) = csv("path,mos,prompt,generator,group\nx_1.mp4,5,p,own,g\n")
    assert (found.generator, found.group, found.prompt) == ("own", "g", "p")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path'; no column 'mos' (found: nothing; needed: path, mos"),
        ("path;mos\na.mp4;5\n", "no column 'path'; no column 'mos'"),
        (
            "path;mos\na.mp4;5\n",
            "; columns are separated by ;: set dataset.table.separator, or save",
        ),
        ("path\tmos\na.mp4\t5\n", "; columns are separated by tab: set dataset.table.separator"),
        ("path,moss\na.mp4,5\n", "no column 'mos'; column 'moss': did you mean 'mos'?"),
        ("path,mos,promt\na.mp4,5,x\n", "column 'promt': did you mean 'prompt'?"),
        ("path,mos,splits\na.mp4,5,x\n", "column 'splits': did you mean 'split'?"),
        ("path,mos,mos\na.mp4,5,6\n", "column 'mos' is there 2 times"),
        ("path,mos,split\na.mp4,5,training\n", "labels.csv line 2: split is 'training'; allowed: train, val, test"),
        ("path,mos\na.mp4,5\n,6\n", "labels.csv line 3: the path is empty"),
        ("path,mos\na.mp4,5,6\n", "labels.csv line 2: not the 2 fields of the header"),
        ("path,mos\na.mp4\n", "labels.csv line 2: not the 2 fields of the header"),
        # All of them are listed, with what else is wrong.
        (
            "path,mos\na.mp4\nb.mp4,1\n,2\nc.mp4,1,2\n",
            "cannot be used\n  labels.csv line 2: not the 2 fields of the header\n"
            "  labels.csv line 4: the path is empty\n  labels.csv line 5: not the 2 fields of the header",
        ),
        ("path,mos\na.mp4,5\n  \n ,\n", "cannot be used\n  labels.csv line 4: the path is empty"),
        ('path,mos\nb.mp4,1\n"a.mp4"x,5\n', "cannot be read as a table from line 3 on (',' expected after '\"')"),
        ('path,mos\nb.mp4,1\n"a.mp4,5\nc.mp4,1\n', "cannot be read as a table from line 3 on (unexpected end of data)"),
    ],
)
def test_tables_that_are_refused(csv, text: str, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        csv(text)
    assert "labels.csv: " in str(caught.value)
    assert message in str(caught.value)


def test_a_csv_mos_with_a_problem_is_that_videos_failure(csv) -> None:
    problems = [found.problem for found in csv("path,mos\na.mp4,\nb.mp4,good\nc.mp4,NaN\nd.mp4,5\n")]
    assert problems == [
        "labels.csv line 2: the MOS is missing",
        "labels.csv line 3: the MOS 'good' is not a number",
        "labels.csv line 4: the MOS is NaN; a finite number is needed",
        None,
    ]
