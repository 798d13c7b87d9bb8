"""The JSON files that a run leaves in results/, as commands read them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import AigcVqaError
from stages.errors import EvaluationError
from stages.io.files import write_text


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no file.

    Raises:
        EvaluationError: The file holds anything but a JSON object.
    """
    return parse_object(path.read_bytes(), str(path)) if path.is_file() else None


def parse_object(
    data: bytes, source: str, *, needed: str = "a JSON object", error_type: type[AigcVqaError] = EvaluationError
) -> dict[str, Any]:
    """The JSON object in a file's bytes.

    Args:
        data: The bytes of the file.
        source: What messages call the file.
        needed: What messages say is needed.
        error_type: The error to raise.

    Raises:
        AigcVqaError: The bytes are anything but a JSON object; of the type `error_type`.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise error_type(f"{source}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise error_type(f"{source}: {needed} is needed, not {type(value).__name__}")
    return value


def number(value: object) -> float | None:
    """A metric of a JSON file as a number; None for everything else, true and false included."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def write_json(path: str | Path, value: Mapping[str, Any], *, sort_keys: bool = True) -> None:
    """Write indented JSON with a newline at the end.

    Args:
        path: The file, written whole or not at all.
        value: What is written.
        sort_keys: False keeps the order of the keys, which is the order of the columns in `dvc exp show`.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n")
