"""The audit: each kind of frame fault is written into a real file and found there; sound files have none."""

import json
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from stages import audit, prepare
from stages.errors import TableError
from stages.evaluation.inspection import inspect_file
from stages.evaluation.near_copies import N_FRAMES
from stages.io.schemas import AUDIT
from stages.io.tables import read_frame
from tests.conftest import noise_clip, write_clip, write_dataset


def write_coded(
    path: Path,
    frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    *,
    times_ms: Sequence[int] | None = None,
    rotation_deg: int = 0,
    tags: tuple[int, int, int, int] | None = None,
) -> Path:
    """H.264 with the timestamps, rotation and colour tags (primaries, transfer, matrix, range) that a test asks for."""
    clock = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = clock
        if tags:
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = (times_ms or range(0, 100 * len(frames), 100))[number], clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_sound_file_has_no_findings(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", noise_clip(0, n_frames=8), fps=8.0)
    found = inspect_file(path)
    hashes = found.pop("frame_hashes")
    assert found | {"size_bytes": 0} == {
        "size_bytes": 0, "status": "ok", "reason": None, "codec": "ffv1", "pixel_format": found["pixel_format"],
        "n_frames_header": 8, "n_packets": 8, "n_frames": 8, "fps": 8.0, "duration_s": 1.0,
        "interval_min_s": 0.125, "interval_max_s": 0.125, "variable_rate": False, "width": 48, "height": 32,
        "n_size_changes": 0, "rotation_deg": 0, "mirrored": False, "pixel_aspect": 1.0, "n_interlaced": 0,
        "is_transparent": False, "n_identical": 0, "n_nearly_identical": 0,
        "longest_freeze_frames": 1, "identical_share": 0.0, "colour_range": "unspecified",
        "colour_matrix": "unspecified", "colour_primaries": "unspecified", "colour_transfer": "unspecified",
    }  # fmt: skip
    assert found["size_bytes"] == path.stat().st_size
    assert len(hashes) == N_FRAMES
    assert set(found) | {"frame_hashes"} == set(AUDIT.names) - {"video_id", "same_file_as", "near_copy_of"}


def test_repeated_frames_are_counted(tmp_path: Path) -> None:
    """Of the 7 pairs of neighbours in 0 1 1 1 2 3 3 4 three are equal; the longest freeze shows one frame 3 times."""
    clip = noise_clip(0, n_frames=5)
    found = inspect_file(write_clip(tmp_path / "a.avi", clip[[0, 1, 1, 1, 2, 3, 3, 4]]))
    assert (found["n_identical"], found["longest_freeze_frames"]) == (3, 3)
    assert found["identical_share"] == pytest.approx(3 / 7)
    # One level in one pixel of 48 x 32 is another frame, and nobody sees it.
    touched = clip[[0, 0]].copy()
    touched[1, 5, 5] ^= 1
    found = inspect_file(write_clip(tmp_path / "b.avi", touched))
    assert (found["n_identical"], found["n_nearly_identical"]) == (0, 1)


def test_a_variable_rate_is_told_from_the_steps_of_a_coarse_clock(tmp_path: Path) -> None:
    clip = noise_clip(0, n_frames=8)
    found = inspect_file(write_coded(tmp_path / "a.mkv", clip, times_ms=[0, 100, 200, 300, 500, 700, 900, 1100]))
    assert found["variable_rate"]
    assert (found["interval_min_s"], found["interval_max_s"]) == (pytest.approx(0.1), pytest.approx(0.2))
    # 7 intervals, then the last frame stays for the median of them: 4 of 0.2 s and 3 of 0.1 s give 0.2 s.
    assert found["duration_s"] == pytest.approx(1.1 + 0.2)
    # 24 frames a second in whole milliseconds: 42 and 41 by turns.
    times = [round(1000 * number / 24) for number in range(8)]
    assert not inspect_file(write_coded(tmp_path / "b.mkv", clip, times_ms=times))["variable_rate"]


@pytest.mark.parametrize("rate", [12, 24, 30])
def test_a_gif_of_constant_rate_is_told_from_one_that_halts(tmp_path: Path, rate: int) -> None:
    """GIF counts hundredths of a second: 24 frames a second are shown for 4 and 5 of them by turns."""
    pictures = [Image.fromarray(frame) for frame in noise_clip(0, n_frames=8)]

    def rate_varies(name: str, times_cs: list[int]) -> bool:
        durations = [10 * (later - earlier) for earlier, later in pairwise(times_cs)]
        first, *others = pictures
        first.save(tmp_path / name, save_all=True, append_images=others, duration=[*durations, durations[-1]])
        return bool(inspect_file(tmp_path / name)["variable_rate"])

    times = [round(100 * number / rate) for number in range(8)]
    assert not rate_varies("even.gif", times)
    assert rate_varies("halting.gif", [time + 2 * (number > 3) for number, time in enumerate(times)])


def test_a_header_that_counts_wrong(tmp_path: Path) -> None:
    """AVI counts its frames (avih, `dwTotalFrames`, and strh, `dwLength`); Matroska has no count."""
    path = write_clip(tmp_path / "a.avi", noise_clip(0, n_frames=8))
    data = bytearray(path.read_bytes())
    # strh: the type's 4 bytes and 4 of size, then 32 bytes before the length.
    at = data.index(b"strh") + 8 + 32
    assert int.from_bytes(data[at : at + 4], "little") == 8
    data[at : at + 4] = (11).to_bytes(4, "little")
    path.write_bytes(data)
    found = inspect_file(path)
    assert (found["n_frames_header"], found["n_frames"], found["n_packets"]) == (11, 8, 8)
    assert inspect_file(write_coded(tmp_path / "a.mkv", noise_clip(0)))["n_frames_header"] == 0


def test_rotation_and_colour_tags(tmp_path: Path) -> None:
    found = inspect_file(write_coded(tmp_path / "a.mp4", noise_clip(0), rotation_deg=90, tags=(1, 13, 6, 2)))
    assert found["rotation_deg"] in (90, 270)
    # Of the picture as it is shown, and as every stage sees it.
    assert (found["width"], found["height"]) == (32, 48)
    # ITU-T H.273: primaries 1, transfer 13 and matrix 6; FFmpeg's range 2.
    assert [found[name] for name in audit.COLOUR_TAGS] == ["full", "smpte170m", "bt709", "srgb"]


def test_sizes_that_change_inside_a_file(tmp_path: Path) -> None:
    frames = [*noise_clip(0, n_frames=3), *noise_clip(1, n_frames=2, height=64, width=96), *noise_clip(2, n_frames=1)]
    jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    (tmp_path / "a.mjpeg").write_bytes(b"".join(jpegs))
    found = inspect_file(tmp_path / "a.mjpeg")
    assert (found["n_size_changes"], found["width"], found["height"]) == (2, 48, 32)


def test_damaged_files_are_described_as_far_as_they_can_be_read(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", noise_clip(0, n_frames=24)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    cut = inspect_file(tmp_path / "cut.mkv")
    assert cut["status"] == "ok"
    assert 0 < cut["n_frames"] < 24
    (tmp_path / "noise.mp4").write_bytes(b"no video at all" * 50)
    broken = inspect_file(tmp_path / "noise.mp4")
    assert broken["status"] == "failed"
    assert "cannot be opened as a video" in broken["reason"]
    assert broken["size_bytes"] == 750
    assert "n_frames" not in broken


@pytest.fixture
def audited(workplace: Path, write_params: Callable[..., None]) -> Callable[[], tuple[dict[str, Any], pd.DataFrame]]:
    """Prepare and audit 12 videos: of their files one is frozen, one repeated, one cut, one empty and two are missing;
    two labels have no MOS."""
    root = write_dataset(workplace / "data/raw", prompts=6)
    write_clip(root / "videos/alpha_0000.avi", noise_clip(1, n_frames=4)[[0, 0, 0, 0]])
    (root / "videos/alpha_0001.avi").write_bytes((root / "videos/beta_0001.avi").read_bytes())
    cut = root / "videos/alpha_0002.avi"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (root / "videos/alpha_0003.avi").write_bytes(b"")
    (root / "videos/alpha_0004.avi").unlink()
    (root / "videos/alpha_0005.avi").unlink()
    labels = (root / "info.txt").read_text(encoding="utf-8")
    for name, text in (("beta_0004", ""), ("beta_0005", "nan")):
        labels = re.sub(rf"(?m)^({name}.*\|).*$", rf"\g<1>{text}", labels)
    (root / "info.txt").write_text(labels, encoding="utf-8")
    dataset = {"root": str(root), "max_missing_fraction": 0.1}
    write_params(dataset=dataset, engine={"workers": 1, "max_failed_fraction": 0.5})
    prepare.main(["--root", str(root), "--out", "manifest.parquet", "--pairs", "pairs.parquet"])

    def call() -> tuple[dict[str, Any], pd.DataFrame]:
        audit.main(
            ["--manifest", "manifest.parquet", "--root", str(root), "--out", "audit.json", "--videos", "audit.parquet"]
        )
        return json.loads(Path("audit.json").read_text()), read_frame("audit.parquet", schema=AUDIT)

    return call


def test_the_stage_counts_and_lists_every_video_once_computed(audited, capsys) -> None:
    capsys.readouterr()
    summary, rows = audited()
    out = capsys.readouterr().out
    assert "audit: 10 computed, 0 cached, 0 failed" in out
    assert out.rstrip().endswith("; 2 labels without a usable MOS")
    assert len(rows) == summary["n_videos"] == 12
    # Cut, empty, and two that are missing; a label without a MOS says nothing about its file.
    assert (summary["n_damaged"], summary["n_unusable_labels"]) == (4, 2)
    damaged = rows[rows["status"] == "failed"].set_index("video_id")
    assert damaged.loc["alpha_0003.avi", "reason"] == "the file is empty"
    assert "no such file" in damaged.loc["alpha_0004.avi", "reason"]
    # What half a file holds is counted, under the reason that prepare gave.
    cut = damaged.loc["alpha_0002.avi"]
    assert "truncated or damaged" in cut["reason"]
    assert 0 < cut["n_frames"] < cut["n_frames_header"]
    assert summary["n_header_differs"] == 1
    # 4 equal frames: 3 of all pairs of neighbours, and only that video has any.
    assert summary["n_with_identical_neighbours"] == 1
    pairs = (rows["n_frames"].dropna() - 1).sum()
    assert summary["identical_share"] == pytest.approx(3 / pairs)
    # Two missing files are no copies of each other.
    assert summary["n_same_file"] == 1
    same = rows.dropna(subset=["same_file_as"])
    assert same[["video_id", "same_file_as"]].to_numpy().tolist() == [["beta_0001.avi", "alpha_0001.avi"]]
    without_mos = rows.set_index("video_id").loc[["beta_0004.avi", "beta_0005.avi"]]
    assert without_mos["status"].tolist() == ["ok", "ok"]
    assert without_mos["reason"].isna().all()
    # 12 less the empty one and the missing two.
    assert summary["by_size"] == {"48x32": 9}
    assert sum(summary["by_colour_tags"].values()) == 9

    before = Path("audit.json").read_bytes(), Path("audit.parquet").read_bytes()
    audited()
    assert "audit: 0 computed, 10 cached, 0 failed" in capsys.readouterr().out
    assert (Path("audit.json").read_bytes(), Path("audit.parquet").read_bytes()) == before


def test_near_copies_are_named_and_those_of_other_groups_counted(tmp_path: Path) -> None:
    """Smooth scenes; the copies are half as large and coded with loss."""
    drawn = np.random.default_rng(0).integers(0, 256, (2, 9, 12, 3), dtype=np.uint8)
    scenes = [np.stack([cv2.resize(one, (192, 144), interpolation=cv2.INTER_CUBIC)] * 5) for one in drawn]
    write_clip(tmp_path / "a.avi", scenes[0])
    write_clip(tmp_path / "b.avi", scenes[1])
    write_coded(tmp_path / "c.mp4", scenes[0][:, ::2, ::2])
    write_coded(tmp_path / "d.mp4", scenes[1][:, ::2, ::2])
    (tmp_path / "e.avi").write_bytes((tmp_path / "a.avi").read_bytes())
    names = ["a.avi", "b.avi", "c.mp4", "d.mp4", "e.avi"]
    manifest = pd.DataFrame(
        {"video_id": names, "sha256": ["1", "2", "3", "4", "1"], "status": "ok", "mos": 1.0, "reason": None}
    )
    rows = audit.audit_rows(manifest, {name: inspect_file(tmp_path / name) for name in names}, {})
    assert rows["near_copy_of"].where(rows["near_copy_of"].notna(), None).tolist() == [
        None,
        None,
        "a.avi",
        "b.avi",
        None,
    ]
    assert rows["same_file_as"].tolist()[-1] == "a.avi"
    groups = pd.Series(["p", "q", "p", "r", "p"], index=names)
    summary = audit.summarise(rows, groups=groups, n_unusable_labels=0)
    assert (summary["n_near_copies"], summary["n_near_copies_apart"], summary["n_same_file"]) == (2, 1, 1)


def test_a_data_set_without_scores_has_no_unusable_labels() -> None:
    rows = pd.DataFrame({"mos": [np.nan, np.nan]})
    assert audit.unusable_labels(rows).sum() == 0
    assert audit.unusable_labels(rows.assign(mos=[np.nan, 5.0])).tolist() == [True, False]


def test_no_manifest_is_said(workplace: Path, write_params: Callable[..., None]) -> None:
    write_params()
    with pytest.raises(TableError, match=r"manifest.parquet: no such table; `dvc repro` writes it"):
        audit.main(["--manifest", "manifest.parquet", "--root", ".", "--out", "a.json", "--videos", "a.parquet"])
