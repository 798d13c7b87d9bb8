"""What of a detector's file its boxes depend on, and what made it: downstream, nothing else may make a difference."""

from pathlib import Path
from typing import Any

from stages.io.weights import tensors_sha256
from stages.steps.detectors import describe_detector


def detector_values(path: str | Path) -> dict[str, Any]:
    """All that boxes depend on: backend, configuration, the SHA-256 of the tensors (`weights`) and library versions."""
    about = describe_detector(path)
    return {name: about[name] for name in ("backend", "detector", "libraries")} | {"weights": tensors_sha256(path)}


def detector_history(path: str | Path) -> dict[str, Any]:
    """What made the file, stage by stage, without notes that change no box: a licence stays with the weights."""
    return {stage: _without_licence(made) for stage, made in describe_detector(path)["made_by"].items()}


def _without_licence(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_licence(inner) for name, inner in value.items() if name != "licence"}
