"""The schema of params.yaml: what is refused and how it is said, presets, and the shipped files."""

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from pydantic import AfterValidator, ValidationError

from stages.errors import ParamsError
from stages.params.describe import allowed, iter_fields
from stages.params.load import check_params, flatten, load_params, merge, read_yaml
from stages.params.presets import preset_arguments, preset_changes, preset_names, read_changes
from stages.params.schema import DatasetParams, Params
from stages.params.schema import engine as sections
from tests.conftest import ROOT, read_stages

PRESETS = preset_names(ROOT / "presets")


@pytest.fixture
def check(shipped_params: dict) -> Callable[[dict], Params]:
    return lambda changes: check_params(merge(shipped_params, changes), source="params.yaml")


def refusal(check: Callable[[dict], Params], changes: dict) -> str:
    with pytest.raises(ParamsError) as caught:
        check(changes)
    return str(caught.value)


def test_shipped_params_are_complete(shipped_params: dict) -> None:
    """Every key of the schema stands in params.yaml and the other way round, so that users see all of them."""
    params = load_params(ROOT / "params.yaml")
    assert [key for key, _ in iter_fields(Params)] == [key for key, _ in flatten(params.model_dump())]
    assert {key for key, _ in iter_fields(Params)} == {key for key, _ in flatten(shipped_params)}


@pytest.mark.parametrize("name", PRESETS)
def test_shipped_presets_are_valid(name: str) -> None:
    arguments = preset_arguments(name, params=ROOT / "params.yaml", folder=ROOT / "presets")
    assert arguments[::2] == ["-S"] * (len(arguments) // 2)
    assert len(arguments) > 0


@pytest.mark.parametrize("key", [key for key, _ in iter_fields(Params)])
def test_every_field_says_what_it_means_and_takes(key: str) -> None:
    info = dict(iter_fields(Params))[key]
    assert info.description
    assert len(info.description) > 10
    assert allowed(info)


@pytest.mark.parametrize(
    ("changes", "key", "texts"),
    [
        (
            {"split": {"by": "prompt"}},
            "split.by = 'prompt'",
            ["group | video | dataset | generator", "what stays"],
        ),
        ({"split": {"val_fraction": 1.5}}, "split.val_fraction = 1.5", ["above 0", "below 1"]),
        ({"split": {"val_fraction": "much"}}, "split.val_fraction = 'much'", ["a number above 0 below 1"]),
        ({"decode": {"frames": 0}}, "decode.frames = 0", ["an integer from 1 to 1024"]),
        ({"decode": {"frames": 2.5}}, "decode.frames = 2.5", ["an integer from 1"]),
        ({"decode": {"frames": None}}, "decode.frames = None", ["an integer from 1"]),
        ({"split": {"seed": True}}, "split.seed = True", ["not true or false", "an integer from 0"]),
        ({"split": {"val_fraction": False}}, "split.val_fraction = False", ["not true or false"]),
        ({"dataset": {"root": ""}}, "dataset.root = ''", ["not empty"]),
        ({"dataset": {"root": 5}}, "dataset.root = 5", ["text"]),
        ({"dataset": {"generator_pattern": "("}}, "dataset.generator_pattern = '('", ["not a regular expression"]),
        ({"dataset": {"generator_pattern": "(a)"}}, "dataset.generator_pattern = '(a)'", ["(?P<generator>...)"]),
        ({"dataset": {"group_pattern": "(?P<g>a)"}}, "dataset.group_pattern = '(?P<g>a)'", ["(?P<group>...)"]),
        ({"train": {"fgm": {"epsilon": -1}}}, "train.fgm.epsilon = -1", ["a number from 0", "FGM"]),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate = nan", ["finite", "above 0"]),
        ({"cropper": {"training": {"pretrained": 3}}}, "cropper.training.pretrained = 3", ["text or null"]),
        ({"train": {"flip": "maybe"}}, "train.flip = 'maybe'", ["true | false"]),
        ({"train": {"fgm": 3}}, "train.fgm = 3", ["a section"]),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(check, changes: dict, key: str, texts: list[str]) -> None:
    message = refusal(check, changes)
    assert message.startswith("params.yaml: 1 problem\n")
    assert f"  {key}: " in message
    for text in texts:
        assert text in message


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        (
            {"split": {"sed": 3}},
            [
                "split.sed: unknown key; did you mean split.seed?",
                "known here: by, fixed, held_out",
            ],
        ),
        ({"trian": {}}, ["trian: unknown key; did you mean train?"]),
        ({"train": {"fgm": {"epsilom": 1}}}, ["train.fgm.epsilom: unknown key; did you mean train.fgm.epsilon?"]),
        ({"split": {"frames": 3}}, ["split.frames: unknown key; did you mean decode.frames?"]),
        (
            {"split": {"zzzzzzzz": 3}},
            ["split.zzzzzzzz: unknown key", "known here: by, fixed, held_out"],
        ),
        ({7: {}}, ["7"]),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(check, changes: dict, texts: list[str]) -> None:
    message = refusal(check, changes)
    for text in texts:
        assert text in message


def test_all_problems_are_told_at_once(check) -> None:
    changes = {"split": {"seed": -1, "sed": 0}, "decode": {"encoding": "bmp"}, "train": {"epochs": "ten"}}
    message = refusal(check, changes)
    assert message.startswith("params.yaml: 4 problems")
    for key in ("split.seed = -1", "split.sed", "decode.encoding = 'bmp'", "train.epochs = 'ten'"):
        assert key in message


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"split": {"val_fraction": 0.5, "test_fraction": 0.5}}, "split: val_fraction + test_fraction must be below 1"),
        ({"dataset": {"mos_min": 5, "mos_max": 1}}, "dataset: mos_min = 5 must be below mos_max = 1"),
        (
            {"dataset": {"format": "vquala", "target": "Quality"}},
            "dataset: target = 'Quality' with format = vquala; allowed: Overall_MOS, Traditional_MOS, Alignment_MOS",
        ),
        ({"dataset": {"target": "score"}}, "dataset: target = 'score' with format = t2vqa_db; allowed: mos"),
        ({"split": {"by": "generator"}}, "split: held_out is empty; with by = generator it names the generator"),
    ],
)
def test_values_that_do_not_go_together(check, changes: dict, text: str) -> None:
    assert text in refusal(check, changes)


@pytest.mark.parametrize("key", ["dataset.root", "detector.source", "cropper.source", "split.fixed"])
def test_a_path_is_data_to_the_shell(check, key: str, tmp_path: Path) -> None:
    """dvc.yaml has it in single quotes; what could end them is refused."""
    section, name = key.split(".")
    path = 'My $5 clips/`touch X`$(touch X)"; touch X; "\\ & *'
    assert getattr(getattr(check({section: {name: path}}), section), name) == path
    echoed = subprocess.run(f"printf %s '{path}'", shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert echoed.stdout == path
    assert list(tmp_path.iterdir()) == []
    for bad in ("it's", "a\nb", "a\tb", "a\x1b[31m", "\u2028"):
        assert "no quotation mark ' and no line break" in refusal(check, {section: {name: bad}})


def test_dvc_yaml_hands_params_to_the_shell_in_single_quotes() -> None:
    handed = [
        found
        for stage in read_stages().values()
        for found in re.findall(r"(.?)\$\{([\w.]+)\}(.?)", stage["cmd"])
        # One of a few plain words each.
        if found[1] not in ("crop.method", "item.method")
    ]
    fields = dict(iter_fields(Params))
    assert {key for _, key, _ in handed} == {"dataset.root", "detector.source", "cropper.source", "split.fixed"}
    assert {before + after for before, _, after in handed} == {"''"}
    assert all(any(isinstance(each, AfterValidator) for each in fields[key].metadata) for _, key, _ in handed)


def test_seeds_and_counts_have_an_upper_end(check) -> None:
    assert "to 2147483647" in refusal(check, {"train": {"seed": 2**60}})
    assert "to 1000000" in refusal(check, {"train": {"epochs": 10**9}})


def test_missing_section_and_key(shipped_params: dict) -> None:
    del shipped_params["split"]
    del shipped_params["decode"]["frames"]
    with pytest.raises(ParamsError, match="2 problems") as caught:
        check_params(shipped_params, source="p.yaml")
    assert "split: missing (a section)" in str(caught.value)
    assert "decode.frames: missing (frames a video" in str(caught.value)


def test_numbers_that_dvc_writes_as_text(check, tmp_path: Path) -> None:
    """PyYAML reads 1e-05 as text, and DVC writes small numbers in that form."""
    assert yaml.safe_load("1e-05") == "1e-05"
    params = check({"train": {"learning_rate": "1e-05", "epochs": "3", "fgm": {"epsilon": "5e-3"}}})
    assert params.train.learning_rate == 1e-05
    assert params.train.epochs == 3
    assert params.train.fgm.epsilon == 0.005


def test_params_are_frozen(check) -> None:
    params = check({})
    with pytest.raises(ValidationError, match="frozen"):
        params.split.seed = 4
    with pytest.raises(ValidationError, match="frozen"):
        params.split = None


def test_empty_generator_pattern_means_no_generators(check) -> None:
    assert check({"dataset": {"generator_pattern": ""}}).dataset.generator_pattern == ""


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("split: {}\ntrain: {}\nsplit: {}\n", "the key 'split' stands twice, in lines 1 and 3", "line 3"),
        ("train:\n  seed: 1\n  fgm: {}\n  seed: 2\n", "the key 'seed' stands twice, in lines 2 and 4", "line 4"),
        ("train:\n  fgm: {epsilon: 1, 'epsilon': 2}\n", "the key 'epsilon' stands twice, in lines 2 and 2", "line 2"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str, problem: str, line: str) -> None:
    """PyYAML alone would take the last value without a word."""
    assert yaml.safe_load(text)
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)
    assert line in str(caught.value)


def test_equal_keys_of_two_sections_and_merged_ones_are_fine(tmp_path: Path) -> None:
    text = "base: &base {seed: 1, epochs: 2}\nother: &other {flip: true}\nown:\n  <<: *base\n  <<: *other\n  seed: 5\n"
    (tmp_path / "p.yaml").write_text(text)
    assert read_yaml(tmp_path / "p.yaml")["own"] == {"seed": 5, "epochs": 2, "flip": True}


@pytest.mark.parametrize(
    ("text", "reason"),
    [("split: [1, 2\n", "not YAML"), ("- 1\n", "not list"), ("", "not NoneType"), (b"\xff\xfe\xfa", "not YAML")],
)
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str | bytes, reason: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ParamsError, match=reason) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_says_where_to_run(workplace: Path) -> None:
    with pytest.raises(ParamsError, match=r"params.yaml: no such file \(run from the folder that holds dvc.yaml\)"):
        load_params()


def test_workers_default_to_the_cores_of_this_process(check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections.os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert check({"engine": {"workers": 0}}).engine.n_workers == 3
    assert check({"engine": {"workers": 5}}).engine.n_workers == 5


def test_merge_changes_leaves_only() -> None:
    base = {"a": {"x": 1, "y": {"z": 2}}, "b": 3}
    assert merge(base, {"a": {"y": {"z": 5}}}) == {"a": {"x": 1, "y": {"z": 5}}, "b": 3}
    assert base == {"a": {"x": 1, "y": {"z": 2}}, "b": 3}


TEXTS = [
    "plain", "two words", "a,b", "it's", r"^(?P<generator>.+?)_\d+\.(x|'y')", "null", "true", "1e-05", "-5", "",
    "a=b: c", "ünï/视频", "back\\", 'quo"te', "[a]", "{a}", "~", "#", "word " * 40,
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_preset_reaches_params_yaml_through_dvc(write_params, workplace: Path, text: str) -> None:
    """What the command prints, read by a shell's rules and applied by DVC, gives base and preset merged."""
    write_params()
    pattern = "(?P<generator>a b,'c')\\d"
    changes: dict[str, Any] = {
        "dataset": {"videos": text, "generator_pattern": pattern},
        "train": {"learning_rate": 1e-05, "flip": False, "fgm": {"epsilon": 1}},
        "methods": {"frame_consistency": {"pretrained": None}},
    }
    (workplace / "presets").mkdir()
    (workplace / "presets" / "mine.yaml").write_text(yaml.safe_dump(changes), encoding="utf-8")
    arguments = shlex.split(shlex.join(preset_arguments("mine")))
    assert arguments[::2] == ["-S"] * 6
    expected = check_params(merge(read_yaml("params.yaml"), changes), source="expected")
    apply_overrides("params.yaml", arguments[1::2])
    assert load_params() == expected
    assert isinstance(load_params().dataset, DatasetParams)


def test_presets_are_checked_and_unknown_ones_named(write_params, workplace: Path) -> None:
    write_params()
    with pytest.raises(ParamsError, match="no preset 'kvq' in presets/; there are: none"):
        preset_arguments("kvq")
    (workplace / "presets").mkdir()
    (workplace / "presets" / "a.yaml").write_text("split: {sed: 3}\n")
    (workplace / "presets" / "b.yaml").write_text("split: {seed: 3, by: video}\n")
    with pytest.raises(ParamsError, match="there are: a, b"):
        preset_arguments("kvq")
    with pytest.raises(ParamsError, match=r"a\.yaml: 1 problem\n  split\.sed: unknown key"):
        preset_arguments("a")
    assert preset_arguments("b") == ["-S", "split.seed=3", "-S", "split.by=video"]
    (workplace / "presets" / "more").mkdir()
    (workplace / "presets" / "more" / "c.yaml").write_text("split: {seed: 4}\ndecode: {frames: 5}\n")
    changes = ["split.seed=4", "split.by=video", "decode.frames=5"]
    assert preset_arguments("b+more/c") == [word for change in changes for word in ("-S", change)]
    with pytest.raises(ParamsError, match="no preset 'd' in presets/; there are: a, b, more/c"):
        preset_arguments("b+d")


def test_a_preset_is_based_on_others(workplace: Path) -> None:
    folder = workplace / "presets"
    folder.mkdir()
    (folder / "a.yaml").write_text("split: {seed: 1, by: video}\n")
    (folder / "b.yaml").write_text("train: {seed: 2}\nsplit: {seed: 3}\n")
    (folder / "c.yaml").write_text("based_on: a+b\ntrain: {seed: 4}\n")
    expected = {"split": {"seed": 3, "by": "video"}, "train": {"seed": 4}}
    assert preset_changes("c") == expected
    assert preset_changes("c+a") == merge(expected, {"split": {"seed": 1}})
    (folder / "d.yaml").write_text("based_on: e\n")
    (folder / "e.yaml").write_text("based_on: a+d\n")
    with pytest.raises(ParamsError, match=r"based on itself \(d -> e -> d\)"):
        preset_changes("d")
    (folder / "f.yaml").write_text("based_on: [a, b]\n")
    with pytest.raises(ParamsError, match=r"f\.yaml: based_on = \['a', 'b'\]; allowed: the name of a preset"):
        preset_changes("f")


def test_changes_as_users_write_them() -> None:
    texts = ["train.seed=3", "train.fgm.epsilon=0.5", "dataset.pairs=", "detector.sha256=null", "train.seed=4"]
    expected = {
        "train": {"seed": 4, "fgm": {"epsilon": 0.5}}, "dataset": {"pairs": ""}, "detector": {"sha256": None},
    }  # fmt: skip
    assert read_changes(texts) == expected
    # What is no YAML is text, and = may stand in a value.
    assert read_changes(["dataset.generator_pattern=(?P<generator>a=b): [x"]) == {
        "dataset": {"generator_pattern": "(?P<generator>a=b): [x"}
    }
