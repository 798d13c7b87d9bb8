"""decode: from manifest and videos to the frame shards."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages import decode as module
from stages import prepare
from stages.decode import main
from stages.engine.cache import ItemCache
from stages.engine.fingerprint import fingerprint
from stages.engine.run import Compute, Item
from stages.errors import VideoError
from stages.io.digests import library_versions
from stages.io.schemas import FRAMES, MANIFEST
from stages.io.shards import Shards
from stages.io.tables import read_frame
from stages.steps.clips import read_clip
from tests.conftest import noise_clip, write_clip, write_dataset

N = 6


def compute_here(function: Callable[[Any], pa.Table], *, workers: int) -> Compute:
    def compute(items: Sequence[Item], cache: ItemCache) -> Iterator[tuple[Item, str | None]]:
        for item in items:
            try:
                cache.write(item.key, function(item.payload))
                yield item, None
            except VideoError as error:
                yield item, str(error)

    return compute


@pytest.fixture
def project(workplace: Path, write_params: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Six videos and a seventh that lost half of its bytes; gives a function that runs decode with given params."""
    write_dataset(workplace / "raw", prompts=3)
    data = write_clip(workplace / "raw/videos/bad_1.avi", list(noise_clip(9, n_frames=40))).read_bytes()
    (workplace / "raw/videos/bad_1.avi").write_bytes(data[: len(data) // 2])
    with (workplace / "raw/info.txt").open("a") as file:
        file.write("bad_1.avi|p|5\n")
    monkeypatch.setattr(prepare, "in_processes", compute_here)
    prepared = False

    def run(out: str = "frames", *, engine: dict | None = None, **values: object) -> str:
        nonlocal prepared
        settings = {"frames": 4, "encoding": "png", "jpeg_quality": 95} | values
        dataset = {"format": "t2vqa_db", "root": "raw", "labels": "info.txt", "videos": "videos"}
        options = {"workers": 1, "shards": 3, "max_failed_fraction": 0.2} | (engine or {})
        write_params(dataset=dataset, decode=settings, engine=options)
        if not prepared:
            prepare.main(["--root", "raw", "--out", "m.parquet", "--pairs", "pairs.parquet"])
            prepared = True
        main(["--manifest", "m.parquet", "--root", "raw", "--out", out])
        return out

    return run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in this process: what is tested does not depend on the workers."""
    monkeypatch.setattr(module, "in_processes", compute_here)


def test_frames_of_every_usable_video(project, capsys: pytest.CaptureFixture[str]) -> None:
    shards = Shards(project(), schema=FRAMES)
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines[0] == "decode: 6 computed, 0 cached, 1 failed"
    assert lines[1].startswith("  bad_1.avi: truncated or damaged: of 40 coded frames ")
    manifest = read_frame("m.parquet", schema=MANIFEST)
    assert shards.ids == manifest.loc[manifest["status"] == "ok", "video_id"].tolist()
    assert len(shards.ids) == N
    assert list(shards.failed) == ["bad_1.avi"]
    assert len(list(Path("frames").iterdir())) == 3
    for prompt in range(3):
        for number, generator in enumerate(("alpha", "beta")):
            video_id = f"{generator}_{prompt:04d}.avi"
            rows = shards.read(video_id)
            assert rows["video_id"].to_pylist() == [video_id] * 4
            assert rows["encoding"].to_pylist() == ["png"] * 4
            assert rows["frame_index"].to_pylist() == [0, 2, 5, 7]  # 7 / 3 = 2.33, 4.67
            assert rows["time_s"].to_pylist() == pytest.approx([0, 0.25, 0.625, 0.875])
            decoded = np.stack([entry.frame for entry in read_clip(rows)])
            np.testing.assert_array_equal(decoded, noise_clip(2 * prompt + number)[[0, 2, 5, 7]])


def test_metadata_says_what_made_the_frames(project, here) -> None:
    shards = Shards(project(frames=2), schema=FRAMES)
    assert list(shards.made_by) == ["prepare", "decode"]
    assert shards.made_by["decode"] == {
        "code": fingerprint("stages.decode"),
        "params": {"frames": 2, "encoding": "png", "jpeg_quality": 95},
        "plan": {"kind": "spread", "count": 2},
        "libraries": library_versions("av", "opencv-python-headless"),
    }
    text = b"".join(path.read_bytes() for path in Path("frames").iterdir())
    assert str(Path.cwd()).encode() not in text


def test_what_a_change_costs(project, here, capsys: pytest.CaptureFixture[str]) -> None:
    """The same params, params of before, another number of shards: nothing. New params: everything."""

    def closing(**values) -> str:
        capsys.readouterr()
        project(**values)
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("decode: "))

    assert closing() == "decode: 6 computed, 0 cached, 1 failed"
    before = {path.name: path.read_bytes() for path in Path("frames").iterdir()}
    assert closing() == "decode: 0 computed, 6 cached, 1 failed"
    assert {path.name: path.read_bytes() for path in Path("frames").iterdir()} == before
    assert closing(frames=3) == "decode: 6 computed, 0 cached, 1 failed"
    assert closing(frames=4) == "decode: 0 computed, 6 cached, 1 failed"
    assert closing(engine={"shards": 5}) == "decode: 0 computed, 6 cached, 1 failed"
    assert closing(encoding="webp") == "decode: 6 computed, 0 cached, 1 failed"
    shutil.rmtree(".cache/decode")
    assert closing() == "decode: 6 computed, 0 cached, 1 failed"
    assert {path.name: path.read_bytes() for path in Path("frames").iterdir()} == before


def test_short_videos_give_each_frame_once(project, here) -> None:
    shards = Shards(project(frames=20), schema=FRAMES)
    assert shards.read("alpha_0000.avi")["frame_index"].to_pylist() == list(range(8))


@pytest.mark.parametrize(("encoding", "error"), [("png", 0), ("webp", 0), ("jpeg", 12)])
def test_encodings(project, here, encoding: str, error: int) -> None:
    """png and webp lose nothing; jpeg at 95 stays within 12 levels on average (its colours are at half size)."""
    rows = Shards(project(encoding=encoding), schema=FRAMES).read("beta_0001.avi")
    assert set(rows["encoding"].to_pylist()) == {encoding}
    for entry in read_clip(rows):
        assert np.abs(entry.frame.astype(int) - noise_clip(3)[entry.frame_index]).mean() <= error


def test_a_video_that_vanished_since_prepare_fails_alone(project, here) -> None:
    project()
    Path("raw/videos/alpha_0000.avi").unlink()
    shutil.rmtree(".cache/decode")
    shards = Shards(project(engine={"max_failed_fraction": 0.3}), schema=FRAMES)
    assert shards.failed["alpha_0000.avi"] == "no such file"
    assert len(shards.ids) == N - 1
