"""`aigc-vqa params`: every key of params.yaml with its value and what is allowed; or what a preset changes."""

import shlex

from stages.engine.options import Preset
from stages.params.describe import allowed, iter_fields
from stages.params.load import flatten, load_params
from stages.params.presets import preset_arguments
from stages.params.schema import Params


def params(*, preset: Preset = None) -> None:
    """Check params.yaml and list every key with its value, meaning, unit and range.

    Args:
        preset: Print the `-S` list of this preset for `dvc exp run` instead; several are joined by +.

    Raises:
        ParamsError: The params or the preset are wrong; every problem is named.
    """
    if preset:
        print(shlex.join(preset_arguments(preset)))
        return
    values = dict(flatten(load_params().model_dump()))
    for key, info in iter_fields(Params):
        print(f"{key} = {values[key]}  # {info.description}; allowed: {allowed(info)}")
