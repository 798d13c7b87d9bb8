"""What every adapter of video labels gives: entries with their place in the label file, problems reported together."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.errors import listed
from stages.errors import DatasetError

PARTS = ("train", "val", "test")
PROBLEMS_SHOWN = 20
NEXT_LINE = "\n  "


@dataclass(frozen=True)
class Entry:
    """The labels of one video.

    Attributes:
        video_id: Its id.
        path: Its file, relative to the data set's root.
        mos_raw: MOS on the data set's own scale; None in a data set without scores, NaN where it cannot be used.
        place: Its line in the label file, for messages.
        prompt: What the video was generated from.
        generator: What generated it.
        group: Videos of one group stay in one part of the split.
        part: The data set's own part: train, val or test.
        problem: Why the label cannot be used.
        mos_raw_std: Standard deviation of the raters' scores (n - 1) on the MOS's scale, where each rater's is known.
    """

    video_id: str
    path: str
    mos_raw: float | None
    place: str
    prompt: str | None = None
    generator: str | None = None
    group: str | None = None
    part: str | None = None
    problem: str | None = None
    mos_raw_std: float | None = None


@dataclass(frozen=True)
class LabelRules:
    """How names and columns of labels are read; the fields are those of `dataset` in params.yaml.

    Attributes:
        videos: Folder of the videos, relative to the root.
        target: Column of the MOS.
        generator_pattern: Regular expression with a group `generator`, see `found_in_name`; empty: none.
        group_pattern: Regular expression with a group `group`, see `found_in_name`; empty: none.
    """

    videos: str = ""
    target: str = "mos"
    generator_pattern: str = ""
    group_pattern: str = ""

    def entry(
        self,
        *,
        name: str,
        place: str,
        mos: str | float | None,
        prompt: str | None = None,
        generator: str | None = None,
        group: str | None = None,
        part: str | None = None,
        mos_std: float | None = None,
    ) -> Entry:
        """The entry of a video.

        A value of a column comes before one found in the file name. The group is that of the column, else that of the
        pattern, else the words of the prompt, else the video itself. It depends on nothing but this video's labels, so
        that other videos that come and go do not change it.

        Args:
            name: What the labels call the video: its path in the folder of videos.
            place: Its line in the label file, for messages.
            mos: The MOS as it is written there.
            prompt: Value of a column; so are the others.
            generator: What generated the video.
            group: Group of videos that stay together.
            part: train, val or test.
            mos_std: Standard deviation of the raters' scores, on the scale of the MOS.
        """
        mos_raw, problem = parse_mos(mos, place=place)
        return Entry(
            video_id=video_id_of(name),
            path=str(PurePosixPath(self.videos) / name),
            mos_raw=mos_raw,
            place=place,
            prompt=prompt,
            generator=generator or found_in_name(name, self.generator_pattern, "generator"),
            group=group or found_in_name(name, self.group_pattern, "group") or words_of(prompt) or video_id_of(name),
            part=part,
            problem=problem,
            mos_raw_std=mos_std,
        )


def read_text(labels: Path) -> str:
    """The text of a label file, without a byte order mark.

    Raises:
        DatasetError: The file is missing, unreadable or not UTF-8; the message names the line.
    """
    try:
        data = labels.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"{labels}: no such label file or folder (dataset.root, dataset.labels)") from None
    except OSError as error:
        raise DatasetError(f"{labels}: cannot be read ({error.strerror})") from None
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{labels}: line {line} is not UTF-8 text ({error.reason}: {data[error.start : error.end]!r}); save the "
            "file as UTF-8"
        ) from None


def parse_mos(text: str | float | None, *, place: str) -> tuple[float, str | None]:
    """A MOS from its text.

    Args:
        text: What the labels say.
        place: Its line in the label file, for the reason.

    Returns:
        The MOS and None; or NaN and the reason why the text cannot be used.
    """
    if text is None or (isinstance(text, str) and not text.strip()):
        return math.nan, f"{place}: the MOS is missing"
    try:
        value = float(text)
    except (ValueError, TypeError):
        return math.nan, f"{place}: the MOS {text!r} is not a number"
    if not math.isfinite(value):
        return math.nan, f"{place}: the MOS is {text}; a finite number is needed"
    return value, None


def video_id_of(path: str) -> str:
    """The id of a video: its path as the labels write it, normalised (`./a//b.mp4` is `a/b.mp4`)."""
    return str(PurePosixPath(path))


def found_in_name(path: str, pattern: str, group: str) -> str | None:
    """What a group of a pattern matches in a file's name.

    Args:
        path: The file, as the labels write it; only its last component is searched, unless the pattern holds a /.
        pattern: Regular expression; empty: none.
        group: Name of the group in it.

    Returns:
        The text; None without a pattern or a match.
    """
    searched = path if "/" in pattern else PurePosixPath(path).name
    match = re.search(pattern, searched) if pattern else None
    return match.group(group) if match else None


def words_of(prompt: str | None) -> str | None:
    """The group of a prompt: its words in one case, so that spaces and punctuation make no other prompt.

    Otherwise a prompt with two spellings could stand both in the training part and in the test part. One of signs alone
    stays as it is. Groups from columns and patterns are ids, in which case may matter: they do not come here.
    """
    if prompt is None:
        return None
    return " ".join(re.findall(r"\w+", prompt.casefold())) or prompt.strip() or None


def refuse(source: Path, headline: str, problems: Iterable[str], *, shown: int = PROBLEMS_SHOWN) -> None:
    """Raise DatasetError with the problems and their number; without problems do nothing.

    Args:
        source: The label file, for the message.
        headline: What the problems are.
        problems: One line each.
        shown: Most problems that are listed.

    Raises:
        DatasetError: There are problems.
    """
    problems = [*problems]
    if problems:
        raise DatasetError(f"{source}: {headline}\n  {listed(problems, shown=shown, separator=NEXT_LINE)}")


def check_entries(entries: list[Entry], *, source: Path, mos_min: float, mos_max: float) -> None:
    """Check what would make the whole data set doubtful.

    Args:
        entries: All videos.
        source: The label file, for the message.
        mos_min: Lowest possible MOS, as declared.
        mos_max: Highest possible MOS, as declared.

    Raises:
        DatasetError: There are no entries, ids occur twice, paths lead out of the root, or MOS lie outside the declared
            range (which is then probably wrong, and with it every mapped score).
    """
    if not entries:
        raise DatasetError(f"{source}: no videos are listed")
    problems: list[str] = []
    seen: dict[str, Entry] = {}
    scores: list[float] = []
    for entry in entries:
        first = seen.setdefault(entry.video_id, entry)
        if first is not entry:
            problems.append(f"{entry.place}: {entry.path!r} has the id of {first.path!r} ({first.place})")
        if PurePosixPath(entry.path).is_absolute() or ".." in PurePosixPath(entry.path).parts:
            problems.append(f"{entry.place}: {entry.path!r} leaves the data set's folder")
        if entry.problem is None and entry.mos_raw is not None:
            scores.append(entry.mos_raw)
            if not mos_min <= entry.mos_raw <= mos_max:
                problems.append(f"{entry.place}: the MOS {entry.mos_raw:g} of {entry.path!r} is out of range")
    if problems:
        shown = listed(problems, shown=PROBLEMS_SHOWN, separator=NEXT_LINE)
        last = f"{NEXT_LINE}{found}" if (found := _range_found(scores, mos_min, mos_max)) else ""
        raise DatasetError(f"{source}: the labels cannot be used{NEXT_LINE}{shown}{last}")


def _range_found(scores: Sequence[float], mos_min: float, mos_max: float) -> str:
    """What MOS there are, and what is allowed; empty when all are."""
    if all(mos_min <= value <= mos_max for value in scores):
        return ""
    return (
        f"MOS found: {min(scores):g} to {max(scores):g}; allowed by dataset.mos_min and dataset.mos_max: "
        f"{mos_min:g} to {mos_max:g}"
    )
