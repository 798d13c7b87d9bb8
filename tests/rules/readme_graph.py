"""`python -m tests.rules.readme_graph` (`make deps`) writes README's graph from dvc.yaml, as `dvc dag` draws it."""

import re
import subprocess
import sys

from tests.conftest import ROOT

README = ROOT / "README.md"
BLOCK = re.compile(r"(?s)(?<=<!-- graph -->\n).*?(?=<!-- /graph -->)")


def drawn() -> str:
    """The graph as a fenced block that GitHub draws."""
    command = [sys.executable, "-m", "dvc", "dag", "--mermaid"]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return f"```mermaid\n{text.expandtabs(4).strip()}\n```\n"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    README.write_text(BLOCK.sub(lambda _: drawn(), text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
