"""`aigc-vqa versus`: is the model behind one folder of videos better than that behind another?

The videos are scored with one quality model and paired by prompt. Prompts are what was drawn, so intervals and p-values
resample prompts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from cyclopts import Parameter

from models.errors import printable
from stages.datasets.folder import shown_name
from stages.engine.device import make_deterministic
from stages.engine.options import Count, Device, File, Folder, PositiveCount, check_out
from stages.engine.progress import progress
from stages.errors import DatasetError
from stages.evaluation.sides import find_sides, sides_of_manifest
from stages.evaluation.versus import Duel, by_prompt, duels, largest, ranking
from stages.io.files import write_text
from stages.io.json import write_json
from stages.io.outs import WEIGHTS
from stages.io.schemas import BOX_COLUMNS
from stages.params.schema.engine import available_cores
from stages.report.pictures import StripFrame, strip_of
from stages.report.versus import PromptExample, PromptStrip, versus_page
from stages.steps.clips import read_clip
from stages.steps.scorer import Scorer

EXAMPLES_MAX = 12
EXAMPLES_OF_TWO = 6
SEEN = "Videos that the model was trained on are among these where they are of its data set."
LIMITS = (
    "The score looks at frames one by one: it sees neither the prompt nor the motion between frames.",
    "Intervals and p-values say how far a difference depends on the prompts that were drawn, "
    "not how far the model's scores are off.",
)


def versus(
    folders: Annotated[list[Path], Parameter(name="DIR...")],
    /,
    *,
    prompts: File | None = None,
    manifest: File | None = None,
    out: File | None = None,
    model: Folder = WEIGHTS,
    confidence: Annotated[float, Parameter(metavar="SHARE")] = 0.95,
    samples: PositiveCount = 10000,
    seed: Count = 0,
    device: Device = "auto",
    workers: Count = 0,
    threads: Count = 1,
) -> int:
    """Compare two or more folders of videos, prompt by prompt.

    Videos of one prompt have the same name in every folder, endings aside, or a row each in --prompts. With --manifest
    the generators of a data set are compared. Exit status 1 when a video could not be scored.

    Args:
        folders: Folders of videos, one for each side; with --manifest the folder of the data set.
        prompts: CSV with the columns path (with its folder, within it, or the name alone) and prompt.
        manifest: Table of videos that the stage prepare wrote: its generators are the sides.
        out: Page to write (.html); the numbers go beside it (.json).
        model: Folder of weights.
        confidence: Of the intervals, between 0 and 1.
        samples: Resamples.
        seed: Of the resamples.
        device: Where networks run.
        workers: Decoding processes; 0: one per core.
        threads: Threads of a network on a CPU; 0: one per core.

    Returns:
        The exit status.

    Raises:
        DatasetError: A folder has no videos, the prompts do not fit, or the file cannot be written.
        TableError: The manifest is missing or another table.
        EvaluationError: Fewer than three prompts are common to two sides.
        WeightsError: The weights are missing or damaged.
    """
    if not 0 < confidence < 1:
        raise DatasetError(f"--confidence {confidence}: allowed: more than 0 and less than 1")
    if out is not None:
        check_out(out, endings=(".html", ".htm"))
    if manifest is not None and (len(folders) != 1 or prompts is not None):
        raise DatasetError("--manifest: one folder is needed, that of the data set, and no --prompts")
    videos = find_sides(folders, prompts) if manifest is None else sides_of_manifest(manifest, folders[0])
    make_deterministic(threads=threads or available_cores())
    scorer = Scorer.load(model, device=device)
    scored = score_videos(scorer, videos, workers=workers)
    good = scored[scored["status"] == "ok"]
    table = by_prompt(good)
    settings: dict[str, Any] = {"samples": samples, "confidence": confidence, "seed": seed}
    found, ranked = duels(table, **settings), ranking(table, **settings)
    sides = [asdict(row) | counts_of(scored, row.name) for row in ranked]
    seen = [] if manifest is None else [SEEN]
    notes = [*unlike_notes(sides), *unpaired_notes(table), *seen, *LIMITS]
    facts = [f"model: {Path(model).as_posix()}, trained on {trained_on(scorer)}", f"{len(good)} videos scored"]
    print(screen_text(sides, found, scored, confidence=confidence, notes=notes))
    if out is not None:
        rows = pick_examples(table, found)
        page = versus_page(
            title=" against ".join(dict.fromkeys(videos["side"])),
            facts=facts,
            verdicts=[verdict(each, confidence) for each in found],
            notes=notes,
            ranking=sides,
            duels=found,
            examples=[example_of(scorer, good, *row) for row in rows],
            confidence=confidence,
        )
        write_text(out, page)
        write_json(out.with_suffix(".json"), numbers(scored, sides, found, rows, facts=facts, notes=notes) | settings)
        print(f"written to {out} and {out.with_suffix('.json')}")
    return 1 if len(good) < len(scored) else 0


def score_videos(scorer: Scorer, videos: pd.DataFrame, *, workers: int) -> pd.DataFrame:
    """Score the videos of all sides.

    Args:
        scorer: The model.
        videos: Columns side, path, prompt.
        workers: Decoding processes; 0: one per core.

    Returns:
        The same rows with the columns score, is_unlike, frames, status and reason.
    """
    results = progress(
        scorer.score_many(videos["path"], workers=workers), total=len(videos), desc="versus", unit="video"
    )
    columns = ("score", "is_unlike", "frames", "status", "reason")
    found = [tuple(getattr(result, column) for column in columns) for result in results]
    table = pd.DataFrame(found, columns=list(columns), index=videos.index)
    return videos.join(table.astype({"score": "float64", "is_unlike": "boolean"}))


def counts_of(scored: pd.DataFrame, side: str) -> dict[str, int]:
    """How many videos of a side were scored, failed, and are unlike the training videos."""
    own = scored[scored["side"] == side]
    n_scored = int((own["status"] == "ok").sum())
    n_unlike = int(own["is_unlike"].fillna(False).sum())
    return {"n_scored": n_scored, "n_failed": len(own) - n_scored, "n_unlike": n_unlike}


def unlike_notes(sides: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each side with more videos unlike the training videos than chance makes."""
    for side in sides:
        # A twentieth of the validation videos is called unlike: so many of any folder are no news.
        if side["n_unlike"] > max(1, 0.1 * side["n_scored"]):
            yield (
                f"{side['name']}: {side['n_unlike']} of {side['n_scored']} videos do not look like those that the "
                "model learnt from; its scores of them may mean little."
            )


def unpaired_notes(table: pd.DataFrame) -> Iterator[str]:
    """A sentence when prompts lack a side."""
    if lost := int(table.isna().any(axis=1).sum()):
        yield f"{lost} of {len(table)} prompts are not there on every side: the ranking leaves them out."


def trained_on(scorer: Scorer) -> str:
    """The folder of the data set that the model was trained on, as its history has it."""
    return str((scorer.history.prepare.params.model_extra or {}).get("root", "an unknown data set"))


def verdict(each: Duel, confidence: float) -> str:
    """What a comparison says, in a sentence."""
    better, worse = (each.first, each.second) if each.difference > 0 else (each.second, each.first)
    ends = sorted(abs(end) if each.low * each.high > 0 else end for end in (each.low, each.high))
    size = f"{abs(each.difference):.2f} points"
    needed = f"about {each.n_needed} prompts would tell a difference of this size" if each.n_needed else ""
    if each.is_told_apart(confidence):
        return (
            f"{better} is better than {worse} by {size} ({ends[0]:.2f} to {ends[1]:.2f}, p = {each.p_value:.4f}) on "
            f"{each.n_prompts} prompts."
        )
    return (
        f"{each.first} and {each.second} cannot be told apart: {each.difference:+.2f} points ({each.low:+.2f} to "
        f"{each.high:+.2f}, p = {each.p_value:.4f}) on {each.n_prompts} prompts{'; ' if needed else ''}{needed}."
    )


def screen_text(
    sides: Sequence[Mapping[str, Any]],
    found: Sequence[Duel],
    scored: pd.DataFrame,
    *,
    confidence: float,
    notes: Sequence[str],
) -> str:
    """Ranking, pairs, failed videos and notes for the screen."""
    width = max(5, *(len(side["name"]) for side in sides))
    lines = [f"{'side':<{width}}  {'score':>6}  {f'{confidence:.0%} within':<14}  prompts  scored  failed  unlike"]
    for side in sides:
        ends = f"{side['low']:.1f} to {side['high']:.1f}"
        counts = "  ".join(f"{side[key]:>6}" for key in ("n_scored", "n_failed", "n_unlike"))
        lines.append(f"{side['name']:<{width}}  {side['mean']:>6.2f}  {ends:<14}  {side['n_prompts']:>7}  {counts}")
    for each in found:
        wins = f"{each.win_rate:.0%} ({each.win_low:.0%} to {each.win_high:.0%})"
        lines += [verdict(each, confidence), f"  {each.first} has the higher score for {wins} of the prompts"]
    failed = scored[scored["status"] != "ok"]
    lines += [f"failed: {path}: {reason}" for path, reason in zip(failed["path"], failed["reason"], strict=True)]
    return "\n".join(printable(line) for line in [*lines, *(f"note: {note}" for note in notes)])


def pick_examples(table: pd.DataFrame, found: Sequence[Duel]) -> list[tuple[str, str, str, float, float]]:
    """The prompts to show: (prompt, first side, second side, their scores), the largest differences of each pair."""
    shown = EXAMPLES_OF_TWO if len(found) == 1 else 2
    rows: list[tuple[str, str, str, float, float]] = []
    for each in sorted(found, key=lambda one: one.p_value)[: EXAMPLES_MAX // shown]:
        differing = largest(table, each.first, each.second, shown=shown)
        rows += [
            (str(row.prompt), each.first, each.second, float(row.first), float(row.second))
            for row in differing.itertuples()
        ]
    return rows


def example_of(
    scorer: Scorer, scored: pd.DataFrame, prompt: str, first: str, second: str, first_score: float, second_score: float
) -> PromptExample:
    """A prompt with a film strip of each side's first video."""
    sides = []
    for name, score in ((first, first_score), (second, second_score)):
        row = scored[(scored["side"] == name) & (scored["prompt"] == prompt)].iloc[0]
        sides.append(PromptStrip(name, row["path"].as_posix(), score, strip(scorer, row["path"], row["frames"])))
    return PromptExample(prompt, first_score - second_score, sides)


def strip(scorer: Scorer, path: Path, frames: pd.DataFrame) -> list[StripFrame]:
    """The film strip of a video that was scored.

    Args:
        scorer: The model, which knows what frames it looks at.
        path: The video.
        frames: Scores of its frames, with their crops.
    """
    images = {entry.frame_index: entry.frame for entry in read_clip(scorer.decode(path))}
    boxes = {
        int(index): tuple(map(float, box))
        for index, box in zip(frames["frame_index"], frames[[*BOX_COLUMNS]].to_numpy(), strict=True)
    }
    return strip_of(images.get, frames, boxes)  # type: ignore[arg-type]


def numbers(
    scored: pd.DataFrame,
    sides: Sequence[Mapping[str, Any]],
    found: Sequence[Duel],
    examples: Sequence[tuple[str, str, str, float, float]],
    *,
    facts: Sequence[str],
    notes: Sequence[str],
) -> dict[str, Any]:
    """What the JSON file holds."""
    videos = scored.drop(columns="frames").assign(path=scored["path"].map(shown_name)).astype(object)
    names = ("prompt", "first", "second", "first_score", "second_score")
    return {
        "facts": [*facts],
        "notes": [*notes],
        "ranking": [*sides],
        "pairs": [asdict(each) for each in found],
        "largest_differences": [dict(zip(names, row, strict=True)) for row in examples],
        "videos": videos.where(videos.notna(), None).to_dict("records"),
    }
