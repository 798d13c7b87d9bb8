"""Transparency over white, and interlaced frames: held against the formula, Pillow and FFmpeg's own filter."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stages.errors import VideoError
from stages.io.decoder.pictures import deinterlaced
from stages.io.images import Frame
from stages.io.probe import probe
from stages.io.video import decode_video
from tests.conftest import noise_clip
from tests.stages.io.decoder.coded import filtered, rgb_frame, shown, write_coded


def rgba_frames(colour: Frame, alpha: NDArray[np.uint8], *, n_frames: int = 3) -> list[av.VideoFrame]:
    pixels = np.concatenate([colour, alpha[..., None]], axis=2)
    return [av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgba") for _ in range(n_frames)]


def over_white(colour: Frame, alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


@pytest.mark.parametrize("name", ["a.mov", "a.apng"])
def test_transparent_pixels_lie_over_white(tmp_path: Path, name: str) -> None:
    """PNG keeps colours and transparency without loss: the formula, to the nearest level, for every alpha of 0-255."""
    colour = noise_clip(0, height=32, width=64)[0]
    alpha = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 32, axis=0)
    codec = "apng" if name.endswith("apng") else "png"
    path = write_coded(tmp_path / name, rgba_frames(colour, alpha), codec=codec, pixel_format="rgba")
    for picture in shown(path):
        assert np.abs(picture - over_white(colour, alpha)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(("codec", "name", "pixel_format"), [
    ("libvpx-vp9", "a.webm", "yuva420p"), ("libvpx", "a.webm", "yuva420p"), ("prores_ks", "a.mov", "yuva444p10le"),
])  # fmt: skip
def test_hidden_colours_are_not_seen(tmp_path: Path, codec: str, name: str, pixel_format: str) -> None:
    """A scene in the left half, and in the right half another colour under full transparency each time: the right half
    is white in all of them, up to the codec's loss. WebM keeps transparency beside the picture."""
    scene = noise_clip(0, height=64, width=96)[0]
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:, 48:] = 0
    # The encoders' alternate reference frames know no transparency.
    options = {"auto-alt-ref": "0", "crf": "10", "b": "2M"} if codec.startswith("libvpx") else {}
    for hidden in ((0, 0, 0), (255, 0, 0), (255, 255, 255)):
        colour = scene.copy()
        colour[:, 48:] = hidden
        frames = [frame.reformat(format=pixel_format) for frame in rgba_frames(colour, alpha)]
        path = write_coded(tmp_path / name, frames, codec=codec, pixel_format=pixel_format, options=options)
        for picture in shown(path):
            assert picture[:, 56:].min() >= 250
            assert np.abs(picture[:, :40] - scene[:, :40].astype(float)).mean() < 4


def test_a_transparent_gif_is_what_pillow_shows_on_white(tmp_path: Path) -> None:
    pictures = []
    for number in range(3):
        picture = Image.fromarray(noise_clip(number)[0]).quantize(60)
        picture.putpixel((number, 5), 0)
        pictures.append(picture)
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100, transparency=0, disposal=2
    )
    expected = []
    with Image.open(tmp_path / "a.gif") as file:
        for number in range(3):
            file.seek(number)
            white = Image.new("RGBA", file.size, "white")
            white.alpha_composite(file.convert("RGBA"))
            expected.append(np.asarray(white.convert("RGB")))
    assert any((frame == 255).all(axis=2).any() for frame in expected)
    np.testing.assert_array_equal(shown(tmp_path / "a.gif"), expected)


def moving(n_frames: int = 8) -> NDArray[np.uint8]:
    """Frames whose odd lines are half a step later than their even ones."""
    clip = noise_clip(0, n_frames=2 * n_frames, height=64, width=96)
    frames = clip[::2].copy()
    frames[:, 1::2] = clip[1::2, 1::2]
    return frames


INTERLACED = {
    "libx264": ("a.mp4", {"x264-params": "interlaced=1:tff=1", "crf": "10"}),
    "mpeg2video": ("a.mpg", {"flags": "+ildct+ilme"}),
    "mpeg4": ("a.avi", {"flags": "+ildct+ilme", "q": "2"}),
    "prores_ks": ("a.mov", {"flags": "+ildct+ilme"}),
}


def write_interlaced(folder: Path, codec: str) -> Path:
    name, options = INTERLACED[codec]
    pixel_format = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    rate: dict[str, Any] = (
        {"rate": 25, "clock": Fraction(1, 25), "times_ms": range(0, 320, 40)} if codec == "mpeg2video" else {}
    )
    return write_coded(folder / name, moving(), codec=codec, pixel_format=pixel_format, options=options, **rate)


@pytest.mark.parametrize("codec", INTERLACED)
def test_interlaced_frames_are_deinterlaced(tmp_path: Path, codec: str) -> None:
    """Each frame by itself, with its neighbours, is what FFmpeg's `bwdif` makes of it in a run over the whole file."""
    path = write_interlaced(tmp_path, codec)
    with av.open(str(path)) as file:
        assert all(frame.interlaced_frame for frame in file.decode(video=0)), "the test's file is not interlaced"
    filters = ("bwdif", {"mode": "send_frame", "deint": "interlaced"}), ("scale", {"flags": "bicubic"})
    expected = filtered(path, *filters)
    pictures = shown(path)
    np.testing.assert_array_equal(pictures, expected)
    # Combs are gone: neighbouring lines differ as they do in a progressive clip, not as two moments do.
    assert combs(pictures[3]) < 0.6 * combs(moving()[3])


def combs(picture: Frame) -> float:
    lines = picture.astype(float)
    return float(np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean())


def test_interlaced_frames_do_not_depend_on_what_was_decoded_before(tmp_path: Path) -> None:
    """A decoder that leaves its picture unwritten shows that of another video: other bytes after each of them."""
    path = write_interlaced(tmp_path, "libx264")
    results = []
    for seed in range(3):
        other = write_coded(tmp_path / f"{seed}.mp4", noise_clip(seed, height=64, width=96))
        shown(other)
        results.append(decode_video(path, n_frames=8, frames=[0, 2, 5, 7], encoding="png", jpeg_quality=95))
    assert results[0].equals(results[1])
    assert results[0].equals(results[2])
    # 10 frames a second, the last one too, which the decoder gives at its end.
    assert results[0]["time_s"].to_pylist() == pytest.approx([0, 0.2, 0.5, 0.7])


def test_an_interlaced_picture_too_small_for_the_filter_is_refused() -> None:
    frame = rgb_frame(np.zeros((2, 2, 3), np.uint8), "yuv420p")
    with pytest.raises(VideoError, match="an interlaced picture of 2x2, yuv420p, cannot be shown"):
        deinterlaced(frame, before=None, after=None)


def test_animated_avif_and_webp(tmp_path: Path) -> None:
    """AVIF begins with a still picture, which is not the video; FFmpeg reads no animated WebP."""
    frames = noise_clip(0, n_frames=5, height=64, width=96)
    path = write_coded(tmp_path / "a.avif", frames, codec="libsvtav1", container="avif", options={"crf": "10"})
    assert probe(path, max_missing_fraction=0).n_frames == 5
    assert np.abs(shown(path) - frames.astype(float)).mean() < 6
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:])
    with pytest.raises(VideoError, match="WebP is not read here, animated or not; convert it to APNG, GIF or a video"):
        probe(tmp_path / "a.webp", max_missing_fraction=0)


def test_avif_with_transparency_is_refused(tmp_path: Path) -> None:
    images = []
    for frame in noise_clip(0, n_frames=4, height=64, width=96):
        image = Image.fromarray(frame)
        image.putalpha(100)
        images.append(image)
    images[0].save(tmp_path / "a.avif", save_all=True, append_images=images[1:])
    with pytest.raises(VideoError, match="AVIF with transparency is not read here"):
        probe(tmp_path / "a.avif", max_missing_fraction=0)
