"""`python -m tests.rules.dvc_deps` (`make deps`) writes into dvc.yaml the rooms of code that each stage imports from.

DVC does not follow imports; `tests/rules/test_project.py` fails while the lists and the imports differ.
"""

import re
from pathlib import Path

from models.methods import method_module, method_names
from stages.engine.fingerprint import closure, is_neutral
from tests.conftest import PIPELINES, ROOT

CODE = re.compile(r"(stages|models)(/|$)")


def room(module: str) -> str:
    """The folder that DVC watches for a module: `stages/io`; a module that stands in no room is watched by itself."""
    parts = module.split(".")
    path = Path(*parts)
    if len(parts) > 2 or (ROOT / path).is_dir():
        return "/".join(parts[:2])
    return f"{path.as_posix()}.py"


def entries_of(stage: str) -> list[str]:
    """The modules whose code a stage's keys name: its own, and those of the methods, which it imports by name."""
    uses_methods = "models.methods.interface" in closure(f"stages.{stage}")
    return [f"stages.{stage}", *(map(method_module, method_names()) if uses_methods else ())]


def code_deps(stage: str) -> list[str]:
    """The rooms of all modules that a stage imports and that can change its values; its own module stands first."""
    modules = {name for name in closure(*entries_of(stage)) if "." in name and not is_neutral(name)}
    return sorted({room(name) for name in modules}, key=lambda place: (place != f"stages/{stage}.py", place))


def with_code_deps(text: str, stage: str, places: list[str]) -> str:
    """The text of dvc.yaml with `places` as the stage's code; its other deps stay, and stand first."""
    found = re.search(rf"(?ms)^  {stage}:\n.*?^    deps:(.*?)(?=^    \w)", text)
    assert found, f"dvc.yaml: stage {stage} has no deps"
    listed = re.findall(r"[^\s,\[\]]+", re.sub(r"(?m)^\s*- ", "", found[1]))
    others = [dep.strip('"') for dep in listed if not CODE.match(dep)]
    # Braces would start a mapping inside of a list in one line.
    deps = [f'"{dep}"' if "{" in dep else dep for dep in others] + places
    lines, line = [], "    deps: ["
    for number, dep in enumerate(deps):
        word = dep + ("]" if number == len(deps) - 1 else ", ")
        if len(line) + len(word.rstrip()) > 120:
            lines.append(line.rstrip())
            line = "      "
        line += word
    lines.append(line)
    start = found.start(1) - len("    deps:")
    return text[:start] + "".join(f"{each}\n" for each in lines) + text[found.end(1) :]


def main() -> None:
    for path in (ROOT / name for name in PIPELINES):
        text = path.read_text(encoding="utf-8")
        for stage in re.findall(r"(?m)^  (\w+):\n    desc:", text):
            text = with_code_deps(text, stage, code_deps(stage))
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
