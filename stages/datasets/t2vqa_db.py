"""T2VQA-DB's labels: a text file, one video a line, `filename|prompt|mos` (format read at QMME/T2VQA 73c68ec)."""

from pathlib import Path, PurePosixPath

from stages.datasets.labels import Entry, generator_of, parse_mos, video_id_of
from stages.errors import DatasetError


def read_t2vqa_db(labels: Path, *, videos: str, generator_pattern: str) -> list[Entry]:
    """Read `labels`; file names start from the folder `videos` below the root. The prompt is the group; a video without
    one is its own group.

    A prompt may hold the separator: the first field is the name, the last the MOS. Blank lines are skipped. Raises
    DatasetError for a file that is missing, is not UTF-8, or has lines with fewer than three fields (all are listed).
    """
    try:
        # Not splitlines(): it also breaks at characters such as U+2028, which prompts may hold.
        lines = labels.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise DatasetError(f"{labels}: no such label file (dataset.root, dataset.labels)") from None
    except OSError as error:
        raise DatasetError(f"{labels}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{labels}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    entries, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{labels.name} line {number}"
        fields = line.split("|")
        if len(fields) < 3 or not fields[0].strip():
            problems.append(f"{place}: {line[:80]!r} is not `filename|prompt|mos`")
            continue
        name, prompt = fields[0].strip(), "|".join(fields[1:-1]).strip() or None
        path = str(PurePosixPath(videos) / name)
        mos_raw, problem = parse_mos(fields[-1], place=place)
        entries.append(
            Entry(
                video_id=video_id_of(name),
                path=path,
                mos_raw=mos_raw,
                place=place,
                prompt=prompt,
                generator=generator_of(name, generator_pattern),
                group=prompt or video_id_of(name),
                problem=problem,
            )
        )
    if problems:
        raise DatasetError("\n  ".join([f"{labels}: lines that cannot be read", *problems[:20]]))
    return entries
