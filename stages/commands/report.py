"""`aigc-vqa report`: the last run as one HTML file that needs no network, and no other file, to be read.

Everything that people wrote (names, prompts, reasons) is escaped, and the page's own policy lets no other script run.
"""

import base64
import hashlib
import json
import sys
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter
from markupsafe import Markup

from stages.engine.options import File, Folder, check_out
from stages.errors import EvaluationError
from stages.experiments.revisions import head
from stages.experiments.series import params_digest
from stages.io.files import write_text
from stages.io.outs import DATA, RESULTS
from stages.params.load import load_params
from stages.params.schema import EvaluateParams
from stages.report import content, figures
from stages.report.pictures import CURVE_HEIGHT
from stages.report.sources import Sources, read_sources
from stages.report.templates import own_file, page_environment

COLUMNS = (
    ("frame", "picture"),
    ("video", "text"),
    ("part", "text"),
    ("generator", "text"),
    ("MOS", "number"),
    ("score", "number"),
    ("interval", "text"),
    ("error", "number"),
    ("spread", "number"),
    ("findings", "text"),
)


def report(
    *,
    out: File,
    baseline: Annotated[str | None, Parameter(metavar="REV")] = None,
    results: Folder = RESULTS,
    data: Folder = DATA,
    title: Annotated[str | None, Parameter(metavar="TEXT")] = None,
) -> None:
    """Write the last run as one HTML page.

    The page needs no network, and no other file, to be read.

    Args:
        out: Page to write (.html).
        baseline: Revision or experiment to compare with; without it, the previous run.
        results: Folder of the run's results.
        data: Folder of the run's tables.
        title: Heading of the page; without it, the folder of the data set.

    Raises:
        EvaluationError: The run has too few scored videos.
        RevisionError: The baseline is not there.
        TableError: A table of the run is not there.
        DatasetError: The file cannot be written.
    """
    check_out(out, endings=(".html", ".htm"))
    sources = read_sources(results, data, baseline=baseline)
    if len(sources.test) < 3:
        raise EvaluationError(f"{results}: {len(sources.test)} scored test videos; a report needs at least 3")
    params = load_params()
    if sources.ablation is not None and sources.ablation.get("params") != params_digest(params):
        print(f"{results / 'ablation.json'}: of other params than params.yaml, not shown", file=sys.stderr)
        sources = replace(sources, ablation=None)
    text = page(sources, params.evaluate, title=title or params.dataset.root, revision=head())
    write_text(out, text)
    print(f"{out}: {len(sources.videos)} videos, {len(text.encode()) / 2**20:.1f} MiB")


def page(sources: Sources, params: EvaluateParams, *, title: str, revision: str | None) -> str:
    """The whole page as text."""
    environment = page_environment()
    script, style = (own_file(environment, name) for name in ("page.js", "page.css"))
    row_of = {video_id: number for number, video_id in enumerate(sources.videos["video_id"])}
    test, audit = sources.test, sources.audit
    metric_rows = content.metric_rows(sources, params)
    errors = content.worst_errors(test)
    drawn = sources.drawn
    generators = content.generator_rows(test, params, drawn=drawn)
    videos = content.table_rows(sources)
    ablation = content.ablation_rows(sources.ablation) if sources.ablation else []
    return environment.get_template("page.html").render(
        title=title,
        revision=revision,
        script=script,
        style=style,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        backbone=sources.made_by.get("train", {}).get("params", {}).get("backbone", "unknown"),
        metrics=sources.metrics,
        metric_rows=metric_rows,
        noise_known=any(row.change_interval for row in metric_rows),
        confidence=params.confidence,
        n_groups=None if drawn is None else drawn.loc[test["video_id"]].nunique(),
        sharpness=sources.baselines.get("sharpness_srocc"),
        previous=sources.previous,
        previous_name=sources.previous.run.name if sources.previous else None,
        scatter=Markup(figures.scatter_figure(test, list(errors["video_id"]), row_of)),
        histogram=Markup(figures.error_figure(test)),
        error_summary=content.summary_of_errors(test),
        compared=content.compared_srocc(sources),
        generators=generators,
        compared_generators=content.compared_generators(test, params),
        generator_figure=Markup(figures.generator_figure(generators, sources.metrics["srocc"])) if generators else "",
        ablation=sources.ablation,
        ablation_rows=ablation,
        ablation_figure=Markup(figures.ablation_figure(ablation)) if ablation else "",
        findings=content.audit_findings(audit) if audit else [],
        kinds=content.audit_kinds(audit) if audit else [],
        faulty=[video | {"number": row_of[video["video_id"]]} for video in videos if video["notes"]],
        listed=content.LISTED_FAULTS,
        n_videos=len(videos),
        errors=content.cards(sources, errors, row_of),
        inconsistent=content.cards(sources, content.most_inconsistent(test), row_of),
        curve_height=CURVE_HEIGHT,
        columns=COLUMNS,
        videos=videos,
        parts=sorted(set(sources.videos["part"])),
        made_by={stage: json.dumps(made, indent=2) for stage, made in sources.made_by.items()},
    )
