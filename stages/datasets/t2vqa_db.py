"""T2VQA-DB's labels: a text file, one video per line, `filename|prompt|mos` (format read at QMME/T2VQA 73c68ec)."""

from pathlib import Path

from stages.datasets.labels import Entry, LabelRules, read_text, refuse


def read_t2vqa_db(labels: Path, rules: LabelRules) -> list[Entry]:
    """Read T2VQA-DB's labels; the prompt is the group, and a video without one is its own group.

    A prompt may contain the separator: the first field is the name, the last the MOS. Blank lines are skipped.

    Args:
        labels: The text file.
        rules: How names are read.

    Raises:
        DatasetError: The file is missing or not UTF-8, or lines have fewer than three fields; all are listed.
    """
    # Not splitlines(): it also breaks at characters such as U+2028, which prompts may hold.
    lines = read_text(labels).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    entries, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{labels.name} line {number}"
        fields = line.split("|")
        if len(fields) < 3 or not fields[0].strip():
            problems.append(f"{place}: {line[:80]!r} is not `filename|prompt|mos`")
            continue
        prompt = "|".join(fields[1:-1]).strip() or None
        entries.append(rules.entry(name=fields[0].strip(), place=place, mos=fields[-1], prompt=prompt))
    refuse(labels, "lines that cannot be read", problems)
    return entries
