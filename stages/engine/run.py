"""Runs a function over videos: workers, item cache, failures, progress, and the closing line of a stage.

DVC deletes a stage's outs before it runs. Results of single videos therefore go to the item cache first, and the outs
are assembled from it: adding one video costs one video, and a killed stage resumes where it stopped.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from models.errors import AigcVqaError, listed
from stages.engine.cache import ItemCache, renamed
from stages.engine.progress import progress
from stages.errors import NO_ROOM, DamagedFileError, EngineError
from stages.io.shards import write_shards


@dataclass(frozen=True)
class Item:
    """The work on one video.

    Attributes:
        video_id: Id of the video.
        key: Names everything that the result depends on.
        payload: What the function needs.
    """

    video_id: str
    key: str
    payload: Any = None


@dataclass(frozen=True)
class Outcome:
    """What became of a stage's items.

    Attributes:
        computed: Items computed by this run.
        cached: Items that were in the cache.
        failed: video_id -> reason, those of earlier stages included.
    """

    computed: int
    cached: int
    failed: dict[str, str] = field(default_factory=dict)


class Compute(Protocol):
    """Computes items into the cache."""

    def __call__(self, items: Sequence[Item], cache: ItemCache) -> Iterator[tuple[Item, str | None]]:
        """Compute items.

        Args:
            items: The videos to compute.
            cache: Where their tables go.

        Yields:
            Each item with None, or with the reason why it cannot be computed.
        """


def run_stage(
    stage: str,
    items: Sequence[Item],
    compute: Compute,
    *,
    schema: pa.Schema,
    out: str | Path,
    made_by: Mapping[str, Any],
    failed_before: Mapping[str, str],
    n_shards: int,
    max_failed_fraction: float,
) -> Outcome:
    """Compute what the cache lacks, assemble the shards, and print the closing line.

    Args:
        stage: Name of the stage, for the cache and for messages.
        items: All videos of the stage.
        compute: Computes those that are missing.
        schema: Columns of the table.
        out: Folder of the table.
        made_by: What makes the table, for its metadata.
        failed_before: video_id -> reason of the videos that failed in earlier stages.
        n_shards: How many files the videos are spread over.
        max_failed_fraction: Share of all videos that may fail, 0..1.

    Raises:
        EngineError: Too many videos failed, or none is left; no shard is written then.
    """
    cache = ItemCache(stage)
    outcome = run_items(stage, items, compute, cache, failed_before=failed_before)
    print(closing_line(stage, outcome))
    check_failures(stage, outcome, max_failed_fraction=max_failed_fraction)
    left = {item.video_id: item for item in items if item.video_id not in outcome.failed}
    write_shards(
        out,
        {video_id: item.key for video_id, item in left.items()},
        lambda _, video_id: renamed(read_item(stage, left[video_id], compute, cache), video_id),
        schema=schema,
        n_shards=n_shards,
        made_by=made_by,
        failed=outcome.failed,
    )
    return outcome


def run_items(
    stage: str,
    items: Sequence[Item],
    compute: Compute,
    cache: ItemCache,
    *,
    failed_before: Mapping[str, str] | None = None,
) -> Outcome:
    """Compute the items that the cache lacks, with a progress bar.

    Failures are not cached: a later run tries them again.

    Args:
        stage: Name of the stage, for the progress bar.
        items: All videos of the stage.
        compute: Computes those that are missing.
        cache: Where their tables are kept.
        failed_before: video_id -> reason of the videos that failed in earlier stages.
    """
    cache.sweep()
    missing = [item for item in items if not cache.has(item.key)]
    failed = dict(failed_before or {})
    computed = 0
    if missing:
        results = progress(compute(missing, cache), total=len(missing), desc=stage, unit="video")
        for item, reason in results:
            if reason is None:
                computed += 1
            else:
                failed[item.video_id] = reason
                results.set_postfix(failed=len(failed))
    return Outcome(computed=computed, cached=len(items) - len(missing), failed=failed)


def read_item(stage: str, item: Item, compute: Compute, cache: ItemCache) -> pa.Table:
    """The table of an item that is there, as it was written; one that is damaged is computed anew, with a word.

    Args:
        stage: Name of the stage, for the message.
        item: The video.
        compute: Computes it.
        cache: Where its table is kept.

    Raises:
        EngineError: The item is damaged, and cannot be computed now.
    """
    try:
        return cache.read(item.key)
    except DamagedFileError as error:
        print(f"{stage}: {item.video_id}: {error}; computed anew")
    for _, reason in compute([item], cache):
        if reason is not None:
            raise EngineError(f"{stage}: {item.video_id}: its damaged item cannot be computed anew: {reason}")
    return cache.read(item.key)


def closing_line(stage: str, outcome: Outcome, *, shown: int = 20) -> str:
    """A stage's summary, such as `decode: 1 computed, 299 cached, 0 failed`, with a line for each failed video.

    Args:
        stage: Name of the stage.
        outcome: What became of its items.
        shown: Most failed videos that are listed.
    """
    line = f"{stage}: {outcome.computed} computed, {outcome.cached} cached, {len(outcome.failed)} failed"
    failures = [f"{video_id}: {reason}" for video_id, reason in sorted(outcome.failed.items())]
    # The empty item in front starts a line of its own, and none without failures.
    return line + listed(["", *failures], shown=shown + 1, separator="\n  ")


def check_failures(stage: str, outcome: Outcome, *, max_failed_fraction: float) -> None:
    """Stop a stage that has too few videos left.

    Args:
        stage: Name of the stage, for the message.
        outcome: What became of its items.
        max_failed_fraction: Share of all videos that may fail, 0..1.

    Raises:
        EngineError: No video is left, or more failed than allowed.
    """
    left = outcome.computed + outcome.cached
    total = left + len(outcome.failed)
    if left == 0:
        raise EngineError(f"{stage}: none of {total} videos can be used; the reasons are above")
    if len(outcome.failed) > max_failed_fraction * total:
        raise EngineError(
            f"{stage}: {len(outcome.failed)} of {total} videos failed, more than engine.max_failed_fraction = "
            f"{max_failed_fraction} allows; the reasons are above"
        )


def reason_of(error: Exception) -> str:
    """The text of a failure, for tables.

    Raises:
        Exception: `error` itself, when it concerns the machine and not the video (a full disk, too many open files).
    """
    if isinstance(error, OSError) and error.errno in (*NO_ROOM, errno.EMFILE, errno.ENFILE):
        raise error
    if isinstance(error, AigcVqaError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}"
