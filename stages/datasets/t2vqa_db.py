"""T2VQA-DB's labels: a text file, one video per line, `filename|prompt|mos` (format read at QMME/T2VQA 73c68ec).

Q-Eval-Video (NTIRE 2025) and T2VEval-Bench write theirs in the same way. A fourth field is an error: T2VQA-DB's own
test script reads `filename|prompt|_|mos`, and which of the fields is the prompt cannot be told from a line.
"""

from pathlib import Path

from stages.datasets.labels import Entry, LabelRules, read_text, refuse

MORE_FIELDS = (
    "; read more fields with dataset.format: table, table.separator: '|', table.header: false, and the number of each "
    "column, such as dataset.target: 4 (a prompt that holds a | stands in quotes there)"
)


def read_t2vqa_db(labels: Path, rules: LabelRules) -> list[Entry]:
    """Read T2VQA-DB's labels; the prompt is the group, and a video without one is its own group.

    Blank lines are skipped.

    Args:
        labels: The text file.
        rules: How names are read.

    Raises:
        DatasetError: The file is missing or not UTF-8, or lines have another number of fields than three;
            all are listed.
    """
    # Not splitlines(): it also breaks at characters such as U+2028, which prompts may hold.
    lines = read_text(labels).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    entries, problems, hint = [], [], ""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{labels.name} line {number}"
        fields = line.split("|")
        if len(fields) != 3 or not fields[0].strip():
            count = f" ({len(fields)} fields)" if len(fields) > 3 else ""
            hint = hint or (MORE_FIELDS if count else "")
            problems.append(f"{place}: {line[:80]!r} is not `filename|prompt|mos`{count}")
            continue
        name, prompt, mos = fields
        entries.append(rules.entry(name=name.strip(), place=place, mos=mos, prompt=prompt.strip() or None))
    refuse(labels, f"lines that cannot be read{hint}", problems)
    return entries
