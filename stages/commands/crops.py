"""`aigc-vqa crops`: a look at one video: its objects, the best and the worst crop, the score of every frame."""

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.engine.device import make_deterministic
from stages.engine.options import Device, File, Folder, check_out
from stages.errors import DatasetError, WeightsError
from stages.evaluation.plots import INK, save_figure
from stages.io.files import replacing
from stages.io.images import Frame
from stages.io.outs import WEIGHTS
from stages.steps.scorer import Analysis, Scorer

OBJECT, SELECTED, BEST, WORST = "#f2c14e", "#2ecc71", "#3d8bfd", "#e4572e"
FILM_HEIGHT_PX = 480


def crops(video: Path, /, *, out: File, model: Folder = WEIGHTS, device: Device = "auto") -> None:
    """Draw a video's objects, crops and frame scores.

    Args:
        video: Video file.
        out: Picture (.png), or film with one frame per second (.mp4).
        model: Folder of weights.
        device: Where networks run.

    Raises:
        DatasetError: The file cannot be written.
        VideoError: The video cannot be used.
        WeightsError: The weights are missing or damaged, or their method reads no crops.
    """
    check_out(out, endings=(".png", ".mp4"))
    make_deterministic(threads=1)
    scorer = Scorer.load(model, device=device)
    if scorer.history.crop is None:
        raise WeightsError(f"{model}: the method {scorer.quality.name} reads no crops: there are none to draw")
    analysis = scorer.analyse_file(video)
    if out.suffix == ".png":
        draw_picture(analysis, out, title=video.name)
    else:
        write_film(analysis, out)
    summary = scorer.quality.summarise(analysis.scores)
    print(f"{video}: score {summary['score']:.2f}, spread {summary['spread']:.2f}; drawn in {out}")


class Mark(NamedTuple):
    """A box to draw: (4,) xyxy in pixels of the frame, its colour, its score (empty without one), its line's weight."""

    box_xyxy_px: NDArray[np.float32]
    color: str
    text: str
    weight: int


def marked_boxes(analysis: Analysis, position: int) -> list[Mark]:
    """What to draw on one frame: the objects, the worst and the best candidate, the selected one last and on top.

    The best is drawn where another is selected (one crop for the whole video), the worst where there is more than one.
    """
    objects, candidates = analysis.objects[position], analysis.candidates[position]
    marks = [
        Mark(box, OBJECT, f"{score:.2f}", 1)
        for box, score in zip(objects.boxes_xyxy_px.numpy(), objects.scores.tolist(), strict=True)
    ]
    boxes, scores = candidates.candidates_xyxy_px, candidates.scores
    chosen = analysis.selected_xyxy_px[position]
    if not np.isfinite(scores).all():
        return [*marks, Mark(chosen, SELECTED, "", 2)]
    selected = int(np.flatnonzero((boxes == chosen).all(axis=1))[0])
    for index, color in ((int(scores.argmin()), WORST), (int(scores.argmax()), BEST)):
        if index != selected:
            marks.append(Mark(boxes[index], color, f"{scores[index]:+.2f}", 1))
    return [*marks, Mark(chosen, SELECTED, f"{scores[selected]:+.2f}", 2)]


def draw_picture(analysis: Analysis, out: Path, *, title: str) -> None:
    """A strip of the frames with their boxes, the crops that were scored below, and the frame scores over time."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    n = len(analysis.clip)
    height, width = analysis.clip[0].frame.shape[:2]
    figure = Figure(figsize=(1.9 * n, 1.9 * 2 * height / width + 2.3), layout="constrained")
    grid = figure.add_gridspec(3, n, height_ratios=[height / width, height / width, 0.75])
    colors = set()
    for position, entry in enumerate(analysis.clip):
        row = analysis.row(position)
        axes = figure.add_subplot(grid[0, position])
        axes.imshow(entry.frame)
        for box, color, text, weight in marked_boxes(analysis, position):
            colors.add(color)
            x0, y0, x1, y1 = box
            axes.add_patch(
                Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=weight, clip_on=False)
            )
            if text and color != OBJECT:
                below = color == WORST
                axes.text(
                    x0 + 1, y1 - 1 if below else y0 + 1, text, color="white", fontsize=6,
                    va="bottom" if below else "top",
                    bbox={"facecolor": color, "edgecolor": "none", "pad": 0.8},
                )  # fmt: skip
        axes.set_title(f"frame {entry.frame_index}, {entry.time_s:.2f} s", fontsize=7, color=INK)
        axes.axis("off")
        x0, y0, x1, y1 = (round(float(value)) for value in analysis.selected_xyxy_px[position])
        crop = figure.add_subplot(grid[1, position])
        crop.imshow(entry.frame[y0:y1, x0:x1])
        crop.set_anchor("N")
        crop.set_title(f"score {row['score']:.1f}", fontsize=8, color=INK)
        crop.axis("off")
    scores = figure.add_subplot(grid[2, :])
    scores.plot(analysis.scores["time_s"], analysis.scores["score"], color="#2f6db5", marker="o", markersize=4)
    mean = float(analysis.scores["score"].mean())
    scores.axhline(mean, color="#8a97a6", linewidth=0.8, linestyle="--")
    # Beside the plot, where no curve runs through it.
    beside: Any = {"xycoords": ("axes fraction", "data"), "xytext": (3, 0), "textcoords": "offset points"}
    scores.annotate(f"mean {mean:.1f}", (1, mean), va="center", fontsize=7, color="#5b6673", **beside)
    scores.set(ylim=(0, 100), xlabel="time (s)", ylabel="frame score")
    scores.spines[["top", "right"]].set_visible(False)
    scores.tick_params(labelsize=7)
    for label in (scores.xaxis.label, scores.yaxis.label):
        label.set_fontsize(8)
    handles = [
        Line2D([], [], color=OBJECT, label="objects"),
        Line2D([], [], color=SELECTED, linewidth=2, label="selected crop, with its S²CNet score (0: an average crop)"),
        Line2D([], [], color=WORST, label="worst candidate"),
    ]
    if BEST in colors:
        handles.append(Line2D([], [], color=BEST, label="best candidate of the frame"))
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left", color=INK)
    save_figure(figure, out)


def write_film(analysis: Analysis, out: Path) -> None:
    """The scored frames one after the other, a second each, with the same boxes as the picture."""
    height, width = analysis.clip[0].frame.shape[:2]
    scale = FILM_HEIGHT_PX / height
    size = (2 * round(width * scale / 2), FILM_HEIGHT_PX)
    with replacing(out) as temporary:
        named = temporary.with_suffix(".mp4")  # the container is chosen by the ending
        writer = cv2.VideoWriter(str(named), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 1.0, size)
        try:
            if not writer.isOpened():
                raise DatasetError(f"{out}: OpenCV cannot write MP4 here")
            for position, entry in enumerate(analysis.clip):
                frame = np.asarray(cv2.resize(entry.frame, size, interpolation=cv2.INTER_CUBIC), np.uint8)
                writer.write(cv2.cvtColor(_draw_on(frame, analysis, position, scale), cv2.COLOR_RGB2BGR))
        finally:
            writer.release()
        named.replace(temporary)


def _draw_on(frame: Frame, analysis: Analysis, position: int, scale: float) -> Frame:
    for box, color, text, weight in marked_boxes(analysis, position):
        rgb = tuple(int(color[start : start + 2], 16) for start in (1, 3, 5))
        x0, y0, x1, y1 = (round(float(value) * scale) for value in box)
        cv2.rectangle(frame, (x0, y0), (x1, y1), rgb, 2 * weight)
        if text and color != OBJECT:
            _write_on(frame, text, rgb, corner=(x0, y1) if color == WORST else (x0, y0), upwards=color == WORST)
    row = analysis.row(position)
    label = f"{row['time_s']:.2f} s  score {row['score']:.1f}"
    for ink, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(frame, label, (10, frame.shape[0] - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.7, ink, width, cv2.LINE_AA)
    return frame


def _write_on(frame: Frame, text: str, rgb: tuple[int, ...], *, corner: tuple[int, int], upwards: bool) -> None:
    """White text on a plate of the box's colour, inside the box at its corner."""
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    x, y = corner
    top = y - height - base - 4 if upwards else y
    cv2.rectangle(frame, (x, top), (x + width + 6, top + height + base + 4), rgb, cv2.FILLED)
    white = (255, 255, 255)
    cv2.putText(frame, text, (x + 3, top + height + 2), cv2.FONT_HERSHEY_SIMPLEX, 0.5, white, 1, cv2.LINE_AA)
