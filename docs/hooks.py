"""Pages of the documentation that are written from the project itself, so that nothing is described twice."""

import contextlib
import html
import io
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic.fields import FieldInfo

CODE = ("stages", "models")
PIPELINES = ("dvc.yaml", "inputs/dvc.yaml")
# A line of its own: elsewhere a page speaks of the mark itself.
OPTIONS = re.compile(r"(?m)^<!-- options: ([\w ]+?) -->$")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages (an event of MkDocs).

    Args:
        files: The files of docs/.
        config: The configuration of the site.

    Returns:
        The files with the generated pages.
    """
    root = Path(config.config_file_path).parent
    pages = {
        "reference/params.md": _params(root),
        "reference/stages.md": _stages(root),
        "reference/tables.md": (root / "data/README.md").read_text(encoding="utf-8"),
        "changelog.md": (root / "CHANGELOG.md").read_text(encoding="utf-8"),
        "contributing.md": _contributing(root),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Put the options of the commands where a page asks for them (an event of MkDocs).

    Args:
        markdown: The text of a page; `<!-- options: NAME -->` asks for the options of a command.
        page: The page.
        config: The configuration of the site.

    Returns:
        The text with tables of options.
    """
    root = Path(config.config_file_path).parent
    return OPTIONS.sub(lambda match: _options(root, match[1]), markdown)


def _options(root: Path, command: str) -> str:
    """The options of a command as a table, from its signature and docstring: the entries of its `--help`."""
    sys.path.insert(0, str(root))
    from stages.commands.main import build_app
    from stages.engine.command import option_meaning, option_names

    entries: list[Any] = []
    words, app = command.split(), build_app()
    for found in accumulate(words, lambda outer, word: outer[word], initial=app):
        found.help_formatter = lambda _console, _options, panel: entries.extend(panel.entries)
    with contextlib.redirect_stdout(io.StringIO()):  # the usage, which MkDocs would show
        app.help_print(words)
    rows = [(option_names(entry), option_meaning(entry)) for entry in entries if "--help" not in entry.names]
    cells = [
        f"| <code>{html.escape(name).replace('|', '&#124;')}</code> | {_cell(_text(text))} |" for name, text in rows
    ]
    return "\n".join(["| option | meaning |", "|---|---|", *cells])


def _contributing(root: Path) -> str:
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.replace("](docs/", "](").replace("](LICENSE)", "](https://www.apache.org/licenses/LICENSE-2.0)")


def _params(root: Path) -> str:
    sys.path.insert(0, str(root))
    from stages.params.describe import allowed, iter_fields
    from stages.params.schema import Params

    shipped = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    lines = [
        "# Parameters",
        "",
        "Every key of `params.yaml`, with the value that is shipped. `aigc-vqa params` prints the same list with the",
        "values of your `params.yaml`. Unknown keys and values out of range are errors, all reported at once.",
        "",
    ]
    sections: dict[str, list[tuple[str, FieldInfo]]] = {}
    for key, info in iter_fields(Params):
        section = key.rpartition(".")[0]
        sections.setdefault(section.partition(".")[0], [])  # a section stands before its sub-sections
        sections.setdefault(section, []).append((key, info))
    for section, fields in sections.items():
        lines += [f"{'#' * (2 + section.count('.'))} {section}", "", _summary(Params, section), ""]
        if not fields:
            continue
        lines += ["| key | shipped | allowed | meaning |", "|---|---|---|---|"]
        for key, info in fields:
            value = _look_up(shipped, key.split("."))
            row = [f"`{key.rpartition('.')[2]}`", _code(value), _text(allowed(info)), _text(info.description or "")]
            lines.append(f"| {' | '.join(_cell(text) for text in row)} |")
        lines.append("")
    return "\n".join(lines)


def _summary(model: type[BaseModel], section: str) -> str:
    for name in filter(None, section.split(".")):
        annotation = model.model_fields[name].annotation
        assert isinstance(annotation, type), f"{section} is no section"
        assert issubclass(annotation, BaseModel), f"{section} is no section"
        model = annotation
    return (model.__doc__ or "").strip().partition("\n\n")[0]


def _look_up(values: Any, names: Iterable[str]) -> Any:
    for name in names:
        if not isinstance(values, Mapping) or name not in values:
            return None
        values = values[name]
    return values


def _code(value: Any) -> str:
    if value is None or value == "":
        return "null" if value is None else "empty"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if "|" in text or "`" in text:  # neither can stand in a code span of a table
        return f"<code>{''.join(sign if sign.isalnum() else f'&#{ord(sign)};' for sign in text)}</code>"
    return f"`{text}`"


def _text(text: str) -> str:
    """Plain text in Markdown: what stands between backticks stays code, stars and underscores stay themselves."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_<\[])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _stages(root: Path) -> str:
    files = {path: yaml.safe_load((root / path).read_text(encoding="utf-8"))["stages"] for path in PIPELINES}
    stages: dict[str, Any] = {name: stage for file in files.values() for name, stage in file.items()}
    addresses = {name: "" if path == PIPELINES[0] else f"{path}:" for path, file in files.items() for name in file}
    shipped = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    makers = {out: name for name, stage in stages.items() for out in _paths(stage.get("outs", []))}
    lines = [
        "# Stages",
        "",
        "The graph with the shipped parameters. `dvc repro` runs the stages of `dvc.yaml`, and those of",
        "`inputs/dvc.yaml` that they depend on: with `crop.method` center, random or full there is no detector and no",
        "cropper. `dvc repro STAGE` runs a stage and what it depends on; `dvc dag` draws the graph in a terminal, and",
        "`dvc status --with-deps evaluate` says what is stale; without `--with-deps` it also names what nothing reads.",
        "",
        "| stage | does | runs after |",
        "|---|---|---|",
    ]
    for name, stage in stages.items():
        paths = [_resolve(path, shipped) for path in _paths(stage.get("deps", []))]
        after = {maker for out, maker in makers.items() for path in paths if path == out or path.startswith(f"{out}/")}
        links = ", ".join(f"[{other}](#{other})" for other in stages if other in after)
        lines.append(f"| [{name}](#{name}) | {_cell(stage.get('desc', ''))} | {links} |")
    lines.append("")
    for name, stage in stages.items():
        deps = _paths(stage.get("deps", []))
        rows = {
            "reads": [path for path in deps if not path.startswith(CODE)],
            "writes": _paths(stage.get("outs", [])),
            "parameters": [key for key in stage.get("params", []) if isinstance(key, str)],
            "code": [path for path in deps if path.startswith(CODE)],
        }
        lines += [f"## {name}", "", f"{stage.get('desc', '')[:1].upper()}{stage.get('desc', '')[1:]}.", ""]
        lines += ["| | paths and keys |", "|---|---|"]
        lines += [f"| {row} | {', '.join(f'`{path}`' for path in paths)} |" for row, paths in rows.items() if paths]
        lines += ["", "```console", f"$ dvc repro {addresses[name]}{_example(name, stage)}", "```", ""]
    return "\n".join(lines)


def _example(name: str, stage: Mapping[str, Any]) -> str:
    """The stage's name as `dvc repro` takes it; of a stage with several members the first."""
    return "@".join([name, *(str(values[0]) for values in stage.get("matrix", {}).values())])


def _resolve(path: str, shipped: Mapping[str, Any]) -> str:
    return re.sub(r"\$\{([^}]+)\}", lambda match: str(_look_up(shipped, match[1].split("."))), path)


def _paths(entries: Iterable[str | Mapping[str, Any]]) -> list[str]:
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
