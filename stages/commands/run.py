"""`aigc-vqa run`: the pipeline with a preset and single changes, as a DVC experiment in the working directory."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from stages.commands.options import Preset
from stages.experiments.dvc import present_commit, run_here
from stages.params.load import check_params, merge, read_yaml
from stages.params.presets import change_arguments, preset_changes, read_changes


def run(
    *,
    preset: Preset = None,
    set: Annotated[Sequence[str], Parameter(name=("--set", "-S"), metavar="KEY=VALUE")] = (),
    name: Annotated[str | None, Parameter(metavar="TEXT")] = None,
) -> int:
    """Run the pipeline with a preset and changes.

    params.yaml with the changes is checked first, and all problems are named at once. Then `dvc exp run` works in this
    folder: params.yaml keeps the changes, and stages that they do not concern are not run again. Exit status: DVC's.

    Args:
        preset: Preset over params.yaml; several are joined by +.
        set: Change of one value, such as `train.seed=3`, over the preset's; may be given several times.
        name: Name of the experiment; DVC makes one up.

    Returns:
        The exit status.

    Raises:
        ParamsError: There is no such preset, or the values do not fit the schema.
        ExperimentError: There is no Git repository with a commit.
    """
    changes = merge(preset_changes(preset) if preset else {}, read_changes(set))
    source = " and ".join(["params.yaml", *([f"the preset {preset}"] if preset else []), *(["-S"] if set else [])])
    check_params(merge(read_yaml("params.yaml"), changes), source=source)
    present_commit()
    return run_here(change_arguments(changes), name=name)
