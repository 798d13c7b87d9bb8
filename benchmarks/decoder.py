"""Reading H.264 with PyAV, as the pipeline does, against OpenCV, which decoded before: the same six frames as RGB.

Each case reads a file to its end and converts six of its frames, in a process with one thread. Memory is what a process
of its own takes beyond its imports.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.compare import Row, ratio_row, time_in_turn
from stages.io.decoder.reading import opened
from stages.io.images import Frame
from stages.io.sampling import spread_indices

FRAMES = 6
# Width, height and frames of a generated video, of a longer one, and of one in 4K.
SIZES = {
    "512x320, 64 frames": (512, 320, 64),
    "1280x720, 120 frames": (1280, 720, 120),
    "4K, 12 frames": (3840, 2160, 12),
}
MEBIBYTE = 1 << 10  # of Linux's unit, kibibytes


def write_clip(path: Path, *, width: int, height: int, n_frames: int) -> None:
    """H.264 of noise that drifts over a ramp: motion, detail and flat parts."""
    random = np.random.default_rng(0)
    noise = np.asarray(
        cv2.resize(random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8), (width, height)), np.uint8
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(n_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 3 * number, axis=1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def with_opencv(path: Path, n_frames: int) -> list[Frame]:
    wanted = {*spread_indices(n_frames, FRAMES)}
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames = []
    for index in range(n_frames):
        capture.grab()
        if index in wanted:
            frames.append(np.asarray(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB), np.uint8))
    capture.release()
    return frames


def with_pyav(path: Path, n_frames: int) -> list[Frame]:
    wanted = {*spread_indices(n_frames, FRAMES)}
    with opened(path) as video:
        return [picture.rgb() for picture in video.pictures() if picture.index in wanted]


DECODERS: dict[str, Callable[[Path, int], list[Frame]]] = {"OpenCV": with_opencv, "PyAV": with_pyav}


def peak_memory(decoder: str, path: Path, n_frames: int) -> int:
    """Kibibytes that decoding adds to the peak of a new process."""
    code = (
        "import resource, sys; from pathlib import Path; from benchmarks.decoder import DECODERS\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); DECODERS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3])); print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, decoder, path, str(n_frames)], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


def rows() -> list[Row]:
    """Speed and memory by size of picture."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for what, (width, height, n_frames) in SIZES.items():
            path = Path(folder) / "clip.mp4"
            write_clip(path, width=width, height=height, n_frames=n_frames)
            same = all(
                np.array_equal(old, new)
                for old, new in zip(with_opencv(path, n_frames), with_pyav(path, n_frames), strict=True)
            )
            found.append(Row(f"{what}: equal pixels", float(same), unit="1: all", goal="at least 1"))
            cases = {name: partial(run, path, n_frames) for name, run in DECODERS.items()}
            seconds = time_in_turn(cases, rounds=9)
            speed = ratio_row(f"{what}: speed, PyAV / OpenCV", seconds["OpenCV"], seconds["PyAV"], goal="at least 0.9")
            found.append(speed)
            memory = {name: peak_memory(name, path, n_frames) / MEBIBYTE for name in DECODERS}
            found.append(Row(f"{what}: memory, OpenCV", memory["OpenCV"], unit="MiB"))
            found.append(Row(f"{what}: memory, PyAV", memory["PyAV"], unit="MiB"))
    return found
