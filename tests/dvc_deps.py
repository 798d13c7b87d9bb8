"""`python -m tests.dvc_deps` (`make deps`) writes into dvc.yaml the modules that each stage imports.

DVC does not follow imports; `tests/test_project.py` fails while the lists and the imports differ.
"""

import re
from pathlib import Path

from tests.conftest import ROOT
from tests.test_project import STAGES, closure


def with_module_deps(text: str, stage: str, modules: list[str]) -> str:
    """The text of dvc.yaml with `modules` as the stage's Python deps; its other deps stay, and stand first."""
    found = re.search(rf"(?ms)^  {stage}:\n.*?^    deps:\n(.*?)(?=^    \w)", text)
    assert found, f"dvc.yaml: stage {stage} has no deps"
    others = [line for line in found[1].splitlines() if not line.endswith(".py")]
    lines = [*others, *(f"      - {module}" for module in modules)]
    return text[: found.start(1)] + "".join(f"{line}\n" for line in lines) + text[found.end(1) :]


def main() -> None:
    path = ROOT / "dvc.yaml"
    text = path.read_text(encoding="utf-8")
    for stage in STAGES:
        modules = sorted(module.as_posix() for module in closure(Path("stages") / f"{stage}.py"))
        text = with_module_deps(text, stage, modules)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
