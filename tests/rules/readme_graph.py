"""`python -m tests.rules.readme_graph` (`make deps`) writes README's graph from `dvc dag`, with a line per stage."""

import re
import subprocess
import sys
from collections import defaultdict

from tests.conftest import ROOT

README = ROOT / "README.md"
BLOCK = re.compile(r"(?s)(?<=<!-- graph -->\n).*?(?=<!-- /graph -->)")
NODE = re.compile(r'^\s*(node\d+)\["(.+)"\]$', re.M)
EDGE = re.compile(r"^\s*(node\d+)-->(node\d+)$", re.M)


def stage_name(address: str) -> str:
    """`blind` of `inputs/dvc.yaml:blind@center`."""
    return address.rpartition(":")[2].partition("@")[0]


def drawn() -> str:
    """The graph as a fenced block that GitHub draws."""
    command = [sys.executable, "-m", "dvc", "dag", "--mermaid"]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = {node: stage_name(name) for node, name in NODE.findall(text)}
    followers: dict[str, set[str]] = defaultdict(set)
    for first, then in EDGE.findall(text):
        followers[names[first]].add(names[then])
    lines = [f"    {name} --> {' & '.join(sorted(followers[name]))}" for name in sorted(followers)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```\n"])


def main() -> None:
    text = README.read_text(encoding="utf-8")
    README.write_text(BLOCK.sub(lambda _: drawn(), text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
