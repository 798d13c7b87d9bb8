"""`aigc-vqa run`: the pipeline with a preset and single changes, as a DVC experiment in the working directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from stages.commands.check import changed_params, check_run, needs_table
from stages.engine.options import Preset
from stages.errors import ExperimentError
from stages.experiments.dvc import changed_files, present_commit, run_here
from stages.io.files import write_bytes
from stages.params.presets import change_arguments

PARAMS = Path("params.yaml")


def run(
    *,
    preset: Preset = None,
    set: Annotated[Sequence[str], Parameter(name=("--set", "-S"), metavar="KEY=VALUE")] = (),
    name: Annotated[str | None, Parameter(metavar="TEXT")] = None,
) -> int:
    """Run the pipeline with a preset and changes.

    params.yaml with the changes is checked first, and all problems are named at once; then whether data, weights and
    disk space are there, as `aigc-vqa check` does. Then `dvc exp run` works in this folder: params.yaml keeps the
    changes, and stages that they do not concern are not run again. After a run that fails params.yaml is as it was, and
    it is said how results come back. Exit status: DVC's.

    Args:
        preset: Preset over params.yaml; several are joined by +.
        set: Change of one value, such as `train.seed=3`, over the preset's; may be given several times.
        name: Name of the experiment; DVC makes one up.

    Returns:
        The exit status.

    Raises:
        ParamsError: There is no such preset, or the values do not fit the schema.
        ExperimentError: There is no Git repository with a commit, or something that the run needs is missing.
    """
    params, changes = changed_params(preset, set)
    present_commit()
    needs, _, _ = check_run(params, preset=preset, timed=False)
    if missing := [need for need in needs if not need.is_there]:
        raise ExperimentError(f"nothing was run, since something is missing\n{needs_table(missing)}")
    before, own_changes = PARAMS.read_bytes(), changed_files()
    status = run_here(change_arguments(changes), name=name)
    if status:
        write_bytes(PARAMS, before)
        print(f"run: failed; {PARAMS} is as it was. What is done is not done again when you run the same once more.")
        if touched := [path for path in changed_files() if path not in own_changes]:
            back = f"git checkout -- {' '.join(touched)} && dvc checkout --allow-missing"
            print(f"Back to the last commit's results: {back}")
    return status
