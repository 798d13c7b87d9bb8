"""The JSON files that a run leaves in results/, as commands read them."""

import json
from pathlib import Path
from typing import Any

from stages.errors import EvaluationError


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, None where there is no file; raise EvaluationError for anything else in it."""
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvaluationError(f"{path}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise EvaluationError(f"{path}: a JSON object is needed, not {type(value).__name__}")
    return value


def number(value: object) -> float | None:
    """A metric of a JSON file as a number; None for everything else, true and false among it."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
