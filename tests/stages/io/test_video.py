"""Decoding: exact frames, every way in which a file can be bad, and files that look bad and are not."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.methods.reading import SpreadFrames
from stages.errors import VideoError
from stages.io.probe import probe
from stages.io.sampling import planned_frames, spread_indices
from stages.io.schemas import FRAMES
from stages.io.video import decode_video
from stages.steps.clips import frame_slots, read_clip
from tests.conftest import noise_clip, write_clip

Frames = NDArray[np.uint8]


def decode(path: Path, *, frames: int = 64) -> tuple[list[int], list[float], list[Frames]]:
    """Indices, times and RGB frames that decode to lossless PNG."""
    found = probe(path, max_missing_fraction=0.1)
    wanted = planned_frames(SpreadFrames(count=frames), found.n_frames)
    table = decode_video(path, n_frames=found.n_frames, frames=wanted, encoding="png", jpeg_quality=95)
    assert table.schema.equals(FRAMES)
    clip = read_clip(table)
    return [entry.frame_index for entry in clip], [entry.time_s for entry in clip], [entry.frame for entry in clip]


def write_animation(path: Path, images: list[Image.Image], *, durations_ms: list[int]) -> Path:
    """An animated PNG, or a GIF by its suffix: other sizes, modes and frame times than OpenCV's writer gives."""
    kind = "GIF" if path.suffix == ".gif" else "PNG"
    images[0].save(path, format=kind, save_all=True, append_images=images[1:], duration=durations_ms)
    return path


@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv"])
def test_golden_decode(tmp_path: Path, name: str) -> None:
    """FFV1 holds RGB without loss here, so that every level has to come back: order of channels, frames and pixels.

    Red, green and blue fields and a ramp; a swapped channel order or a change of range moves levels by far more than 0.
    """
    frames = np.zeros((5, 16, 32, 3), np.uint8)
    for number in range(5):
        frames[number, :, :8] = (255, 0, 0)
        frames[number, :, 8:16] = (0, 255, 0)
        frames[number, :, 16:24] = (0, 0, 255)
        frames[number, :, 24:] = 50 * number
        frames[number, number, 24:, 0] = np.arange(8) * 30
    indices, _, decoded = decode(write_clip(tmp_path / name, list(frames)))
    assert indices == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(np.stack(decoded), frames)


def test_golden_decode_of_yuv(tmp_path: Path) -> None:
    """MPEG-4 stores limited-range BT.601 YUV 4:2:0: flat fields come back within 6 levels (rounding twice and the
    codec's own quantisation); the BT.709 matrix would put pure green 20 and more levels off."""
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128)]
    fields = np.repeat(np.array(colours, np.uint8), 16, axis=0)[None].repeat(32, axis=0)
    _, _, decoded = decode(write_clip(tmp_path / "clip.mp4", [fields] * 4, codec="mp4v"))
    for number, colour in enumerate(colours):
        middle = decoded[1][12:20, 16 * number + 6 : 16 * number + 10].reshape(-1, 3).mean(axis=0)
        assert np.abs(middle - colour).max() <= 6, (colour, middle)


@pytest.mark.parametrize(
    ("n", "count", "indices"),
    [
        (10, 1, [4]),  # the middle, the earlier of two
        (9, 1, [4]),
        (1, 1, [0]),
        (10, 2, [0, 9]),
        (10, 10, list(range(10))),
        (9, 5, [0, 2, 4, 6, 8]),
        (10, 4, [0, 3, 6, 9]),
        (11, 5, [0, 3, 5, 8, 10]),  # 2.5 and 7.5 round up
        (3, 6, [0, 0, 1, 1, 2, 2]),  # 0, .4, .8, 1.2, 1.6, 2
        (2, 5, [0, 0, 1, 1, 1]),  # 0, .25, .5 (up), .75, 1
        (1, 4, [0, 0, 0, 0]),
    ],
)
def test_spread_indices(n: int, count: int, indices: list[int]) -> None:
    assert spread_indices(n, count) == indices


def test_evenly_spaced_frames_are_the_right_ones(tmp_path: Path) -> None:
    frames = noise_clip(3, n_frames=20)
    indices, times, decoded = decode(write_clip(tmp_path / "a.avi", list(frames), fps=10), frames=4)
    assert indices == [0, 6, 13, 19]  # 19 / 3 = 6.33, 12.67
    assert times == pytest.approx([0, 0.6, 1.3, 1.9])
    np.testing.assert_array_equal(np.stack(decoded), frames[indices])


def test_a_short_video_gives_each_frame_once_and_slots_repeat(tmp_path: Path) -> None:
    frames = noise_clip(4, n_frames=3)
    indices, _, decoded = decode(write_clip(tmp_path / "a.avi", list(frames)), frames=7)
    assert indices == [0, 1, 2]
    assert frame_slots(len(decoded), 7) == [0, 0, 1, 1, 1, 2, 2]  # steps of 1/3: 0 .33 .67 1 1.33 1.67 2
    assert frame_slots(3, 3) == [0, 1, 2]


def test_times_of_variable_rate_video_are_the_streams_own(tmp_path: Path) -> None:
    images = [Image.fromarray(frame) for frame in noise_clip(5, n_frames=6)]
    path = write_animation(tmp_path / "a.png", images, durations_ms=[100, 300, 50, 50, 500, 100])
    indices, times, decoded = decode(path)
    assert indices == [0, 1, 2, 3, 4, 5]
    assert times == pytest.approx([0, 0.1, 0.4, 0.45, 0.5, 1.0])  # sums of the durations before
    np.testing.assert_array_equal(np.stack(decoded), noise_clip(5, n_frames=6))


def cut(path: Path, *, share: float = 0.5) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def bad_file(folder: Path, kind: str) -> Path:
    path = folder / "clip.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no video\n" * 50)
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "picture":
        cv2.imwrite(str(folder / "a.jpg"), noise_clip(0)[0])
        (folder / "a.jpg").rename(path)
    elif kind == "mp4 without its index":
        cut(write_clip(path, list(noise_clip(0, n_frames=40)), codec="mp4v"))
    elif kind.startswith("zero frames"):
        path = path.with_suffix(kind.removeprefix("zero frames"))
        fourcc = cv2.VideoWriter.fourcc(*("mp4v" if path.suffix == ".mp4" else "FFV1"))
        cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 8, (48, 32)).release()
        assert path.stat().st_size > 0
    elif kind == "one frame":
        write_clip(path, list(noise_clip(0, n_frames=1)), codec="mp4v")
    elif kind.startswith("cut"):
        codec, suffix = kind.removeprefix("cut ").split()
        path = cut(write_clip(path.with_suffix(suffix), list(noise_clip(0, n_frames=40)), codec=codec))
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such file"),
        ("folder", "not a file"),
        ("empty", "the file is empty"),
        ("text", "cannot be opened as a video"),
        ("noise", "cannot be opened as a video"),
        ("picture", "1 frame decodes; a video needs at least 2"),
        ("mp4 without its index", "cannot be opened as a video"),
        ("zero frames.avi", "no frame can be decoded"),
        ("zero frames.mp4", "holds no video that can be decoded"),
        ("zero frames.mkv", "cannot be opened as a video"),
        ("one frame", "1 frame decodes; a video needs at least 2"),
        ("cut FFV1 .avi", "truncated or damaged: of 40 coded frames "),
        ("cut FFV1 .mkv", "truncated or damaged: of 38 coded frames "),
        ("cut MJPG .avi", "truncated or damaged: of 40 coded frames "),
    ],
)
def test_a_bad_file_says_why(tmp_path: Path, kind: str, reason: str) -> None:
    with pytest.raises(VideoError) as caught:
        probe(bad_file(tmp_path, kind), max_missing_fraction=0.1)
    assert str(caught.value).startswith(reason)


def test_the_share_that_may_be_missing_decides(tmp_path: Path) -> None:
    """Half a file has about half of its 40 frames: allowed at 0.6, not at 0.1; the frames that are there are right."""
    path = bad_file(tmp_path, "cut FFV1 .mkv")
    found = probe(path, max_missing_fraction=0.6)
    assert 15 <= found.n_frames <= 25
    wanted = spread_indices(found.n_frames, 3)
    table = decode_video(path, n_frames=found.n_frames, frames=wanted, encoding="png", jpeg_quality=95)
    clip = read_clip(table)
    assert [entry.frame_index for entry in clip] == [0, (found.n_frames - 1 + 1) // 2, found.n_frames - 1]
    for entry in clip[:2]:
        np.testing.assert_array_equal(entry.frame, noise_clip(0, n_frames=40)[entry.frame_index])


def test_a_file_that_became_shorter_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", list(noise_clip(0, n_frames=8)))
    with pytest.raises(VideoError, match="frame 8 of 20 cannot be decoded"):
        decode_video(path, n_frames=20, frames=range(20), encoding="png", jpeg_quality=95)


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_odd_sizes(tmp_path: Path, suffix: str) -> None:
    frames = noise_clip(6, n_frames=3, height=33, width=47)
    path = write_animation(
        tmp_path / f"a{suffix}", [Image.fromarray(frame) for frame in frames], durations_ms=[100] * 3
    )
    found = probe(path, max_missing_fraction=0.1)
    assert (found.width, found.height, found.n_frames, found.fps) == (47, 33, 3, 10.0)
    _, _, decoded = decode(path)
    assert {frame.shape for frame in decoded} == {(33, 47, 3)}
    if suffix == ".png":  # a GIF has 256 colours
        np.testing.assert_array_equal(np.stack(decoded), frames)


def test_grey_video_becomes_three_equal_channels(tmp_path: Path) -> None:
    images = [Image.fromarray(frame).convert("L") for frame in noise_clip(7, n_frames=3)]
    _, _, decoded = decode(write_animation(tmp_path / "a.png", images, durations_ms=[100] * 3))
    for frame, image in zip(decoded, images, strict=True):
        np.testing.assert_array_equal(frame, np.asarray(image)[..., None].repeat(3, axis=2))


def test_sizes_that_change_inside_a_file(tmp_path: Path) -> None:
    """The decoder scales later frames to the size of the first: one size a video. JPEG's loss and the other filter
    stay below 10 levels on average; a crop in place of the scaling gives more than 50 on these clips."""
    first, large = noise_clip(0, n_frames=2, height=33, width=47), noise_clip(3, n_frames=2, height=64, width=96)
    small = noise_clip(5, n_frames=2, height=20, width=30)
    frames = [*first, *large, *small]
    jpegs = [cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes() for frame in frames]
    (tmp_path / "a.mjpeg").write_bytes(b"".join(jpegs))
    indices, _, decoded = decode(tmp_path / "a.mjpeg")
    assert indices == [0, 1, 2, 3, 4, 5]
    for frame, source in zip(decoded, frames, strict=True):
        assert frame.shape == (33, 47, 3)
        assert np.abs(frame.astype(float) - cv2.resize(source, (47, 33))).mean() < 10


@pytest.mark.parametrize(
    ("matrix", "corner"),
    # ISO 14496-12: (a, b, c, d) of the track's matrix maps (x, y) to (a x + c y, b x + d y).
    [((1, 0, 0, 1), "top left"), ((0, 1, -1, 0), "top right"), ((-1, 0, 0, -1), "bottom right"),
     ((0, -1, 1, 0), "bottom left")],
)  # fmt: skip
def test_rotation_in_the_header_is_applied(tmp_path: Path, matrix: tuple[int, ...], corner: str) -> None:
    frames = np.zeros((3, 32, 48, 3), np.uint8)
    frames[:, :16, :24] = 255  # white, top left
    path = write_clip(tmp_path / "a.mp4", list(frames), codec="mp4v")
    data = bytearray(path.read_bytes())
    # tkhd version 0: after the type 4 bytes of flags, 20 of times and ids, 16 of layer and volume, then the matrix.
    start = data.index(b"tkhd") + 4 + 4 + 20 + 16
    a, b, c, d = matrix
    assert struct.unpack_from(">9i", data, start) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, start, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    size = (48, 32) if b == 0 else (32, 48)
    found = probe(path, max_missing_fraction=0)
    assert (found.width, found.height) == size
    frame = decode(path)[2][1]
    assert frame.shape == (size[1], size[0], 3)
    means = {
        f"{vertical} {horizontal}": frame[rows, columns].mean()
        for vertical, rows in {"top": slice(0, 12), "bottom": slice(-12, None)}.items()
        for horizontal, columns in {"left": slice(0, 12), "right": slice(-12, None)}.items()
    }
    assert max(means, key=lambda name: means[name]) == corner
    assert sorted(means.values())[2] < 30 < 220 < means[corner]


NAMES = ["a b.avi", "a,b.avi", "it's \"q\".avi", "ünï 视频.avi", "-dash.avi", "file:x.avi", "http:--x.avi", "100%.avi",
         "clip%02d.avi", "concat:a|b.avi", "#?&.avi", "*.avi", "a\nb.avi", "none"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(workplace: Path, name: str) -> None:
    """A relative name is the harder case: FFmpeg reads `file:x` as a protocol and a leading dash as an option."""
    write_clip(workplace / "clip.avi", list(noise_clip(0, n_frames=3))).rename(name)
    assert probe(name, max_missing_fraction=0).n_frames == 3
    _, _, decoded = decode(Path(name))
    np.testing.assert_array_equal(np.stack(decoded), noise_clip(0, n_frames=3))
