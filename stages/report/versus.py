"""The page of `aigc-vqa versus`: ranking, pairs, and film strips of the prompts where two sides differ most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.evaluation.versus import Duel
from stages.report.pictures import StripFrame
from stages.report.templates import own_file, page_environment


@dataclass(frozen=True)
class PromptStrip:
    """One side's video of a prompt.

    Attributes:
        name: Of the side.
        path: The file.
        score: Of the side for the prompt, 0-100.
        strip: The video's frames.
    """

    name: str
    path: str
    score: float
    strip: list[StripFrame]


@dataclass(frozen=True)
class PromptExample:
    """A prompt where two sides differ.

    Attributes:
        prompt: The prompt.
        difference: First - second, points.
        sides: Both.
    """

    prompt: str
    difference: float
    sides: list[PromptStrip]


def versus_page(
    *,
    title: str,
    facts: Sequence[str],
    verdicts: Sequence[str],
    notes: Sequence[str],
    ranking: Sequence[Mapping[str, Any]],
    duels: Sequence[Duel],
    examples: Sequence[PromptExample],
    confidence: float,
) -> str:
    """The whole page as text.

    Args:
        title: Heading.
        facts: Words below the heading, such as what the model was trained on.
        verdicts: A sentence for each pair.
        notes: What the comparison does not tell.
        ranking: Rows of the sides, best first.
        duels: The pairs.
        examples: Prompts with film strips.
        confidence: Of the intervals.
    """
    environment = page_environment()
    return environment.get_template("versus.html").render(
        title=title,
        style=own_file(environment, "page.css"),
        facts=facts,
        verdicts=verdicts,
        notes=notes,
        ranking=ranking,
        duels=duels,
        examples=examples,
        percent=f"{100 * confidence:g}",
    )
